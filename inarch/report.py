"""``report.html`` and ``report.md`` of a finished run, from its folder: what came out, where it fails, how to get it again.

Every number is computed anew from the stored predictions and must be the one in ``result.json``. Pictures of mistakes need the
data once; where it is gone and they were never drawn, the report says so and stands without them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inarch import files, metrics
from inarch.data import Splits
from inarch.errors import Corrupt, Incomplete
from inarch.reporting import answered, fewshot, mistakes, plots
from inarch.reporting.page import Block, Gallery, Page, Table, Tile, to_html, to_markdown
from inarch.reporting.protocol import known, pace, provenance, stated
from inarch.reporting.results import embedded_record, line, mark, result_of
from inarch.run import Card, Run
from inarch.tasks.classify import headline

TITLES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "mAP": "mAP", "micro_f1": "micro-F1",
          "macro_f1": "macro-F1"}
PAIRS = 12  # most confused pairs of classes that are listed
SURE = 1.959964  # standard normal quantile of a 95 % interval


@dataclass(frozen=True, eq=False)
class Story:
    """All that a report tells of: the run's files and the scored part (``test``, or ``val`` where there is no test)."""

    run: Run
    card: Card
    result: Mapping[str, Any]
    part: str
    logits: NDArray[np.floating[Any]]
    labels: NDArray[Any]
    names: tuple[str, ...]
    scores: Mapping[str, Any]

    @property
    def metric(self) -> str:
        return headline(self.card.multilabel)

    @property
    def mark(self) -> str:
        """A sign where the backbone was, or may have been, pre-trained on images of this set."""
        return mark(result_of(self.result, self.run.result_file), embedded_record())

    @property
    def method(self) -> str:
        return line(self.result["method"], self.result["config"])


def write_report(run: str | Path, *, splits: Splits | None = None, images: Mapping[str, Any] | None = None) -> Path:
    """Write ``report.html`` and ``report.md`` into the run folder and return the first.

    ``splits``: the run's data where it is at hand, ``images`` those of a run that answers, by id; otherwise the data is opened for
    the pictures. Raises ``Incomplete`` for an unfinished run, ``Corrupt`` when predictions and result do not belong together.
    """
    found = Run(run)
    match found.recipe().kind:
        case "generate":
            page = answered.page(found, images)
        case "retrieve":
            page = fewshot.page(found)
        case _:
            page = _page(read_story(found), splits)
    out = found.folder / "report.html"
    files.write(out, to_html(page).encode())
    files.write(found.folder / "report.md", to_markdown(page).encode())
    return out


def _page(story: Story, splits: Splits | None) -> Page:
    return Page(f"{story.method} on {_data(story)}", _lead(story), _tiles(story), _sections(story, splits))


def read_story(run: Run) -> Story:
    """The run's files, its numbers computed anew and held against the stored ones."""
    result, card = run.result(), run.card()
    part, logits, labels, names = _predictions(run)
    measure = metrics.multilabel if card.multilabel else metrics.classification
    scores = measure(logits, labels, card.classes)
    stored = (result["metrics"].get(part) or {}).get("loss")
    if stored is None or not math.isclose(stored, scores["loss"], rel_tol=1e-4, abs_tol=1e-6):
        raise Corrupt(f"{run.predictions} gives a {part} loss of {scores['loss']:.6g}, {run.result_file} says {stored}; they "
                      "are not of the same run: restore them, or train again")
    return Story(run, card, result, part, logits, labels, names, scores)


def _predictions(run: Run) -> tuple[str, NDArray[Any], NDArray[Any], tuple[str, ...]]:
    if not run.predictions.is_file():
        raise Incomplete(f"{run} has no {run.predictions.name}; it is written at the end of training: restore it, or train again")
    arrays = mistakes.arrays_of(run.predictions)
    wanted = {part: [f"{part}_{what}" for what in ("logits", "labels", "names")] for part in ("test", "val")}
    part = next((part for part, keys in wanted.items() if all(key in arrays for key in keys)), None)
    if part is None:
        there = ", ".join(arrays) or "nothing"
        raise Corrupt(f"{run.predictions}: expected {', '.join(wanted['test'])}, or the same of val; found {there}")
    logits, labels, names = (arrays[key] for key in wanted[part])
    return part, logits, labels, tuple(map(str, names))


def _data(story: Story) -> str:
    return Path(story.card.data["source"]).stem or story.card.data["source"]


def _lead(story: Story) -> str:
    kind = "several labels per image" if story.card.multilabel else "one label per image"
    seen = f" ({story.mark} {known(story.mark)})" if story.mark else ""
    where = f"numbers are on {len(story.labels):,} {story.part} images"
    return f"{story.card.backbone['address']}{seen}; {len(story.card.classes)} classes, {kind}; {where}"


