"""``load_splits``: read what is there, refuse what is wrong, draw the missing parts by seed, number the classes once.

    read -> look at every image -> judge -> (drop bad images) -> draw val and test -> labels by the class list -> sha256
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from inarch.data.check import Look, Progress, remarks, survey
from inarch.data.draft import PARTS, Draft, Options, judge
from inarch.data.images import MAX_PIXELS, shown
from inarch.data.readers import read
from inarch.data.splits import drawn, stratified
from inarch.data.table import Problem, Splits, Table, fingerprint
from inarch.errors import ConfigError, DataError

MAX_BAD_SHARE = 0.01  # above this share of bad images something is wrong with the copy, not with single files


def load_splits(
    address: str | Path,
    *,
    val_fraction: float = 0.2,
    test_fraction: float = 0.0,
    seed: int = 0,
    image_column: str | None = None,
    label_column: str | None = None,
    multilabel: bool = False,
    protocol: Literal["clean", "released"] | None = None,
    on_bad_image: Literal["refuse", "skip"] = "refuse",
    classes: tuple[str, ...] | list[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> Splits:
    """Train, validation and test tables of the data at ``address``, or ``DataError``/``ConfigError`` saying what is wrong.

    ``val_fraction`` and ``test_fraction`` apply where the data brings no such part; ``classes`` is the stored list of an
    earlier run, whose numbering is kept. ``progress(done, total)`` is called while images are looked at.

    >>> load_splits("digits").classes
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    _check_options(val_fraction, test_fraction, seed, on_bad_image)
    draft = read(address, Options(image_column, label_column, multilabel, protocol, seed))
    stored = None if classes is None else tuple(classes)
    _refuse(judge(draft, stored), address)
    names = stored or draft.class_list()
    parts, bad = _readable(_look_at(draft, names, max_pixels, progress), names, on_bad_image, address)
    if not draft.whole:
        _draw(parts, {"test": test_fraction, "val": val_fraction}, seed)
    return _splits(draft, names, parts, bad, address)


@dataclass(frozen=True)
class Seen:
    """The table of one part with what the look at its images found."""

    table: Table
    looks: list[Look]

    def pick(self, rows: np.ndarray) -> Seen:
        return Seen(self.table.pick(rows), [self.looks[int(i)] for i in rows])


def _splits(draft: Draft, names: tuple[str, ...], parts: dict[str, Seen], bad: list[Problem], address: str | Path) -> Splits:
    skipped = [f"{len(bad)} bad images were skipped (first: {bad[0]})"] if bad else []
    train, val, test = (parts[part].table if part in parts else None for part in PARTS)
    assert train is not None  # judge refuses data without training images
    return Splits(
        train,
        val,
        test,
        classes=names,
        sha256=fingerprint(names, {part: (seen.table, [look.content for look in seen.looks]) for part, seen in parts.items()}),
        source=shown(address),
        multilabel=draft.multilabel,
        skipped=tuple(bad),
        notes=(*draft.notes, *skipped, *remarks({part: seen.looks for part, seen in parts.items()})),
    )


def _check_options(val_fraction: float, test_fraction: float, seed: int, on_bad_image: str) -> None:
    for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= fraction < 1:
            raise ConfigError(f"{name} is {fraction}; expected 0 <= {name} < 1")
    if val_fraction + test_fraction >= 1:
        raise ConfigError(f"val_fraction {val_fraction} + test_fraction {test_fraction} leave no training images")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; expected a whole number of at least 0")
    if on_bad_image not in ("refuse", "skip"):
        raise ConfigError(f"on_bad_image is {on_bad_image!r}; expected 'refuse' or 'skip'")


def _refuse(problems: list[Problem], address: str | Path) -> None:
    if not problems:
        return
    first = "\n  ".join(map(str, problems[:3]))
    more = f"\n  and {len(problems) - 3} more" if len(problems) > 3 else ""
    cure = f"`inarch check-data {shown(address)}` lists all of them"
    raise DataError(f"{len(problems)} problem(s) in the data:\n  {first}{more}\n{cure}")


def _look_at(draft: Draft, classes: tuple[str, ...], max_pixels: int, progress: Progress | None) -> dict[str, Seen]:
    looks = survey(draft, max_pixels=max_pixels, progress=progress)
    seen = {}
    for name, part in draft.parts.items():
        labels = encode(part.labels, classes, multilabel=draft.multilabel)
        seen[name] = Seen(Table(part.sources, labels, part.names, max_pixels=max_pixels), looks[name])
    return seen


def encode(labels: list[tuple[str, ...]], classes: tuple[str, ...], *, multilabel: bool) -> np.ndarray:
    """Class names as numbers: int64[n], or float32[n, classes] of 0 and 1 when an image may have several."""
    index = {name: c for c, name in enumerate(classes)}
    if not multilabel:
        return np.array([index[label] for (label,) in labels], dtype=np.int64)
    hot = np.zeros((len(labels), len(classes)), dtype=np.float32)
    for row, names in enumerate(labels):
        hot[row, [index[name] for name in names]] = 1
    return hot


def _readable(
    parts: dict[str, Seen], classes: tuple[str, ...], on_bad_image: str, address: str | Path
) -> tuple[dict[str, Seen], list[Problem]]:
    """The parts without bad images, before anything is drawn from them, and the bad ones; refuses as ``on_bad_image`` says."""
    bad = [look.problem for seen in parts.values() for look in seen.looks if look.problem]
    if on_bad_image == "refuse":
        _refuse(bad, address)
    total = sum(len(seen.looks) for seen in parts.values())
    if len(bad) > MAX_BAD_SHARE * total:
        found = f"{len(bad)} of {total} images are bad ({len(bad) / total:.1%}); first: {bad[0]}"
        raise DataError(f"{found}\non_bad_image='skip' drops at most {MAX_BAD_SHARE:.0%}; restore the files, or remove them")
    kept = {part: seen.pick(np.flatnonzero([look.problem is None for look in seen.looks])) for part, seen in parts.items()}
    emptied = _used(parts["train"].table) - _used(kept["train"].table)
    if emptied:
        name = classes[min(emptied)]
        raise DataError(f"class {name!r} has no readable training image left; restore its files or remove the class")
    return kept, bad


def _used(table: Table) -> set[int]:
    return set(np.flatnonzero(table.labels.any(axis=0)) if table.multilabel else np.unique(table.labels))


def _draw(parts: dict[str, Seen], fractions: dict[str, float], seed: int) -> None:
    """Move images from train to the parts that the data does not bring, in proportion to the classes."""
    total = len(parts["train"].looks)
    for part, fraction in fractions.items():
        if part in parts or fraction == 0:
            continue
        train = parts["train"]
        rows, count = np.arange(len(train.looks)), round(total * fraction)
        multilabel = train.table.multilabel
        kept, taken = drawn(rows, count, seed) if multilabel else stratified(rows, train.table.labels, count, seed)
        if not len(taken) or not len(kept):
            few = f"{total} training images are too few for {part}_fraction={fraction}"
            raise DataError(f"{few}; add {part} images, or set {part}_fraction=0")
        parts["train"], parts[part] = train.pick(kept), train.pick(taken)
