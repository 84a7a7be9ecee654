"""Rows ``path, label, class name`` on their way into a ``Listing``; each that cannot be used becomes a problem with its place.

    path       relative, with /, no .., in one part only, a file below the image root
    label      0, 1, ... without gaps; every row of a label has the same class name
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

import numpy as np

from inarch.data.draft import class_name
from inarch.data.fewshot.listing import PARTS, Listing, Pile, judge_names, prompt_name, shared, some
from inarch.data.images import shown
from inarch.data.readers.listing import unencodable
from inarch.data.table import Problem

MAX_CLASSES = 100_000
ABSOLUTE = re.compile(r"/|\\|[A-Za-z]:[/\\]")


class Gather:
    """Collects the rows of one data set whose images lie below ``root``."""

    def __init__(self, source: str, root: Path) -> None:
        self.source, self.root = source, root
        self.files: dict[str, list[str]] = {part: [] for part in PARTS}
        self.labels: dict[str, list[int]] = {part: [] for part in PARTS}
        self.part_of: dict[str, tuple[str, str]] = {}  # path -> part and place where it was first
        self.names: dict[int, tuple[str, str]] = {}  # label -> class name and place where it was first
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.repeats = 0
        self.there = root.is_dir()
        if not self.there:
            self.problems.append(Problem(shown(root), "no such folder; the images are expected there"))

    def wrong(self, where: str, reason: str) -> None:
        self.problems.append(Problem(where, reason))

    def declare(self, label: int, name: str, where: str) -> None:
        """A class that the data set lists, whether or not it has images."""
        self.names[label] = class_name(name), where

    def add(self, part: str, where: str, path: Any, label: Any, name: Any, *, exists: bool = False) -> None:
        """Take one row, or say what is wrong with it; ``exists``: the file was seen in its folder."""
        reasons = [r for r in (self._path(path), self._label(label), self._name(label, name)) if r]
        if not reasons and self.there and not exists and not os.path.isfile(self.root / path):
            reasons.append(f"no such image: {shown(self.root / path)}")
        self.problems += [Problem(where, reason) for reason in reasons]
        if reasons:
            return
        key = posixpath.normpath(path)
        first = self.part_of.setdefault(key, (part, where))
        if first[0] != part:
            self.wrong(where, f"{shown(path)} is in {first[0]} too ({first[1]}); an image may be in one part only")
            return
        self.repeats += first[1] != where
        self.names.setdefault(label, (class_name(name), where))
        self.files[part].append(key)
        self.labels[part].append(label)

    def _path(self, path: Any) -> str | None:
        if not isinstance(path, str) or not path.strip() or unencodable(path):
            return f"the path is {path!a}; expected the path of an image, from {shown(self.root)}"
        if ABSOLUTE.match(path):
            return f"the path {shown(path)} is absolute; expected one from {shown(self.root)}"
        if ".." in re.split(r"[/\\]", path):
            return f"the path {shown(path)} holds '..'; an image must lie below {shown(self.root)}"
        return None

    def _label(self, label: Any) -> str | None:
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < MAX_CLASSES:
            return f"the label is {label!a}; expected a whole number from 0"
        return None

    def _name(self, label: Any, name: Any) -> str | None:
        if not isinstance(name, str):
            return f"the class name is {name!a}; expected a text"
        known = self.names.get(label) if isinstance(label, int) else None
        if known and known[0] != class_name(name):
            return f"label {label} is named {name!r} here and {known[0]!r} at {known[1]}; expected one name per label"
        return None

    def listing(self, dataset: str, *, twins: bool = False) -> Listing:
        """All rows as a ``Listing``; ``twins``: published names in which two classes share one are noted, not refused."""
        count = max(self.names, default=-1) + 1
        gaps = [label for label in range(count) if label not in self.names]
        if gaps and not self.problems:  # a row that was refused may have left the gap
            self.wrong(self.source, f"labels run to {count - 1}, but there is no image of label {some(gaps)}; expected no gaps")
        classes = tuple(prompt_name(self.names[label][0]) if label in self.names else f"(class {label})" for label in range(count))
        if twins and shared(classes):
            self.notes.append(f"{len(shared(classes))} names are shared by two classes, as published: {some([*shared(classes)])}")
        judge_names(self.source, tuple(dict.fromkeys(classes)) if twins else classes, self.problems)
        if self.repeats:
            self.notes.append(f"{self.repeats} images are listed more than once in their part")
        parts = {part: self._pile(part) for part in PARTS if self.files[part]}
        return Listing(self.source, dataset, classes, parts, problems=self.problems, notes=self.notes)

    def _pile(self, part: str) -> Pile:
        files = [self.root / key for key in self.files[part]]
        return Pile(files, self.files[part], [shown(file) for file in files], np.array(self.labels[part], dtype=np.int64))
