"""bench report: the measurements under results/bench as bench/README.md.

    inarch bench report        or        python -m inarch.bench.report [RESULTS_FOLDER [README]]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inarch import files
from inarch.bench.results import fetch
from inarch.bench.subjects import SUBJECTS
from inarch.errors import ConfigError

RESULTS, README = Path("results/bench"), Path("bench/README.md")
_SIZES = {"ti": "ViT-Ti/16", "s": "ViT-S/16", "b": "ViT-B/16"}
_TOP = """# Benchmarks

Written by `inarch bench report` from `results/bench/*.json`; do not edit.

    inarch bench train --json results/bench/train.json      # about 8 minutes on one calm core; --models ti for a first look
    inarch bench import --json results/bench/import.json

**The floor** is what any method that trains something in the first block must pay: the frozen forward, and the gradient of every
activation (everything frozen but the head, the first block's input asks for its gradient). All other figures are ratios to it.

**Time**: one process, one thread, CPU seconds, methods interleaved with the order reversed on alternate repeats, first repeat
dropped, ratios within a repeat, their median (and range). Under about 4 % a difference is not a finding. **Memory**: distinct
storages that autograd keeps for the backward, parameters and buffers left out, per image (batch 2 minus batch 1) and what does
not grow with the batch; exact and repeatable. **Blocks**: how many the graph of the loss reaches. Random weights, 224 px, a head
of 100 classes trained in every method, AdamW.
"""


def write_report(results: Path = RESULTS, readme: Path = README) -> Path:
    """Write ``readme`` from every measurement in ``results``; returns its path."""
    if not readme.parent.is_dir():
        raise ConfigError(f"{readme}: there is no folder {readme.parent}; run this in a checkout, or name the file to write")
    files.write(readme, report(results).encode())
    return readme


def report(results: Path = RESULTS) -> str:
    """The page as Markdown."""
    found = [fetch(path) for path in sorted(results.glob("*.json"))]
    if not found:
        raise ConfigError(f"{results}: no measurements there; make some with inarch bench train --json {results / 'train.json'}")
    return "\n".join([_TOP, tables(found)])


def tables(found: list[dict[str, Any]]) -> str:
    """The tables of these measurements as Markdown, trainings first."""
    trainings = [file["models"] for file in found if file["kind"] == "train"]
    parts = [_train(name, models[name]) for models in trainings for name in _SIZES if name in models]
    parts += [_import(file) for file in found if file["kind"] == "import"]
    return "\n".join(parts)


def _train(name: str, entry: dict[str, Any]) -> str:
    settings = entry["settings"]
    rows = [_row(SUBJECTS[method].label, entry["methods"][method]) for method in SUBJECTS if method in entry["methods"]]
    head = ("method", "time / floor", "step s", "forward", "backward", "optimiser", "saved / floor", "MiB / image", "fixed MiB",
            "blocks", "trained")
    title = f"## Training step, {_SIZES[name]}, batch {settings['batch']}"
    about = f"{settings['repeats']} repeats, {_threads(settings['threads'])}; {_circumstances(entry)}"
    return "\n".join([title, "", *_table(head, rows), "", about, ""])


def _row(label: str, row: dict[str, Any]) -> tuple[str, ...]:
    time, seconds = row["time_ratio"], row["seconds"]
    spread = "" if time["low"] == time["high"] else f" ({time['low']:.2f} to {time['high']:.2f})"
    parts = (f"{seconds[k]:.3f}" for k in ("total", "forward", "backward", "optimiser"))
    return (label, f"**{time['median']:.2f}**{spread}", *parts,
            f"**{row['saved_ratio']:.3f}**", f"{row['saved_per_image'] / 2**20:.2f}", f"{row['saved_fixed'] / 2**20:.1f}",
            f"{row['blocks_in_graph']} of {row['blocks']}", f"{row['trained']:,}")


def _import(file: dict[str, Any]) -> str:
    rows = [(f"`{name}`", *_seconds(row["cpu"]), f"{row['wall']['median']:.2f}") for name, row in file["commands"].items()]
    rows.append(("inarch over torch", *_seconds(file["inarch_over_torch"]), ""))
    about = f"{file['settings']['repeats']} repeats, interleaved, first dropped; {_circumstances(file)}"
    return "\n".join(["## Import", "", *_table(("fresh interpreter", "CPU s", "range", "wall s"), rows), "", about, ""])


def _seconds(summary: dict[str, float]) -> tuple[str, str]:
    return f"**{summary['median']:.2f}**", f"{summary['low']:.2f} to {summary['high']:.2f}"


def _threads(n: int) -> str:
    return "1 thread" if n == 1 else f"{n} threads"


def _circumstances(entry: dict[str, Any]) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in entry["versions"].items())
    return f"{entry['date']}, commit {entry['commit']}, {entry['hardware']}, load {entry['load']} at the start; {versions}."


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    cells = [head, *rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(head))]
    lines = [[line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))] for line in cells]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return ["| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:])]


if __name__ == "__main__":
    print(write_report(*map(Path, sys.argv[1:])))
