"""Which of PEFT's kinds a backbone takes: the table of docs/peft.md.

    python scripts/peft_offers.py mini-vit           Markdown on the standard output

Every kind is tried (``inarch/peft/offers.py``); nothing is downloaded, shapes and noise are enough.
"""

from __future__ import annotations

import sys

from inarch.peft.library import peft
from inarch.peft.offers import Offer, offered


def table(offers: list[Offer]) -> str:
    """Those that sit, a row each; then the others under their reasons."""
    lines = ["| method | on | made larger by | numbers at PEFT's defaults |", "|---|---|---|---:|"]
    for offer in (offer for offer in offers if not offer.reason):
        changed = "".join(f", `{name}={value}`" for name, value in offer.fields.items())
        size = f"`{offer.size}`" if offer.size else "–"
        lines.append(f"| `{offer.name}`{changed} | {' '.join(offer.targets)} | {size} | {offer.numbers:,} |")
    reasons: dict[str, list[str]] = {}
    for offer in (offer for offer in offers if offer.reason):
        told = "works in the forward of PEFT's wrapper, not in layers alone" if "works in the forward" in offer.reason else offer.reason
        reasons.setdefault(told, []).append(f"`{offer.name}`")
    return "\n".join([*lines, "", *(f"{', '.join(names)}: {reason}." for reason, names in reasons.items())])


if __name__ == "__main__":
    backbone = sys.argv[1] if len(sys.argv) > 1 else "mini-vit"
    found = offered(backbone)
    print(f"{sum(not offer.reason for offer in found)} of the {len(found)} kinds of PEFT {peft.__version__}, on `{backbone}`:\n")
    print(table(found))
