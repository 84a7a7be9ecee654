"""What a reader found, before anything is refused: parts of images with class names, and every problem met on the way.

Readers collect, so that one pass can list all that is wrong; ``load_splits`` refuses, ``check`` reports.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inarch.data.images import shown
from inarch.data.table import Problem, Sources
from inarch.errors import nearest

PARTS = ("train", "val", "test")
PART_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
INTEGER = re.compile(r"-?\d+")


@dataclass(frozen=True)
class Options:
    """How the caller wants the address to be read; a reader refuses those that mean nothing to it."""

    image_column: str | None = None
    label_column: str | None = None
    multilabel: bool = False
    protocol: str | None = None
    seed: int = 0


@dataclass
class Part:
    """Images of one part: ``keys`` name them inside the data set, ``names`` for people; ``labels`` are class names."""

    sources: Sources = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[tuple[str, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)


@dataclass
class Draft:
    """A data set as found. ``classes``: the list the source itself carries, or None: the labels of its training part."""

    source: str
    parts: dict[str, Part]
    classes: tuple[str, ...] | None = None
    multilabel: bool = False
    whole: bool = False  # its parts are final: no validation or test images are split off
    base: tuple[bool, ...] | None = None  # which classes are base classes, where the data says so
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def class_list(self) -> tuple[str, ...]:
        if self.classes is not None:
            return self.classes
        return ordered({label for labels in self.parts["train"].labels for label in labels})


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in their one order: by number when all are integers (9 before 10), else by code point."""
    unique = set(names)
    if unique and all(INTEGER.fullmatch(name) for name in unique):
        return tuple(sorted(unique, key=lambda name: (int(name), name)))
    return tuple(sorted(unique))


def class_name(text: str) -> str:
    """One spelling per name: Unicode NFC, so that a folder copied from another system keeps its class."""
    return unicodedata.normalize("NFC", text)


def twins(names: Iterable[str], *, ignore_case: bool) -> list[tuple[str, str]]:
    """Pairs of different names that a person would read as one: NFC against NFD, and upper against lower case."""
    seen: dict[str, str] = {}
    pairs = []
    for name in sorted(names):
        key = class_name(name).casefold() if ignore_case else class_name(name)
        if seen.setdefault(key, name) != name:
            pairs.append((seen[key], name))
    return pairs


def doubtful(label: str) -> str | None:
    """Why ``label`` cannot be the name of a class, or None."""
    if not label:
        return "the label is empty"
    if re.fullmatch(r"-\d+", label):
        return f"label {label} is negative; remove images without a label, or name their class"
    if label.lower() == "nan" or re.fullmatch(r"[-+]?\d*\.\d+(e[-+]?\d+)?|\d+\.", label.lower()):
        return f"label {label} is not a class; expected a name or a whole number"
    reason = unprintable(label)
    return f"label {label!a} {reason}" if reason else None


def unprintable(name: str) -> str | None:
    """Why a class name could not be stored or shown as it is, or None."""
    if name != name.strip():
        return "begins or ends with a blank"
    if any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in name):
        return "holds a control character or bytes that are not UTF-8"
    return None


def judge(draft: Draft, stored: tuple[str, ...] | None = None) -> list[Problem]:
    """What makes ``draft`` unfit for training, bad pictures apart; ``stored`` is the class list of an earlier run."""
    classes = draft.class_list()
    problems = list(draft.problems)
    if not len(draft.parts["train"]):
        return [*problems, Problem(draft.source, "no training images found")]
    if len(classes) < 2 and not draft.multilabel:
        problems.append(Problem(draft.source, f"{len(classes)} class {[*classes]}; a classifier needs at least 2"))
    twice = {name for name in classes if classes.count(name) > 1}
    problems += [Problem(draft.source, f"class {name!r} is listed twice") for name in sorted(twice)]
    problems += _strangers(draft, classes)
    return problems if stored is None else problems + _changes(draft.source, classes, stored)


def _strangers(draft: Draft, classes: tuple[str, ...]) -> list[Problem]:
    """Labels outside the class list, once per part and label, at the first image that has it."""
    first: dict[tuple[str, str], str] = {}
    for part, images in draft.parts.items():
        for name, labels in zip(images.names, images.labels, strict=True):
            for label in labels:
                first.setdefault((part, label), name)
    known = set(classes)
    where = "the listed classes" if draft.classes is not None else "the training data"
    return [
        Problem(name, f"class {label!r} of {part} is not among {where}; {nearest(label, classes)}")
        for (part, label), name in first.items()
        if label not in known
    ]


def _changes(source: str, classes: tuple[str, ...], stored: tuple[str, ...]) -> list[Problem]:
    gone = [f"class {name!r} of the stored class list is not in the data" for name in stored if name not in classes]
    new = [f"class {name!r} is not in the stored class list; {nearest(name, stored)}" for name in classes if name not in stored]
    return [Problem(source, reason) for reason in gone + new]


def file_part(root: Path, files: Sequence[Path], labels: list[tuple[str, ...]]) -> Part:
    """The part made of ``files``, named by their place under ``root``."""
    keys = [file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix() for file in files]
    return Part(files, keys, [shown(file) for file in files], labels)
