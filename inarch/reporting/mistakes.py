"""The images a classifier got most wrong, and their pictures.

    one label    p(predicted) of the images whose prediction is not the label, largest first
    several      |p_c - y_c| of the class it is largest for, of the images where that is beyond the threshold
Pictures come from the data once; the run folder keeps them, so that a report can be written again where the data is not.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inarch import files, metrics
from inarch.data import Splits, Table
from inarch.errors import CheckpointError, Corrupt, DataError, InarchError
from inarch.run import Run

MOST = 16
SIDE = 128  # pixels of a thumbnail's longer side
KEPT = "mistakes.npz"


@dataclass(frozen=True)
class Mistake:
    """Row ``row`` of the scored part: what it is, what it was taken for, how surely, and what is said of its true class."""

    row: int
    name: str
    true: str
    predicted: str
    probability: float
    of_truth: float


def worst(logits: NDArray, labels: NDArray, names: Sequence[str], classes: Sequence[str], most: int = MOST) -> list[Mistake]:
    """The most confident mistakes on one-label images."""
    shares, predicted = metrics.probabilities(logits.astype(np.float64)), logits.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    sure = wrong[np.argsort(-shares[wrong, predicted[wrong]], kind="stable")][:most]
    return [_between(int(i), str(names[i]), classes, shares[i], int(labels[i]), int(predicted[i])) for i in sure]


def _between(row: int, name: str, classes: Sequence[str], shares: NDArray, true: int, predicted: int) -> Mistake:
    return Mistake(row, name, str(classes[true]), str(classes[predicted]), float(shares[predicted]), float(shares[true]))


def worst_multilabel(logits: NDArray, labels: NDArray, names: Sequence[str], classes: Sequence[str], threshold: float,
                     most: int = MOST) -> list[Mistake]:
    """Per image the class it is most wrong about; ``true`` and ``predicted`` say ``cat`` or ``no cat``."""
    shares = metrics.probabilities(logits.astype(np.float64), multilabel=True)
    wrong = (shares >= threshold) != labels.astype(bool)
    off = np.where(wrong, np.abs(shares - labels), -1.0)
    column, size = off.argmax(1), off.max(1)
    rows = [int(i) for i in np.argsort(-size, kind="stable")[:most] if size[i] >= 0]
    return [_about(i, str(names[i]), str(classes[column[i]]), float(shares[i, column[i]]), bool(labels[i, column[i]]))
            for i in rows]


def _about(row: int, name: str, word: str, share: float, there: bool) -> Mistake:
    true, predicted = (word, f"no {word}") if there else (f"no {word}", word)
    sure = 1 - share if there else share
    return Mistake(row, name, true, predicted, sure, 1 - sure)


def pictures(run: Run, part: str, found: Sequence[Mistake], splits: Splits | None = None) -> tuple[list[bytes], str]:
    """A PNG for every mistake, or none and the reason. ``splits``: the run's data, where it is at hand."""
    rows = [mistake.row for mistake in found]
    kept = _kept(run, part, rows)
    if kept or not rows:
        return kept, ""
    try:
        table = _table(run, part, splits)
        drawn = [thumbnail(table, mistake) for mistake in found]
    except InarchError as problem:
        return [], str(problem)
    _keep(run, part, rows, drawn)
    return drawn, ""


def thumbnail(table: Table, mistake: Mistake) -> bytes:
    """The image in at most ``SIDE`` pixels a side; small ones are enlarged by whole factors, to stay as sharp as they are."""
    if table.names[mistake.row] != mistake.name:
        raise DataError(f"image {mistake.row} is {table.names[mistake.row]} now, it was {mistake.name} when the run scored it")
    return png(table.image(mistake.row))


def png(image: Image.Image, box: tuple[int, int] = (SIDE, SIDE)) -> bytes:
    """The image inside ``box``."""
    factor = min(side // own for side, own in zip(box, image.size, strict=True))
    if factor > 1:
        image = image.resize((image.width * factor, image.height * factor), 0)
    image.thumbnail(box)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _table(run: Run, part: str, splits: Splits | None) -> Table:
    """The scored part of the run's data, if it is still the data that was scored."""
    from inarch.tasks.classification import read_data

    card = run.card()
    if splits is None:
        recipe = run.recipe()
        splits = read_data(recipe, run.locate(recipe.data, card.base), classes=card.classes)
    if splits.sha256 != card.data["sha256"]:
        then = card.data["sha256"][:12]
        raise DataError(f"{splits.source} is not the data that was scored (sha256 {splits.sha256[:12]}, then {then})")
    table = {"test": splits.test, "val": splits.val}[part]
    if table is None:
        raise DataError(f"{splits.source} has no {part} part")
    return table


def _kept(run: Run, part: str, rows: Sequence[int]) -> list[bytes]:
    path = run.folder / KEPT
    if not path.is_file():
        return []
    try:
        kept = arrays_of(path)
    except CheckpointError:
        return []  # they can be drawn anew
    same = str(kept.get("part")) == part and kept.get("rows", np.empty(0)).tolist() == list(rows)
    return [kept[f"png_{row}"].tobytes() for row in rows if f"png_{row}" in kept] if same else []


def arrays_of(path: Path) -> dict[str, NDArray]:
    """All arrays of an ``.npz``, none of them a pickle; ``Corrupt`` when it cannot be read."""
    try:
        with np.load(io.BytesIO(files.read(path)), allow_pickle=False) as stored:
            return dict(stored)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
        raise Corrupt(f"{path} cannot be read ({problem}); restore it, or train again") from problem


def _keep(run: Run, part: str, rows: Sequence[int], drawn: Sequence[bytes]) -> None:
    buffer = io.BytesIO()
    pngs = {f"png_{row}": np.frombuffer(png, np.uint8) for row, png in zip(rows, drawn, strict=True)}
    np.savez(buffer, allow_pickle=False, part=np.array(part), rows=np.array(rows, np.int64), **pngs)
    files.write(run.folder / KEPT, buffer.getvalue())
