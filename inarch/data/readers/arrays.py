"""Arrays: an ``.npz`` of ``x_train, y_train, x_val, y_val, x_test, y_test, classes``, and scikit-learn's digits.

    x    uint8 [n, height, width] or [n, height, width, 3]
    y    int   [n], 0 <= y < len(classes)
    classes    names, one per label (optional: the names are then "0", "1", ...)
    is_base    bool or 0 and 1 [classes] (optional): the base classes of few-shot learning, the others are novel
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from inarch.data.draft import PARTS, Draft, Options, Part, class_name
from inarch.data.images import MAX_PIXELS, shown
from inarch.data.splits import stratified
from inarch.errors import DataError, nearest, need

MAX_CLASSES = 100_000  # without a list of names, a label makes all classes below it
DAMAGED = (ValueError, TypeError, KeyError, OSError, EOFError, NotImplementedError, BadZipFile, zlib.error, lzma.LZMAError)
DIGITS = {"train": 1000, "val": 200}  # of 1797; the rest is the test part


def read_npz(file: Path, options: Options) -> Draft:
    """The arrays of ``file``, read without pickle and checked whole: shapes, types, label ranges."""
    arrays = _load(file)
    where = shown(file)
    for key in ("x_train", "y_train"):
        if key not in arrays:
            raise DataError(f"{where}: no array {key!r} (found {', '.join(arrays)}); {nearest(key, arrays)}")
    classes = _classes(where, arrays)
    parts = {}
    for part in PARTS:
        if f"x_{part}" in arrays or f"y_{part}" in arrays:
            parts[part] = _part(where, part, arrays, classes)
    unread = arrays.keys() - {"classes", "is_base", *(f"{axis}_{part}" for part in PARTS for axis in "xy")}
    notes = [f"arrays that are not used: {', '.join(sorted(unread))}"] if unread else []
    base = _base(where, arrays["is_base"], len(classes)) if "is_base" in arrays else None
    return Draft(where, parts, classes=classes, base=base, notes=notes + unseen(parts["train"], classes))


def _load(file: Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except DAMAGED as error:
        reason = f"{shown(file)}: cannot be read as an .npz of plain arrays: {error}"
        raise DataError(f"{reason}; write it with numpy.savez_compressed, without object arrays") from error


def _classes(where: str, arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    if "classes" not in arrays:
        labels = arrays["y_train"]
        top = int(labels.max()) if labels.dtype.kind in "iu" and labels.size else -1
        if top >= MAX_CLASSES:
            raise DataError(f"{where}: y_train holds the label {top}; expected fewer than {MAX_CLASSES:,} classes")
        return tuple(str(label) for label in range(top + 1))
    names = arrays["classes"]
    if names.ndim != 1 or names.dtype.kind not in "Uiu":
        raise DataError(f"{where}: classes is {names.dtype} {names.shape}; expected one name per class")
    return tuple(class_name(str(name)) for name in names)


def _base(where: str, marks: np.ndarray, count: int) -> tuple[bool, ...]:
    if marks.shape != (count,) or marks.dtype.kind not in "biu" or not np.isin(marks, (0, 1)).all():
        raise DataError(f"{where}: is_base is {marks.dtype} {marks.shape}; expected true or false (1 or 0) for each of {count} classes")
    return tuple(map(bool, marks))


def _part(where: str, part: str, arrays: dict[str, np.ndarray], classes: Sequence[str]) -> Part:
    x, y = arrays.get(f"x_{part}"), arrays.get(f"y_{part}")
    if x is None or y is None:
        raise DataError(f"{where}: only one of x_{part} and y_{part} is there; expected both or neither")
    grey, rgb = x.ndim == 3, x.ndim == 4 and x.shape[3] == 3
    if x.dtype != np.uint8 or not (grey or rgb) or 0 in x.shape[1:]:
        raise DataError(f"{where}: x_{part} is {x.dtype} {x.shape}; expected uint8 [n, height, width] or [n, height, width, 3]")
    if x.shape[1] * x.shape[2] > MAX_PIXELS:
        raise DataError(f"{where}: x_{part} holds images of {x.shape[1]} x {x.shape[2]}; at most {MAX_PIXELS:,} pixels")
    if y.shape != x.shape[:1]:
        raise DataError(f"{where}: y_{part} has shape {y.shape} for {len(x)} images; expected ({len(x)},)")
    if y.dtype.kind not in "iu":
        raise DataError(f"{where}: y_{part} is {y.dtype}; expected whole numbers, 0 to {len(classes) - 1}")
    outside = np.flatnonzero((y < 0) | (y >= len(classes)))
    if len(outside):
        row = int(outside[0])
        raise DataError(f"{where}: y_{part}[{row}] is {y[row]}; expected 0 to {len(classes) - 1} ({len(classes)} classes)")
    names = [f"x_{part}[{row}]" for row in range(len(x))]
    return Part(x, names, names, [(classes[label],) for label in y])


def unseen(train: Part, classes: Sequence[str]) -> list[str]:
    """A note on listed classes of which there is no training image: nothing can be learned about them."""
    seen = {label for labels in train.labels for label in labels}
    absent = [name for name in classes if name not in seen]
    return [f"{len(absent)} of {len(classes)} classes have no training image (first: {absent[0]!r})"] if absent else []


def read_digits(_: str, options: Options) -> Draft:
    """scikit-learn's 1797 handwritten digits, 8 x 8 grey, 0..16 scaled to 0..255; drawn by seed, stratified."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise need("scikit-learn", "demo") from error
    digits = load_digits()
    x = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(name) for name in digits.target_names)
    rest = np.arange(len(x))
    parts = {}
    for part, count in DIGITS.items():
        rest, rows = stratified(rest, digits.target[rest], count, options.seed)
        parts[part] = _rows(x, digits.target, rows, classes)
    parts["test"] = _rows(x, digits.target, rest, classes)
    return Draft("digits", parts, classes=classes)


def _rows(x: np.ndarray, y: np.ndarray, rows: np.ndarray, classes: Sequence[str]) -> Part:
    names = [f"digits[{row}]" for row in rows]
    return Part(x[rows], names, names, [(classes[label],) for label in y[rows]])
