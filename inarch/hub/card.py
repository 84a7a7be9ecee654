"""The model card, ``README.md``: everything in it is read from the files that are sent, or from the model as it was rebuilt of them.

The front of the card is for the hub; each value is written as JSON, which is YAML too.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import inarch
from inarch.adapter import Method
from inarch.files import sha256
from inarch.hub.address import Address
from inarch.hub.parcel import Parcel
from inarch.hub.ways import ways
from inarch.reporting import honesty
from inarch.reporting.protocol import counts, known, optimisation
from inarch.reporting.results import Result, embedded_record, line, mark, result_of

PIPELINES = {"classify": "image-classification", "match": "zero-shot-image-classification", "retrieve": "zero-shot-image-classification",
             "generate": "visual-question-answering"}  # kind of run -> what the hub calls its task
_ON_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_COUNTS = ("n", "empty")  # of examples: no measure of the model


def model_card(parcel: Parcel, target: Address | None, licence: str | None = None) -> str:
    """The text of ``README.md``; ``target`` None: it stands in a local folder. ``licence``: of the adapter, as the hub abbreviates it."""
    sections = [_lead(parcel), _method(parcel), _numbers(parcel), *_results(parcel), _base(parcel), *_data(parcel), _files(parcel),
                ways(parcel, target)]
    title = said(parcel) + (f" on {_outcome(parcel).data}" if parcel.result else "")
    return f"---\n{front(parcel, target, licence)}---\n\n# {title}\n\n" + "\n".join(sections)


def said(parcel: Parcel) -> str:
    """``ARC(rank=50)``."""
    return line(parcel.adapter["method"], parcel.adapter["config"])


def front(parcel: Parcel, target: Address | None, licence: str | None) -> str:
    """What the hub reads, a line a key."""
    bases = [name for name in parcel.adapter["fingerprint"].get("source", "").split(" + ") if _ON_HUB.fullmatch(name)]
    fields: dict[str, Any] = {"library_name": "inarch", "tags": ["inarch", parcel.adapter["method"], "adapter"]}
    fields |= {"license": licence} if licence else {}
    fields |= {"base_model": bases, "base_model_relation": "adapter"} if bases else {}
    if parcel.rebuilt is not None:
        fields |= {"pipeline_tag": PIPELINES[parcel.rebuilt.recipe.kind]}
        index = {"name": target.name if target else said(parcel), "results": list(_index(parcel))}
        fields |= {"model-index": [index]} if index["results"] else {}
    return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items())


def _index(parcel: Parcel) -> Iterator[dict[str, Any]]:
    """One result per scored part that has numbers."""
    outcome, kind = _outcome(parcel), parcel.rebuilt.recipe.kind  # type: ignore[union-attr]
    for part, found in _measured(parcel).items():
        kinds = {name: name.rpartition(" ")[2] for name in found}
        metrics = [{"type": kinds[name], "value": value, "name": f"{part} {name}"} for name, value in found.items()
                   if kinds[name] not in _COUNTS]
        if metrics:
            yield {"task": {"type": PIPELINES[kind]}, "metrics": metrics,
                   "dataset": {"name": outcome.data, "type": outcome.data, "split": part, "args": {"sha256": outcome.data_sha}}}


def _outcome(parcel: Parcel) -> Result:
    return result_of(parcel.result or {}, parcel.folder / "result.json")


def _measured(parcel: Parcel) -> dict[str, dict[str, float]]:
    """Part -> every number said of it, test first; groups and tasks by ``NAME metric``."""
    parts = (parcel.result or {})["metrics"]
    order = sorted(parts, key=lambda part: (part != "test", part))
    return {part: dict(_scalars(parts[part])) for part in order if parts[part]}


def _scalars(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{before}{name} ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield before + name, value


def _lead(parcel: Parcel) -> str:
    held = sum(parcel.numbers.values())
    what = "An adapter" if parcel.rebuilt is None else "A finished run: its adapter, recipe and results"
    caveat = honesty.of(parcel.adapter["method"])
    return (f"{what}, {held:,} trained numbers for a frozen `{parcel.adapter['backbone']}`. Written by `inarch push` "
            f"{inarch.__version__}.{f' {caveat.capitalize()}.' if caveat else ''}\n")


def _method(parcel: Parcel) -> str:
    title, equation = equation_of(type(parcel.method))
    body = f"```text\n{equation}\n```\n\n" if equation else ""
    thaw = ", ".join(f"`{role}`" for role in parcel.adapter["thaw"]) or "nothing"
    whole = line(parcel.adapter["method"], parcel.adapter["config"], whole=True)
    return f"## Method\n\n{title}\n\n{body}Configuration: `{whole}`; asked to train beside it: {thaw}.\n"


def equation_of(kind: type[Method]) -> tuple[str, str]:
    """The first line and the rule below it of the file that a method stands in; the class's own line where the file has no rule."""
    title, _, rule = (sys.modules[kind.__module__].__doc__ or "").strip().partition("\n\n")
    if rule.startswith("    "):
        return title, rule.rstrip()
    return (kind.__doc__ or kind.__name__).strip().partition("\n\n")[0], ""


