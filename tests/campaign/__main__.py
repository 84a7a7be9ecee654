"""Run the campaigns and keep their report: ``python tests/campaign [--only fuzz kills resumes peers] [--out results/campaign.json]``.

A part that is run takes its place in the report; the others stay. Exit 1 if any part that was run does not hold what it must.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from inarch import files, provenance
from inarch.backbones.torchvision import mend_torchvision

ROOT = Path(__file__).resolve().parents[2]
Report = dict[str, Any]


def told_fuzz(found: Report) -> str:
    busy, times = found["refusal_processor_ms"], found["refusal_ms"]
    return (f"{found['inputs']:,} inputs: {found['refused']:,} refused, {found['accepted_byte_equal']} byte for byte as written, "
            f"{found['accepted_resealed_same_tensors']} resealed to the same tensors, {found['older_generation_whole']} an older "
            f"generation as a whole; {found['accepted_wrongly']} accepted wrongly, {found['foreign_exceptions']} foreign exceptions, "
            f"{found['hangs']} hangs, {found['over_64_mb']} over 64 MB; a refusal p50 {times['p50']} ms, p99 {times['p99']} ms "
            f"({busy['p99']} ms of the processor)")


def told_peers(found: Report) -> str:
    return "; ".join(f"{who}: " + ", ".join(f"{n} {word}" for word, n in counts.items()) for who, counts in found["counts"].items())


def told_kills(found: Report) -> str:
    return f"{found['lost']} lost; " + "; ".join(
        f"{name}: {each['random']['kills']} random kills, {each['every_call']['calls']} calls of a save"
        for name, each in found["subjects"].items())


def told_any(found: Report) -> str:
    """The numbers at the top."""
    return ", ".join(f"{name} {value}" for name, value in found.items() if isinstance(value, (int, float, str)))


PARTS: dict[str, tuple[Callable[[Report], str], Callable[[Report], bool]]] = {  # how it is told, whether it holds what it must
    "fuzz": (told_fuzz, lambda found: found["passed"] and found["inputs"] >= 10_000),
    "kills": (told_kills, lambda found: found["lost"] == 0),
    "resumes": (told_any, lambda found: found["bit_equal"] == found["points"]),
    "peers": (told_peers, lambda found: found["passed"]),
}


def run(name: str, console: Console) -> Report:
    """One part: what it found, how long it took, and what it was found with."""
    started, load = time.perf_counter(), os.getloadavg()[0]
    found = importlib.import_module(f"campaign.{name}").run(lambda line: console.print(f"  {line}", highlight=False))
    return {"passed": bool(PARTS[name][1](found)), "seconds": round(time.perf_counter() - started, 1), "found": found, "made": {
        "when": provenance.now(), "commit": provenance.commit(), "command": provenance.command(),
        "versions": provenance.versions((*provenance.PACKAGES, "peft")),
        "hardware": f"{provenance.hardware('cpu', 1, torch.get_num_threads())}, {os.cpu_count()} cores", "load_at_start": load}}


def table(parts: dict[str, Report], ran: list[str]) -> Table:
    shown = Table("part", "", "seconds", "what was found", title="campaign")
    for name in ran:
        part = parts[name]
        shown.add_row(name, "holds" if part["passed"] else "FAILED", f"{part['seconds']:.0f}", PARTS[name][0](part["found"]))
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "campaign.json")
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"  # before a part imports huggingface_hub
    sys.path.insert(0, str(ROOT / "tests"))
    mend_torchvision()
    console = Console()
    for name in asked.only:
        console.print(f"[bold]{name}[/bold]")
        part = run(name, console)
        parts = (json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}) | {name: part}
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        files.write(asked.out, files.canonical(parts))  # after each part: a later one that dies loses nothing
    console.print(table(parts, asked.only))
    return 0 if all(parts[name]["passed"] for name in asked.only) else 1


if __name__ == "__main__":
    sys.exit(main())
