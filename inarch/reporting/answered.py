"""The report of a run that answers and describes: a number per task and part, what it said to whom, how to get it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inarch.errors import Corrupt
from inarch.reporting import answers, plots
from inarch.reporting.page import Block, Gallery, Page, Table, Tile
from inarch.reporting.protocol import counts, known, optimisation, pace, provenance
from inarch.reporting.results import embedded_record, line, mark, results_of
from inarch.run import Card, Run

TITLES = {"vqa_accuracy": "VQA accuracy", "exact_match": "exact match", "accuracy": "accuracy", "cider": "CIDEr", "bleu4": "BLEU-4",
          "meteor": "METEOR", "vqa_accuracy_released": "VQA accuracy, as VL-T5 computes it", "n": "examples", "empty": "empty answers",
          "unscored": "without references", "references": "references"}
POINTS = ("vqa_accuracy", "vqa_accuracy_released", "exact_match", "accuracy")  # fractions, shown in percent
NONE = "–"


@dataclass(frozen=True, eq=False)
class Told:
    """The run's files; ``part`` is the one whose answers are shown."""

    run: Run
    card: Card
    result: Mapping[str, Any]
    part: str
    lines: list[answers.Line]

    @property
    def tasks(self) -> dict[str, Any]:
        return self.result["tasks"]

    @property
    def method(self) -> str:
        return line(self.result["method"], self.result["config"])

    def scores(self, part: str, task: str) -> Mapping[str, Any]:
        """Of a task in a part; empty where it was not scored there."""
        found = self.result["metrics"].get(part) or {}
        return found if len(self.tasks) == 1 else found.get(task) or {}


def page(run: Run, images: Mapping[str, Any] | None) -> Page:
    """``images``: id -> path or array, where they are at hand."""
    told = read_told(run)
    return Page(f"{told.method} on {', '.join(told.tasks)}", _lead(told), _tiles(told), _sections(told, images))


def read_told(run: Run) -> Told:
    """The run's files, the shown part's scores held against the stored ones."""
    result, card = run.result(), run.card()
    part = "test" if "test" in result["metrics"] else "val"
    told = Told(run, card, result, part, answers.said(run, part))
    for task, facts in told.tasks.items():
        each = [entry["score"] for entry in told.lines if entry["task"] == task and entry["score"] is not None]
        stored = told.scores(part, task).get(facts["headline"])
        if stored is not None and not (each and math.isclose(stored, sum(each) / len(each), rel_tol=1e-4, abs_tol=1e-6)):
            raise Corrupt(f"{run.answers(part)} does not give the {facts['headline']} of {task} in {run.result_file} ({stored}); they "
                          "are not of the same run: restore them, or train again")
    return told


def shown(key: str, value: Any) -> str:
    """``65.31 %`` for a fraction, ``114.2`` for a caption metric, a whole number as it is.

    >>> shown("exact_match", 0.5), shown("cider", 114.24), shown("n", 1200)
    ('50.0 %', '114.2', '1,200')
    """
    if value is None:
        return NONE
    if key in POINTS:
        return f"{100 * value:.1f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:.1f}"


def _lead(told: Told) -> str:
    seen = told.card.data["features"]
    tower = seen["tower"] or "a tower that is not recorded"
    marked = mark(results_of(told.result, told.run.result_file)[0], embedded_record())
    backbone = told.card.backbone["address"] + (f" ({marked} {known(marked)})" if marked else "")
    return f"{backbone}, reading {seen['tokens']} x {seen['width']} features of {tower}; answers below are to the {told.part} part"


def _tiles(told: Told) -> tuple[Tile, ...]:
    result, count = told.result, told.result["count"]
    found = [_tile(told, task, facts) for task, facts in told.tasks.items()]
    if len(found) > 1:
        found.insert(0, Tile("mean of the tasks", NONE if result["mean"] is None else f"{result['mean']:.1f}", "percent, and CIDEr"))
    return (
        *found,
        Tile("numbers trained", f"{count['trainable']:,}", f"{count['percent']:.2f} % of all"),
        Tile("adapter file", f"{result['adapter_bytes'] / 1000:,.1f} kB", "projector included"),
        pace(result),
    )


def _tile(told: Told, task: str, facts: Mapping[str, Any]) -> Tile:
    part, key = facts["part"], facts["headline"]
    if part is None:
        return Tile(f"{task} {TITLES[key]}", NONE, "no references to compare with")
    scores = told.scores(part, task)
    name = TITLES[key] if task in ("qa", "captions") and len(told.tasks) == 1 else f"{task} {TITLES[key]}"
    return Tile(name, shown(key, scores[key]), f"on {scores['n']:,} {part} examples")