def _numbers(parcel: Parcel) -> str:
    parts = {"adapter": "of the adapter itself", "base": "of the backbone and its own head, trained too",
             "head": "of the head that the adapter brought"}
    rows = [(what, f"{parcel.numbers[part]:,}") for part, what in parts.items()]
    counted = ""
    if parcel.rebuilt is not None:
        counted = f"\nTrained, counted on the model: {counts(inarch.count(parcel.rebuilt.net.model).to_json())}.\n"
    return f"## Counts\n\n{_table(('numbers in the file', ''), rows)}{counted}"


def _results(parcel: Parcel) -> list[str]:
    if parcel.rebuilt is None or parcel.result is None:
        return []
    result, outcome = parcel.result, _outcome(parcel)
    rows = [(part, name, f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
            for part, found in _measured(parcel).items() for name, value in found.items()]
    chosen = "the last epoch" if result.get("selection") == "none" else f"epoch {result.get('epoch')}, chosen on validation images"
    facts = {"reported": f"{chosen} of {result['epochs']}", "seed": result["seed"], "optimisation": optimisation(result["recipe"]),
             "commit": result.get("commit") or "not run from a checkout", "hardware": outcome.hardware, "finished": outcome.finished,
             "versions": ", ".join(f"{name} {version}" for name, version in result["versions"].items())}
    return [f"## Results\n\n{_table(('part', 'metric', 'value'), rows)}\n{_table(('', ''), facts.items())}"]


def _base(parcel: Parcel) -> str:
    adapter = parcel.adapter
    facts: dict[str, Any] = {"class": adapter["backbone"]}
    if parcel.rebuilt is not None:
        backbone = parcel.rebuilt.card.backbone
        facts |= {"address": f"{backbone['address']} at {backbone['image_size']} pixels", "library": backbone["library"]}
        facts |= {f"source, {key}": value for key, value in backbone["source"].items() if isinstance(value, str) and value}
    facts |= {f"fingerprint, {key}": value for key, value in adapter["fingerprint"].items() if value}
    facts |= adapter.get("architecture", {})
    return (f"## Backbone\n\nThe numbers fit these frozen weights alone; loading them on others is refused.\n\n"
            f"{_table(('', ''), facts.items())}")


def _data(parcel: Parcel) -> list[str]:
    if parcel.rebuilt is None:
        return []
    data, outcome = parcel.rebuilt.card.data, _outcome(parcel)
    seen = known(mark(outcome, embedded_record()))
    facts = {"source": data["source"], "sha256": outcome.data_sha}
    facts |= {f"{part} examples": f"{data[part]:,}" for part in ("train", "val", "test") if isinstance(data.get(part), int)}
    facts |= {"the backbone": seen} if seen else {}
    facts |= {f"note {i}": note for i, note in enumerate(data.get("notes", ()), 1)}
    facts |= {"classes": ", ".join(parcel.rebuilt.card.classes)} if parcel.rebuilt.card.classes else {}
    return [f"## Data\n\n{_table(('', ''), facts.items())}"]


def _files(parcel: Parcel) -> str:
    rows = [(f"`{name}`", f"{len(data):,}", f"`{sha256(data)}`") for name, data in parcel.files.items()]
    left = f"\nLeft out: {', '.join(f'`{name}`' for name in parcel.left)}.\n" if parcel.left else ""
    return f"## Files\n\n{_table(('file', 'bytes', 'SHA-256'), rows)}{left}"


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in row)} |\n" for row in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


__all__ = ["equation_of", "front", "model_card"]
