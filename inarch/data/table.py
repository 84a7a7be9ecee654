"""What training reads: a table of images with labels, three of them as splits, and the one list of classes they share.

    label of image i        labels[i] in 0 .. classes - 1         int64[n]
    multi-label             labels[i, c] in {0, 1}                float32[n, classes]
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from inarch.data.images import MAX_PIXELS, Source, open_image
from inarch.errors import ConfigError, DataError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where: a file, ``table.csv:12``, or a folder."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


Sources = Sequence[Source] | np.ndarray


class Picked(Sequence[Source]):
    """Some rows of another sequence, in a given order, without copying a pixel."""

    def __init__(self, sources: Sources, rows: Sequence[int]) -> None:
        self.sources, self.rows = sources, np.asarray(rows, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        return self.sources[int(self.rows[i])]


class Joined(Sequence[Source]):
    """One sequence after another."""

    def __init__(self, first: Sources, second: Sources) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        return self.first[i] if i < len(self.first) else self.second[i - len(self.first)]


class Table:
    """Images with labels: ``sources`` are paths, encoded bytes or arrays; ``names`` say where each came from."""

    def __init__(self, sources: Sources, labels: np.ndarray, names: list[str], *, max_pixels: int = MAX_PIXELS) -> None:
        if not len(sources) == len(labels) == len(names):
            raise DataError(f"{len(sources)} images, {len(labels)} labels, {len(names)} names; expected as many of each")
        self.sources, self.names, self.max_pixels = sources, names, max_pixels
        self.multilabel = labels.ndim == 2
        self.labels = labels.astype(np.float32 if self.multilabel else np.int64)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Table({len(self)} images{', multi-label' if self.multilabel else ''})"

    def image(self, i: int) -> Image.Image:
        """Image ``i`` in RGB; raises ``DataError`` naming it when its file went bad or away."""
        return open_image(self.sources[i], max_pixels=self.max_pixels, name=self.names[i])

    def pick(self, rows: Sequence[int] | np.ndarray) -> Table:
        """The table of these rows, in this order."""
        names = [self.names[int(i)] for i in rows]
        picked = Picked(self.sources, rows)  # type: ignore[arg-type]
        return Table(picked, self.labels[np.asarray(rows, dtype=np.int64)], names, max_pixels=self.max_pixels)

    def join(self, other: Table) -> Table:
        labels = np.concatenate([self.labels, other.labels])
        return Table(Joined(self.sources, other.sources), labels, self.names + other.names, max_pixels=self.max_pixels)


@dataclass(frozen=True)
class Splits:
    """Train, validation and test tables under one class list; ``sha256`` identifies exactly these images, labels and parts."""

    train: Table
    val: Table | None
    test: Table | None
    classes: tuple[str, ...]
    sha256: str
    source: str
    multilabel: bool = False
    skipped: tuple[Problem, ...] = ()  # bad images that on_bad_image="skip" removed before sampling
    notes: tuple[str, ...] = ()  # what a careful user should know; belongs in the report

    def fit_table(self, parts: Literal["train", "train+val"] = "train") -> Table:
        """The table to fit on: ``train`` while choosing a setting, ``train+val`` for the final run with it."""
        if parts not in ("train", "train+val"):
            raise ConfigError(f"fit on {parts!r}; expected 'train' or 'train+val'")
        return self.train if parts == "train" or self.val is None else self.train.join(self.val)


@dataclass(frozen=True)
class Content:
    """What the hash of a data set knows of one image: its name inside the data set, bytes, and their SHA-256."""

    key: str
    size: int
    digest: bytes


def fingerprint(classes: Sequence[str], parts: dict[str, tuple[Table, list[Content]]]) -> str:
    """SHA-256 over the class list and, per part, every image's name, size, bytes and label, in order."""
    total = hashlib.sha256(json.dumps([*classes]).encode())
    for part, (table, contents) in sorted(parts.items()):
        total.update(json.dumps([part, len(table), table.multilabel]).encode())
        total.update(table.labels.astype(table.labels.dtype.newbyteorder("<")).tobytes())
        for content in contents:
            total.update(os.fsencode(content.key) + b"\0" + content.size.to_bytes(8, "little") + content.digest)
    return total.hexdigest()
