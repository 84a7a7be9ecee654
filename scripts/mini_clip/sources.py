"""The real pictures that mini-clip sees, with what they are called: the training parts of six image sets, as mini-vit read them.

    emoji3      the name, of the base half only, all three vendors         easy_vqa   "red circle", where the questions tell both
    the others  the class name, "AnnualCrop" written "annual crop"
An image whose pixels occur in a validation or test part of any of the sets, or among the novel emoji, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mini_vit.sources import (
    COLOURS,
    SHA256,
    SHAPES,
    SIDE,
    SOURCES,
    Array,
    Part,
    Source,
    emoji_rows,
    plain,
    read,
    read_emoji,
    verify,
    without,
)

CHOSEN = ("clothing10", "fruits71", "eurosat10", "omniglot8", "emoji3", "easy_vqa")
FILES = tuple(f"{name}.npz" for name in CHOSEN)
HASHES = {file: SHA256[file] for file in FILES}


@dataclass(frozen=True)
class Named:
    """A part whose labels count ``names``; ``told``: those among which a validation picture is to be named."""

    part: Part
    names: tuple[str, ...]
    told: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.part.source.name


def spoken(name: str) -> str:
    """As a person would write it: lower case, words apart.

    >>> spoken("AnnualCrop"), spoken("Early_Aramaic"), spoken("t-shirt")
    ('annual crop', 'early aramaic', 't-shirt')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").lower()


def load_named(folder: Path, seed: int) -> list[Named]:
    """All chosen sets, without what is held out in any of them."""
    verify(folder, FILES)
    sets = [named(source, folder, seed) for source in SOURCES if source.name in CHOSEN]
    held = frozenset().union(*(one.part.held for one in sets))
    return [replace(one, part=without(one.part, held)) for one in sets]


def named(source: Source, folder: Path, seed: int) -> Named:
    if source.name == "emoji3":
        return named_emoji(source, folder, seed)
    part = read(source, folder, seed)
    if source.name == "easy_vqa":
        known = part.y_train >= 0
        part = replace(part, x_train=part.x_train[known], y_train=part.y_train[known])
        names = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
    else:
        with np.load(folder / f"{source.name}.npz", allow_pickle=False) as file:
            names = tuple(spoken(str(name)) for name in file["classes"])
    return Named(part, names, names)


def named_emoji(source: Source, folder: Path, seed: int) -> Named:
    """The labels count the base names: first those that train, then those that measure. No novel name is kept."""
    with np.load(folder / f"{source.name}.npz", allow_pickle=False) as file:
        part, vendors = read_emoji(source, file, seed), len(file["images"])
        train, val, _ = emoji_rows(file["is_base"], seed)
        names = tuple(spoken(str(name)) for name in file["names"][np.concatenate([train, val])])
    y_train, y_val = np.tile(np.arange(len(train)), vendors), np.tile(np.arange(len(val)) + len(train), vendors)
    return Named(replace(part, classes=len(names), y_train=y_train, y_val=y_val), names, names[len(train) :])


def novel_emoji(folder: Path, known: Set[str] = frozenset()) -> tuple[Array, Array, tuple[str, ...]]:
    """Images, labels and names that no training sees: for the measurement of finished weights. ``known``: names to leave out."""
    with np.load(folder / "emoji3.npz", allow_pickle=False) as file:
        novel = np.flatnonzero(file["is_base"] == 0)
        rows = [row for row in novel if spoken(str(file["names"][row])) not in known]
        images, names = file["images"][:, rows], tuple(spoken(str(name)) for name in file["names"][rows])
    return images.reshape(-1, SIDE, SIDE, 3), np.tile(np.arange(len(rows)), len(images)), names


def squashed(images: Array) -> Array:
    """All of one size, in RGB."""
    return np.stack([plain(image) for image in images])
