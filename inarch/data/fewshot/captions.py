"""Images with captions, for contrastive training and retrieval: ``read_captions`` reads, checks, splits by image and hashes.

    caption c of a part            captions[c], about image[c]           int64[captions], row of ``images``
    text of a caption              text[c]                               int64[captions], equal where the texts are equal
    image i is right for c         some caption of image i has the text of c

Texts are equal when they differ in case and blanks at most: a tokenizer of CLIP could not tell them apart.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inarch.data.check import Look, Progress, remarks, survey
from inarch.data.draft import Draft, Part
from inarch.data.fewshot.caption_files import PREFIX, Captioned, read_captioned
from inarch.data.fewshot.listing import PARTS, refuse
from inarch.data.images import MAX_PIXELS, shown
from inarch.data.pairs.example import Example
from inarch.data.pairs.split import by_image
from inarch.data.table import Problem, Table
from inarch.errors import ConfigError


@dataclass(frozen=True)
class CaptionTable:
    """Images of one part and all captions about them; the label of an image in ``images`` is its row."""

    images: Table
    captions: tuple[str, ...]
    image: np.ndarray
    text: np.ndarray

    def __repr__(self) -> str:
        return f"CaptionTable({len(self.images)} images, {len(self.captions)} captions)"

    def right(self, rows: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """bool[rows, captions]: caption c is right for image i; ``rows`` are images, all by default."""
        chosen = np.arange(len(self.images)) if rows is None else np.asarray(rows, dtype=np.int64)
        texts, text = np.unique(self.text, return_inverse=True)
        has = np.zeros((len(self.images), len(texts)), dtype=bool)
        has[self.image, text] = True
        return has[chosen][:, text]


@dataclass(frozen=True)
class Captions:
    """Train, validation and test tables; ``sha256`` identifies exactly these images, captions and parts."""

    train: CaptionTable
    val: CaptionTable | None
    test: CaptionTable | None
    sha256: str
    source: str
    notes: tuple[str, ...] = ()


def read_captions(
    address: str | Path,
    *,
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    image_column: str | None = None,
    caption_column: str | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> Captions:
    """The images and captions of a ``.csv``, ``.jsonl`` or ``.npz``, or ``DataError``/``ConfigError`` saying what is wrong.

    Without a ``split`` of its own the parts are drawn by ``seed``, image by image: no image and no copy of one is in two parts.

    >>> read_captions("captions.csv").train
    CaptionTable(80 images, 160 captions)
    """
    fractions = {"test": test_fraction, "val": val_fraction}
    _check(fractions, seed)
    found = read_captioned(address, image_column, caption_column)
    checked = PREFIX + os.fspath(address).removeprefix(PREFIX)
    refuse(found.problems, checked)
    looks = look_at(found, max_pixels, progress)
    refuse([look.problem for look in looks if look.problem], checked)
    part_of = found.part_of if found.split else _drawn(found, looks, fractions, seed)
    numbers = text_numbers(found)
    tables = {part: _table(found, part_of, part, numbers, max_pixels) for part in PARTS if part in part_of}
    if "train" not in tables:
        refuse([Problem(found.source, "no training images found; give split 'train' to some rows")], checked)
    sha256 = _sha256(found, part_of, looks)
    notes = (*found.notes, *text_notes(found, part_of), *remarks(_by_part(part_of, looks)))
    return Captions(tables["train"], tables.get("val"), tables.get("test"), sha256, shown(str(address)), notes)


def _check(fractions: dict[str, float], seed: int) -> None:
    for part, fraction in fractions.items():
        if not 0 <= fraction < 1:
            raise ConfigError(f"{part}_fraction is {fraction}; expected 0 <= {part}_fraction < 1")
    if sum(fractions.values()) >= 1:
        raise ConfigError(f"val_fraction {fractions['val']} + test_fraction {fractions['test']} leave no training images")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; expected a whole number of at least 0")


def look_at(found: Captioned, max_pixels: int = MAX_PIXELS, progress: Progress | None = None) -> list[Look]:
    """Every image opened once, in order."""
    pile = Part(found.sources, found.keys, found.names)
    return survey(Draft(found.source, {"images": pile}), max_pixels=max_pixels, progress=progress)["images"]


def _drawn(found: Captioned, looks: list[Look], fractions: dict[str, float], seed: int) -> list[str]:
    examples = [Example(str(row), (key,), "", ()) for row, key in enumerate(found.keys)]
    same = {key: look.pixels for key, look in zip(found.keys, looks, strict=True)}
    part_of = ["train"] * len(examples)
    for part, chosen in by_image(examples, fractions, seed, same).items():
        for example in chosen:
            part_of[int(example.key)] = part
    return part_of


def text_numbers(found: Captioned) -> np.ndarray:
    """The same number for the same text, in order of first appearance."""
    number: dict[str, int] = {}
    return np.array([number.setdefault(plain(caption), len(number)) for caption in found.captions], dtype=np.int64)


def plain(caption: str) -> str:
    """What of a caption makes it another text.

    >>> plain("A  cat ")
    'a cat'
    """
    return " ".join(caption.split()).casefold()


def _table(found: Captioned, part_of: list[str], part: str, numbers: np.ndarray, max_pixels: int) -> CaptionTable:
    rows = [i for i, own in enumerate(part_of) if own == part]
    place = {image: row for row, image in enumerate(rows)}
    chosen = [c for c, image in enumerate(found.image) if image in place]
    whole = Table(found.sources, np.arange(len(found.keys)), found.names, max_pixels=max_pixels).pick(rows)
    images = Table(whole.sources, np.arange(len(rows)), whole.names, max_pixels=max_pixels)
    about = np.array([place[found.image[c]] for c in chosen], dtype=np.int64)
    return CaptionTable(images, tuple(found.captions[c] for c in chosen), about, numbers[chosen])


def text_notes(found: Captioned, part_of: list[str]) -> list[str]:
    """Texts that several captions have, and texts that are in two parts."""
    texts = [plain(caption) for caption in found.captions]
    repeats = len(texts) - len({*texts})
    notes = [f"{repeats} captions repeat the text of another; every image that has the text is right for it"] if repeats else []
    own = {part: {text for text, image in zip(texts, found.image, strict=True) if part_of[image] == part} for part in PARTS}
    for part in ("val", "test"):
        if both := len(own["train"] & own[part]):
            notes.append(f"{both} texts of {part} are texts of train too")
    return notes


def _by_part(part_of: list[str], looks: list[Look]) -> dict[str, list[Look]]:
    return {part: [look for own, look in zip(part_of, looks, strict=True) if own == part] for part in PARTS if part in part_of}


def _sha256(found: Captioned, part_of: list[str], looks: list[Look]) -> str:
    total = hashlib.sha256()
    for key, part, look in zip(found.keys, part_of, looks, strict=True):
        total.update(json.dumps([part, key]).encode() + look.content.digest)
    for caption, image in zip(found.captions, found.image, strict=True):
        total.update(json.dumps([caption, image]).encode())
    return total.hexdigest()
