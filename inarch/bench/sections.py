"""Measurements as Markdown: tables, and the sections of what is measured beside training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from inarch.bench.compiled import GRAPH, labels
from inarch.bench.families import FAMILIES
from inarch.bench.infer import SUBJECTS
from inarch.bench.profile import REST
from inarch.bench.vision import VISION


def spread(ratio: dict[str, float]) -> str:
    spread = "" if ratio["low"] == ratio["high"] else f" ({ratio['low']:.2f} to {ratio['high']:.2f})"
    return f"**{ratio['median']:.2f}**{spread}"


def importing(file: dict[str, Any]) -> str:
    rows = [(f"`{name}`", *_seconds(row["cpu"]), f"{row['wall']['median']:.2f}") for name, row in file["commands"].items()]
    rows.append(("inarch over torch", *_seconds(file["inarch_over_torch"]), ""))
    about = f"{file['settings']['repeats']} repeats, interleaved, first dropped; {circumstances(file)}"
    return "\n".join(["## Import", "", *table(("fresh interpreter", "CPU s", "range", "wall s"), rows), "", about, ""])


def checking(file: dict[str, Any]) -> str:
    settings = file["settings"]
    rows = [_check_row(name, row) for name, row in file["sizes"].items()]
    about = f"{settings['images']} images each, {settings['repeats']} repeats; {circumstances(file)}"
    goal = f"Goal: {settings['goal']} small JPEGs per second and core. Each is decoded whole, its bytes and its pixels are hashed."
    head = ("JPEGs of", "bytes", "per CPU second", "range", "per second", "goal")
    return "\n".join(["## Images checked before training", "", *table(head, rows), "", goal, about, ""])


def _check_row(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    cpu, wall = row["per_cpu_second"], row["per_second"]
    goal = {True: "met", False: "missed", None: ""}[row.get("met")]
    spread = f"{cpu['low']:.0f} to {cpu['high']:.0f}"
    return name, f"{row['bytes_per_image']:,}", f"**{cpu['median']:.0f}**", spread, f"{wall['median']:.0f}", goal


def saving(file: dict[str, Any]) -> str:
    settings, save = file["settings"], file["save_seconds"]
    goal = f"{settings['goal']:.0%}, {'met' if file['met'] else 'missed'}"
    spread = f"{1000 * save['low']:.1f} to {1000 * save['high']:.1f}"
    row = (settings["model"], f"{file['bytes']:,}", f"**{1000 * save['median']:.1f}**", spread,
           f"{file['images_per_second']:.2f}", f"{file['epoch_seconds']:.0f}", f"**{file['share_of_epoch']:.4%}**", goal)
    head = ("ARC r=50 on", "bytes", "ms per save", "range", "images / s", "s per 1000 images", "share", "goal")
    about = (f"Written and synced, {settings['keep']} kept; {settings['repeats']} saves; the epoch is extrapolated from "
             f"{settings['steps']} steps of {settings['images']} images, {threads(settings['threads'])}; {circumstances(file)}")
    return "\n".join(["## A checkpoint of a training run", "", *table(head, [row]), "", about, ""])


WAYS = {"replace": "ARC, values replaced", "card": "- card and its seal", "fingerprint": "- backbone against the fingerprint",
         "bytes": "- weights read, SHA-256", "values": "- names, shapes, finite", "first": "ARC, grafted anew",
         "peft": "peft load_adapter, LoRA r=8"}
_CUTS = [(clock, cut) for clock in ("wall", "cpu") for cut in ("p50", "p95")]


def loading(file: dict[str, Any]) -> str:
    settings = file["settings"]
    goals = {"replace": f"{settings['goal']:g} ms p95, {'met' if file['met'] else 'missed'}"}
    rows = [(label, str(way["loads"]), *(f"{way[clock][cut]:.2f}" for clock, cut in _CUTS), goals.get(name, ""))
            for name, label in WAYS.items() if (way := file["ways"].get(name))]
    head = ("ms", "loads", "p50", "p95", "CPU p50", "CPU p95", "goal")
    about = (f"{file['bytes']:,} bytes, page cache warm, parts measured on their own; {threads(settings['threads'])}; "
             f"{circumstances(file)}")
    title = f"## Verified load of an adapter, {settings['model']}, rank {settings['rank']}"
    return "\n".join([title, "", *table(head, rows), "", about, ""])


def _seconds(summary: dict[str, float]) -> tuple[str, str]:
    return f"**{summary['median']:.2f}**", f"{summary['low']:.2f} to {summary['high']:.2f}"


def counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def threads(n: int) -> str:
    return counted(n, "thread")


def circumstances(entry: dict[str, Any]) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in entry["versions"].items())
    return f"{entry['date']}, commit {entry['commit']}, {entry['hardware']}, load {entry['load']} at the start; {versions}."


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    cells = [head, *rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(head))]
    lines = [[line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))] for line in cells]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return ["| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:])]


def inferring(file: dict[str, Any]) -> str:
    """A table of rows by model: what a forward takes."""
    settings, rows = file["settings"], []
    for model, methods in file["models"].items():
        for name, row in methods.items():
            goal = f"{row['goal']:.2f}, {'met' if row['met'] else 'missed'}" if "goal" in row else ""
            rows.append((VISION.sizes[model].title, SUBJECTS[name].label, spread(row["ratio"]), f"{1000 * row['seconds']:.0f}", goal))
    about = f"{settings['repeats']} repeats, {threads(settings['threads'])}; {circumstances(file)}"
    head = ("backbone", "method", "time / base", "ms per batch", "goal P7")
    return "\n".join([f"## Inference, batch {settings['batch']}", "", *table(head, rows), "", about, ""])


def compiling(file: dict[str, Any]) -> str:
    """A table of methods by model: eager, compiled, and one over the other; then the goals."""
    parts = []
    for model, entry in file["models"].items():
        settings, found = entry["settings"], entry["methods"]
        pairs = [(label, found[name], found[name + GRAPH]) for name, label in labels().items() if name + GRAPH in found]
        rows = [(label, *(spread(ratio) for ratio in (eager["time_ratio"], graph["time_ratio"], graph["over_eager"])),
                 f"{eager['seconds']:.3f}", f"{graph['seconds']:.3f}", f"{graph['first']:.0f}") for label, eager, graph in pairs]
        head = ("method", "eager / floor", "compiled / floor", "compiled / eager", "eager s", "compiled s", "first step s")
        about = f"{settings['repeats']} repeats, {threads(settings['threads'])}; {circumstances(entry)}"
        title = f"## Compiled training step, {VISION.sizes[model].title}, batch {settings['batch']}"
        parts += [title, "", *table(head, rows), "", about, "", verdicts(labels(), entry["goals"])]
    return "\n".join(parts)


def verdicts(names: Mapping[str, str], goals: list[dict[str, Any]]) -> str:
    """Which goals are met; ``names``: what tables call the subjects."""
    rows = [_verdict(names, goal) for goal in goals]
    return "\n".join(["### Goals", "", *table(("what", "at most", "found", "so", "goal"), rows), ""])


def _verdict(names: Mapping[str, str], goal: dict[str, Any]) -> tuple[str, ...]:
    figure = {"saved": "saved bytes of the batch", "time": "step time", "epoch": "epoch from kept prefixes"}[goal["figure"]]
    value = f"**{goal['value']:.3f}**" if goal["figure"] == "saved" else spread({"median": goal["value"], **goal})
    what = f"{figure}: {names[goal['subject']]} over {names[goal['against']]}"
    return what, f"{goal['most']:.2f}", value, "met" if goal["met"] else "missed", goal["name"]


def profiling(file: dict[str, Any]) -> str:
    """Operations down, methods across: shares of the floor's step."""
    family, settings = FAMILIES[file["family"]], file["settings"]
    shares = {name: {part["operation"]: part["share"] for part in method["operations"]} for name, method in file["methods"].items()}
    largest = sorted(dict.fromkeys(key for found in shares.values() for key in found if key != REST),
                     key=lambda key: -max(abs(found.get(key, 0)) for found in shares.values()))
    rows = [(f"`{key}`", *(f"{found[key]:+.1%}" if key in found else "" for found in shares.values())) for key in largest]
    rows.append((REST, *(f"{found[REST]:+.1%}" for found in shares.values())))
    rows.append(("**together**", *(f"**{method['ratio'] - 1:+.1%}**" for method in file["methods"].values())))
    head = ("operation", *(family.subjects[name].label for name in shares))
    about = f"{settings['repeats']} steps of each, {threads(settings['threads'])}; {circumstances(file)}"
    title = f"## Where the distance to the floor goes, {family.sizes[settings['model']].title}, batch {settings['batch']}"
    return "\n".join([title, "", *table(head, rows), "", about, ""])


