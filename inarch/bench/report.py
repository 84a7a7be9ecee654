"""bench report: the measurements under results/bench as bench/README.md.

    inarch bench report        or        python -m inarch.bench.report [RESULTS_FOLDER [README]]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from inarch import files
from inarch.bench.families import FAMILIES
from inarch.bench.goals import judged
from inarch.bench.results import fetch
from inarch.bench.sections import SECTIONS, circumstances, counted, spread, table, threads, verdicts
from inarch.bench.subjects import Family
from inarch.errors import ConfigError

RESULTS, README = Path("results/bench"), Path("bench/README.md")
_TOP = """# Benchmarks

Written by `inarch bench report` from `results/bench/*.json`; do not edit.

    inarch bench train --models b --json results/bench/train.json      # 10 minutes on one core; --models ti for a first look
    inarch bench train --family vl --json results/bench/vl.json      # about 7 minutes on one core
    inarch bench train --family clip --json results/bench/clip.json      # about 7 minutes on one core
    inarch bench train --models b --methods arc,arc-int8,arc-fp8 --json results/bench/eight-bits.json      # with torchao; 5 minutes
    inarch bench memory --json results/bench/memory.json      # exact; minutes where a CPU has no bf16; --family vl, clip
    inarch bench profile --methods arc --json results/bench/profile.json      # a minute; --family clip, vl
    inarch bench compile --json results/bench/compile.json      # about 8 minutes on one core, with a C++ compiler
    inarch bench infer --json results/bench/infer.json      # about 4 minutes on one core
    inarch bench import --json results/bench/import.json
    inarch bench check --json results/bench/check.json
    inarch bench save --json results/bench/save.json      # a minute on one core
    inarch bench load --json results/bench/load.json      # a minute on one core
    inarch bench compare --json results/bench/compare.json      # half an hour to an hour on two cores

**The floor** is what any method that trains something in the first block must pay: the frozen forward, and the gradient of every
activation. For vision everything is frozen but the head, and the first block's input asks for its gradient; for vision and language
everything is frozen but the visual projector, whose tokens enter the encoder's first layer; for CLIP everything is frozen, and
gradients go down to what enters the first of the last eight blocks of each tower, where the published adapters begin. An adapter beside
whole blocks needs none inside that block, so a second row, from the next block on, is the least for those. All other figures are
ratios to the floor.

**Time**: one process, one thread, CPU seconds, methods interleaved with the order reversed on alternate repeats after one that warms
up and is dropped (of training steps: on a single example), ratios within a repeat, their median (and range). Unless told otherwise
as many repeats as fit into ten minutes a model, 3 to 5. Under about 4 % a difference is not a finding. **Memory**: distinct
storages that autograd keeps for the backward, parameters and buffers left out, per example (batch 2 minus batch 1) and what does
not grow with the batch; exact and repeatable. **Blocks**: how many the graph of the loss reaches. Random weights, AdamW, the
backbone's own dropout off. Vision: 224 px, a head of 100 classes trained in every method. Vision and language: no padding, the
projector trained in every method; at a few hundred tokens per step the update of what trains is a large part of the time. CLIP: the
text tower reads all names at every step, which does not grow with the batch; methods with the dropout they are published with.

**Per token**: cached greedy generation, a long answer's time minus a short one's, so that encoding and the first step's keys and
values of the cross-attention cancel; it is the difference of two short times, so a ratio whose range includes 1 says nothing on its own.
**Calls**: how often an adapter edited something in one long generation, and per token; exact.
**Whole batch**: saved bytes of the batch with what does not grow with it, over the floor's; goals about memory are about these.
**From kept prefixes**: an epoch of which the frozen lower blocks are computed once beforehand; every loss must equal that of the plain
epoch bit for bit, or nothing is reported.
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
    trainings = [entry for file in found if file["kind"] == "train" for entry in file["models"].items()]
    trainings.sort(key=lambda entry: len(entry[1]["methods"]), reverse=True)  # of one model the longer table first
    parts = [part for family in FAMILIES.values() for name in family.sizes for model, entry in trainings
             if (entry.get("family", "vision"), model) == (family.name, name) for part in _of_model(family, name, entry)]
    parts += [_memory(family, name, entry) for file in found if file["kind"] == "memory" for family in FAMILIES.values()
              for name, entry in file["models"].items() if name in family.sizes and entry["family"] == family.name]
    parts += [show(file) for kind, show in SECTIONS.items() for file in found if file["kind"] == kind]
    return "\n".join(parts)


def _of_model(family: Family, name: str, entry: dict[str, Any]) -> list[str]:
    title, rows = family.sizes[name].title, {method: row for method, row in _known(family, entry).items() if "generation" in row}
    goals = judged(family.goals, name, entry)
    more = [*([verdicts(_labels(family), goals)] if goals else []), *([_prefix(family, entry)] if "prefix" in entry else [])]
    return [_train(family, title, entry), *more] + ([_told(family, title, entry, rows)] if rows else [])


def _labels(family: Family) -> dict[str, str]:
    return {name: subject.label for name, subject in family.subjects.items()}