def _tiles(story: Story) -> tuple[Tile, ...]:
    result, count, scores = story.result, story.result["count"], story.scores
    notes = {"accuracy": _interval(scores), "balanced_accuracy": "mean recall of the classes", "mAP": "mean over the classes"}
    values = {key: f"{share(scores[key])} {story.mark}".rstrip() for key in TITLES if key in scores}
    numbers = [Tile(f"{story.part} {TITLES[key]}", value, notes.get(key, "")) for key, value in values.items()]
    with_head = f"{count['trainable']:,} with head, {count['percent']:.2f} % of all"
    return (
        *numbers, *fewshot.tiles(result),
        Tile("numbers trained, without head", f"{count['without_head']:,}", with_head),
        Tile("adapter file", kilobytes(result["adapter_bytes"]), f"the head is {kilobytes(result['head_bytes'])} of it"),
        pace(result),
    )


def _interval(scores: Mapping[str, Any]) -> str:
    """Wilson's interval: what other test images of the same kind could have given."""
    if "accuracy" not in scores:
        return ""
    n, p = scores["n"], scores["accuracy"]
    middle, scale = p + SURE**2 / (2 * n), 1 + SURE**2 / n
    half = SURE * math.sqrt(p * (1 - p) / n + SURE**2 / (4 * n**2))
    return f"{share((middle - half) / scale)} to {share((middle + half) / scale)}: 95 % interval for {n:,} images"


def kilobytes(size: float) -> str:
    return f"{size / 1000:,.1f} kB"


def share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _sections(story: Story, splits: Splits | None) -> tuple[tuple[str, tuple[Block, ...]], ...]:
    sections: list[tuple[str, tuple[Block, ...]]] = [("What this number states", (stated(story),))]
    sections += fewshot.sections(story.result, story.card)
    log = story.run.lines()
    if log:
        sections.append(("Training", (plots.curves(log, story.metric),)))
    sections.append(("Mistakes it was surest of", _mistakes(story, splits)))
    if not story.card.multilabel:
        sections.append(("Confusion", _confusion(story)))
    return (*sections, ("Classes, worst first", _classes(story)), ("How to get it again", provenance(story)))


def _mistakes(story: Story, splits: Splits | None) -> tuple[Block, ...]:
    if story.card.multilabel:
        found = mistakes.worst_multilabel(story.logits, story.labels, story.names, story.card.classes, story.scores["threshold"])
    else:
        found = mistakes.worst(story.logits, story.labels, story.names, story.card.classes)
    if not found:
        return (f"None of the {len(story.labels):,} {story.part} images is classified wrongly.",)
    drawn, reason = mistakes.pictures(story.run, story.part, found, splits)
    lines = [(f"says {m.predicted}, {share(m.probability)}", f"is {m.true}, {share(m.of_truth)}", m.name) for m in found]
    gallery = Gallery(tuple((drawn[i] if drawn else None, words) for i, words in enumerate(lines)))
    first = "What it says, how surely, what the image is, and which image it is."
    return (first, gallery, *([f"The pictures could not be drawn: {reason}"] if reason else []))


def _confusion(story: Story) -> tuple[Block, ...]:
    counts, classes = np.array(story.scores["confusion"]), story.card.classes
    off = counts - np.diag(counts.diagonal())
    order = np.argsort(-off, axis=None, kind="stable")[:PAIRS]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, off.shape), strict=True) if off[i, j]]
    rows = tuple((classes[i], classes[j], f"{off[i, j]}", f"{counts[i].sum()}") for i, j in pairs)
    table = Table(("true", "taken for", "images", "of"), rows, (False, False, True, True))
    return (plots.confusion(counts, classes), *((table,) if rows else ()))


def _classes(story: Story) -> tuple[Block, ...]:
    keys = (*(("ap",) if story.card.multilabel else ()), "f1", "precision", "recall")
    there = sorted(story.scores["per_class"], key=lambda row: (row["f1"] is None, row["f1"] or 0.0, row["name"]))
    rows = tuple((row["name"], *(share(row[key]) for key in keys), f"{row['support']:,}") for row in there)
    header = ("class", *({"ap": "AP", "f1": "F1"}.get(key, key) for key in keys), "images")
    return (Table(header, rows, (False, *[True] * (len(header) - 1))), *_absent(story.scores["absent"], story.part))


def _absent(names: Sequence[str], part: str) -> tuple[Block, ...]:
    if not names:
        return ()
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return (f"Without a {part} image, so in no mean of recalls: {shown}.",)