def comparing(file: dict[str, Any]) -> str:
    """A row per method; below it the whole comparison against its two goals."""
    settings, goals = file["settings"], file["goals"]
    rows = [(name, f"{row['numbers']:,}", f"{row['run_seconds']['median']:.0f}",
             f"{row['run_seconds']['low']:.0f} to {row['run_seconds']['high']:.0f}", f"{row['epoch_seconds']:.1f}", f"{row['beside']:.1%}")
            for name, row in file["methods"].items()]
    rows.append((f"**all {len(rows) * settings['seeds']} runs**", "", *("",) * 3, f"**{file['beside']:.1%}**"))
    said = {goal: "met" if met else "missed" for goal, met in file["met"].items()}
    whole = (f"From the first job to the last result: **{file['seconds'] / 60:.1f} min** (goal {goals['seconds'] / 60:.0f}, "
             f"{said['seconds']}); beside training: {file['beside']:.1%} of the runs (goal {goals['beside']:.0%}, {said['beside']}), most "
             "of it the one pass over the test images.")
    about = (f"{settings['images']} images of {settings['classes']} classes and {settings['test']} to be tested on, "
             f"{settings['epochs']} epochs, {counted(settings['seeds'], 'seed')}, at most {settings['budget']:,} numbers without the head; "
             f"a worker per core, {threads(settings['threads'])} each; {circumstances(file)}")
    head = ("method", "numbers", "s per run", "range", "s per epoch", "beside training")
    title = f"## A comparison, {settings['model']} at {settings['side']} px"
    return "\n".join([title, "", *table(head, rows), "", whole, "", about, ""])


SECTIONS = {"profile": profiling, "compile": compiling, "infer": inferring, "import": importing, "check": checking, "save": saving,
            "load": loading, "compare": comparing}  # kind of measurement -> its part of the page, in this order