def _known(family: Family, entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Measured methods in table order."""
    return {method: entry["methods"][method] for method in family.subjects if method in entry["methods"]}


def _train(family: Family, title: str, entry: dict[str, Any]) -> str:
    settings = entry["settings"]
    known = _known(family, entry)
    rows = [_row(family.subjects[method].label, row) for method, row in known.items()]
    every = ("whole batch / floor",) if any("saved_batch_ratio" in row for row in known.values()) else ()
    head = ("method", "time / floor", "step s", "forward", "backward", "optimiser", "saved / floor", f"MiB / {family.unit}", "fixed MiB",
            *every, "blocks", "trained", "frozen MiB")
    shape = family.shape.format_map(settings)
    about = f"{settings['repeats']} repeats, {threads(settings['threads'])}; {circumstances(entry)}"
    aside = "".join(dict.fromkeys(f", {family.subjects[method].aside}" for method in known if family.subjects[method].aside))
    heading = f"## Training step, {title}, batch {settings['batch']}{aside}" + (f" ({shape})" if shape else "")
    return "\n".join([heading, "", *table(head, rows), "", about, ""])


def _prefix(family: Family, entry: dict[str, Any]) -> str:
    found, seconds = entry["prefix"], entry["prefix"]["seconds"]
    first = ", ".join(f"{tower} from block {block}" for tower, block in found["first"].items())
    floor = f", over the floor: {spread(found['over_floor'])}" if "over_floor" in found else ""
    return "\n".join([
        f"### An epoch from kept prefixes, {family.subjects[found['subject']].label}", "",
        f"Kept over plain: {spread(found['ratio'])}{floor}; "
        f"{seconds['kept']:.2f} s against {seconds['plain']:.2f} s for {counted(found['steps'], 'step')} "
        f"({first}). Recording took {found['recording_seconds']:.2f} s, once, and {found['kept_per_image'] / 2**20:.2f} MiB per image. "
        f"All {found['losses_equal']} losses equal the plain ones bit for bit.", ""])


def _told(family: Family, title: str, entry: dict[str, Any], rows: dict[str, dict[str, Any]]) -> str:
    settings = entry["settings"]
    head = ("method", "per token / floor", "ms per token", "calls: encoder", "cross values, keys", "elsewhere", "calls per token")
    lines = [_told_row(family.subjects[method].label, row["generation"]) for method, row in rows.items()]
    heading = f"## Generation, {title}, batch {settings['batch']}, {settings['long']} tokens"
    about = f"Same run as the table above; a token's time is between {settings['short']} and {settings['long']} tokens."
    return "\n".join([heading, "", *table(head, lines), "", about, ""])


def _told_row(label: str, row: dict[str, Any]) -> tuple[str, ...]:
    groups = dict.fromkeys(("encoder", "values", "rest"), 0)
    for stack, calls in row["calls"].items():
        values = stack.startswith(("decoder_cross_v", "decoder_cross_k"))
        groups["encoder" if stack.startswith("encoder_") else "values" if values else "rest"] += calls
    return (label, spread(row["token_ratio"]), f"{1000 * row['seconds_per_token']:.1f}", *map(str, groups.values()),
            f"{row['calls_per_token']:g}")


def _memory(family: Family, name: str, entry: dict[str, Any]) -> str:
    """Both widths side by side; ratios are to the floor of the same width."""
    settings, (full, half) = entry["settings"], (entry["widths"][width] for width in ("fp32", "bf16"))
    rows = [(family.subjects[method].label, *_kept(full["methods"][method]), *_kept(half["methods"][method]))
            for method in family.subjects if method in full["methods"]]
    head = ("method", "fp32: whole batch / floor", f"MiB / {family.unit}", "fixed MiB",
            "bf16 base: whole batch / floor", f"MiB / {family.unit}", "fixed MiB")
    weights = (f"Frozen weights: {full['weights'] / 2**20:.0f} MiB in fp32, {half['weights'] / 2**20:.0f} in bf16; what trains is fp32 in "
               f"both. {circumstances(entry)}")
    heading = f"## Saved bytes, {family.sizes[name].title}, batch {settings['batch']}"
    return "\n".join([heading, "", *table(head, rows), "", weights, ""])


def _kept(row: dict[str, Any]) -> tuple[str, ...]:
    return f"**{row['saved_batch_ratio']:.3f}**", f"{row['saved_per_image'] / 2**20:.2f}", f"{row['saved_fixed'] / 2**20:.1f}"


def _row(label: str, row: dict[str, Any]) -> tuple[str, ...]:
    seconds = row["seconds"]
    parts = (f"{seconds[k]:.3f}" for k in ("total", "forward", "backward", "optimiser"))
    return (label, spread(row["time_ratio"]), *parts,
            f"**{row['saved_ratio']:.3f}**", f"{row['saved_per_image'] / 2**20:.2f}", f"{row['saved_fixed'] / 2**20:.1f}",
            *((f"**{row['saved_batch_ratio']:.3f}**",) if "saved_batch_ratio" in row else ()),
            f"{row['blocks_in_graph']} of {row['blocks']}", f"{row['trained']:,}",
            f"{row['frozen_bytes'] / 2**20:.1f}" if "frozen_bytes" in row else "")


if __name__ == "__main__":
    print(write_report(*map(Path, sys.argv[1:])))
