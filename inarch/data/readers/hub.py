"""Data sets of the ``datasets`` library: ``datasets:NAME`` (or ``datasets:NAME:CONFIG``), and folders saved by it.

The image column is found by its type, the label column too: one ``ClassLabel``, or a list of them for several labels per
image. Columns of plain text or integers serve as labels when they are named. Images are decoded here, not by ``datasets``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inarch.data.draft import PART_NAMES, Draft, Options, Part, class_name, doubtful
from inarch.data.images import Source, shown
from inarch.data.readers.arrays import unseen
from inarch.data.readers.listing import LABEL_COLUMNS, pick_column
from inarch.data.table import Problem
from inarch.errors import DataError, need

if TYPE_CHECKING:
    import datasets

PREFIX = "datasets:"
SAVED = ("dataset_dict.json", "state.json")


def is_saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in SAVED)


class Encoded(Sequence[Source]):
    """The images of one column as stored: encoded bytes, or the path of a file."""

    def __init__(self, rows: datasets.Dataset, column: str) -> None:
        self.rows, self.column = rows, column

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        stored = self.rows[int(i)][self.column]
        if stored is None:
            return b""  # a row without an image: refused as empty, by name
        return stored["bytes"] if stored["bytes"] is not None else Path(stored["path"])


def read_hub(address: str | Path, options: Options) -> Draft:
    """Every split whose name means train, val or test; the others are noted."""
    try:
        import datasets
    except ImportError as error:
        raise need("datasets", "data") from error
    source = shown(address)
    tables = _open(datasets, address)
    parts: dict[str, Any] = {}
    for name, rows in tables.items():
        part = PART_NAMES.get(str(name).casefold())
        if part in parts:
            raise DataError(f"{source}: two splits could be {part}: {', '.join(map(str, tables))}; save the data set with one")
        if part:
            parts[part] = rows
    if "train" not in parts:
        raise DataError(f"{source}: no train split; found {', '.join(map(str, tables))}")
    unused = [str(name) for name in tables if str(name).casefold() not in PART_NAMES]
    draft = _draft(datasets, source, parts, options)
    draft.notes += [f"splits that are not used: {', '.join(unused)}"] if unused else []
    return draft


def _open(datasets: Any, address: str | Path) -> dict[str, datasets.Dataset]:
    try:
        if isinstance(address, Path):
            found = datasets.load_from_disk(str(address))
        else:
            found = named(datasets, *address.removeprefix(PREFIX).split(":", 1))
    except Exception as error:  # network, hub, cache and format errors of five packages share no base class
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{shown(address)}: {reason}; check the name, the network and the cache") from error
    return {"train": found} if isinstance(found, datasets.Dataset) else dict(found)


def named(datasets: Any, name: str, config: str = "") -> Any:
    """By name from the hub, or from the cache alone where nothing answers: ``datasets`` would try again for 20 seconds."""
    from inarch.backbones.hub import is_offline, told

    offline, before = is_offline(), datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or offline
    try:
        with told(offline):
            return datasets.load_dataset(name, config or None)
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _draft(datasets: Any, source: str, tables: dict[str, Any], options: Options) -> Draft:
    features = tables["train"].features
    image = _image_column(datasets, source, features, options)
    label = _label_column(datasets, source, features, options)
    kind = features[label]
    many = isinstance(kind, datasets.List | datasets.LargeList)
    named = kind.feature if many else kind
    names = named.names if isinstance(named, datasets.ClassLabel) else None
    draft = Draft(source, {}, multilabel=many, classes=tuple(map(class_name, names)) if names else None)
    for part, rows in tables.items():
        if part != "train" and (rows.features.get(label) != kind or image not in rows.features):
            raise DataError(f"{source}: {part} has other columns than train; expected {image} and {label} as in train")
        draft.parts[part] = _part(datasets, part, rows, (image, label), names, draft)
    if names:
        draft.notes += unseen(draft.parts["train"], draft.classes or ())
    return draft


def _part(datasets: Any, part: str, rows: Any, columns: tuple[str, str], names: list[str] | None, draft: Draft) -> Part:
    image, label = columns
    keys = [f"{part}[{row}]" for row in range(len(rows))]
    labels = []
    for key, cell in zip(keys, rows[label][:], strict=True):
        reasons: list[str] = []
        labels.append(tuple(_name(value, names, reasons) for value in (cell if isinstance(cell, list) else [cell])))
        draft.problems += [Problem(f"{draft.source} {key}", f"{label}: {reason}") for reason in reasons]
    undecoded = rows.cast_column(image, datasets.Image(decode=False))
    return Part(Encoded(undecoded, image), keys, [f"{draft.source} {key}" for key in keys], labels)


def _name(value: Any, names: list[str] | None, reasons: list[str]) -> str:
    """The class of a stored label; what is wrong with it goes to ``reasons``."""
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return class_name(names[value])
    if names is not None or isinstance(value, bool | float) or value is None:
        reasons.append(f"label {value}; expected {f'0 to {len(names) - 1}' if names else 'a name or a whole number'}")
        return names[0] if names else ""
    reasons += [reason] if (reason := doubtful(str(value))) else []
    return class_name(str(value))


def _image_column(datasets: Any, source: str, features: Any, options: Options) -> str:
    found = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    wanted = options.image_column
    if not found or (wanted in features and wanted not in found):
        some = ", ".join(found) or "none"
        raise DataError(f"{source}: column {wanted or 'of images'!r}; the columns of type Image are: {some}")
    return pick_column(source, list(features), wanted, tuple(found), "image_column")


def _label_column(datasets: Any, source: str, features: Any, options: Options) -> str:
    def is_label(kind: Any) -> bool:
        inner = kind.feature if isinstance(kind, datasets.List | datasets.LargeList) else kind
        return isinstance(inner, datasets.ClassLabel)

    found = [name for name, kind in features.items() if is_label(kind)]
    return pick_column(source, list(features), options.label_column, tuple(found) or LABEL_COLUMNS, "label_column")