def _sections(told: Told, images: Mapping[str, Any] | None) -> tuple[tuple[str, tuple[Block, ...]], ...]:
    sections: list[tuple[str, tuple[Block, ...]]] = [("Every number", (_numbers(told),))]
    wrong, right = answers.halves(told.lines, {task: facts["metric"] for task, facts in told.tasks.items()}, told.result["seed"])
    drawn, reason = answers.pictures(told.run, [*wrong, *right], images)
    for title, lines, pictures in (("Answered wrongly", wrong, drawn[: len(wrong)]), ("Answered rightly", right, drawn[len(wrong) :])):
        if lines:
            sections.append((title, _gallery(told, lines, pictures, reason)))
    groups = _groups(told)
    if groups.rows:
        sections.append(("By kind of question", (groups,)))
    log = told.run.lines()
    if log:
        sections.append(("Training", (plots.curves(_flat(told, log), _watched(told)),)))
    return (*sections, ("What these numbers state", (_stated(told),)), ("How to get it again", provenance(told)))


def _numbers(told: Told) -> Table:
    """A row per task and part: the headline, how many examples, and whatever else was counted."""
    rows = []
    for task, facts in told.tasks.items():
        for part in ("test", "val"):
            scores, key = told.scores(part, task), facts["headline"]
            more = [f"{TITLES[other]} {shown(other, scores[other])}" for other in TITLES
                    if other not in (key, "n") and isinstance(scores.get(other), int | float)]
            if scores:
                rows.append((task, part, TITLES[key], shown(key, scores.get(key)), f"{scores['n']:,}", "; ".join(more)))
    return Table(("task", "part", "metric", "score", "examples", "besides"), tuple(rows), (False, False, False, True, True, False))


def _groups(told: Told) -> Table:
    rows = []
    for task, facts in told.tasks.items():
        part, key = facts["part"] or told.part, facts["headline"]
        for name, scores in told.scores(part, task).get("groups", {}).items():
            rows.append((name or "none", task, shown(key, scores.get(key)), f"{scores['n']:,}"))
    return Table(("kind", "task", "score", "examples"), tuple(rows), (False, False, True, True))


def _gallery(told: Told, lines: list[answers.Line], pictures: list[bytes | None], reason: str) -> tuple[Block, ...]:
    prompts = {task: facts["protocol"]["prompt"] for task, facts in told.card.data["tasks"].items()}
    shown_ones = Gallery(tuple((drawn, answers.words(entry, prompts[entry["task"]])) for entry, drawn in zip(lines, pictures, strict=True)))
    captions = any(facts["metric"] == "cider" for facts in told.tasks.values())
    halves = " Of captions these are the half of lower or of higher CIDEr." if captions else ""
    first = f"Drawn from the {told.part} part by the seed: what was asked, what it says, what is right.{halves}"
    return (first, shown_ones, *([f"The pictures could not be drawn: {reason}."] if reason else []))


def _watched(told: Told) -> str:
    return "mean" if len(told.tasks) > 1 else next(iter(told.tasks.values()))["headline"]


def _flat(told: Told, log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [entry | {"val": {key: value for key, value in entry.get("val", {}).items() if not isinstance(value, dict)}} for entry in log]


def _stated(told: Told) -> Table:
    recipe, data, result = told.result["recipe"], told.result["data"], told.result
    chosen = (f"no epoch was chosen: the last of {result['epochs']} is reported" if result["selection"] == "none"
              else f"epoch {result.get('epoch', NONE)} of {result['epochs']} was chosen by its score on validation")
    facts = {
        "protocol": f"{chosen}; the test part was scored once, after training",
        "reported": "; ".join(f"{task}: {facts['part'] or 'not scored'}" for task, facts in told.tasks.items()),
        "seed": f"{result['seed']}: one run; inarch compare puts several seeds together, with their range",
        "data": f"{data['source']}, sha256 {data['sha256']}",
        "examples": f"{data['train']:,} trained on, {data['val']:,} val, {data['test']:,} test; order of the data: {recipe['data_order']}",
        "features": f"{data['features']['tokens']} x {data['features']['width']} of {data['features']['tower'] or 'an unrecorded tower'}, "
                    f"sha256 {data['features']['sha256']}",
        "decoding": "; ".join(f"{task}: {_decoding(found['protocol'], recipe)}" for task, found in told.card.data["tasks"].items()),
        "method": line(result["method"], result["config"], whole=True),
        "trained numbers": counts(result["count"]),
        "optimisation": optimisation(recipe),
    }
    notes = {f"note {i}": note for i, note in enumerate(told.card.data.get("notes", ()), 1)}
    return Table((), tuple((facts | notes).items()), (False, False))


def _decoding(protocol: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    if protocol["decode"] == "choice":
        return f"the likelier of {' and '.join(protocol['choices'])}"
    beams = recipe.get("beams") or protocol["beams"]
    return "greedy" if beams == 1 else f"{beams} beams"


__all__ = ["page", "shown"]
