"""What the alignment may see, and what it must not: names and images of the sets that are reported.

    seen       the 1000 classes of the ViT's own classifier (a name and a row of weights each), training images of clothing10 and
               plantvillage15 and of the base half of emoji3 (two vendors)
    reported   fruits71, eurosat10, the novel half of emoji3: none of their names, none of their images; so emoji3 is called unadapted
Of the classifier and of emoji3 a name is left out if it says the same as a reported one: if the words of one are among the words of the
other. clothing10 and plantvillage15 keep all of theirs, a few of which share words with novel emoji (tests/test_stand_in.py lists them).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEEN = ("clothing10", "plantvillage15", "emoji3")
REPORTED = ("emoji3", "fruits71", "eurosat10")
WORN = {"longsleeve": "long sleeved shirt", "outwear": "jacket or coat"}  # names that nobody writes
SCENES = {  # EuroSAT's names as CoOp's split has them
    "AnnualCrop": "annual crop land", "Forest": "forest", "HerbaceousVegetation": "herbaceous vegetation land",
    "Highway": "highway or road",
    "Industrial": "industrial buildings", "Pasture": "pasture land", "PermanentCrop": "permanent crop land",
    "Residential": "residential buildings", "River": "river", "SeaLake": "sea or lake",
}


@dataclass(frozen=True, eq=False)
class Named:
    """Images ``uint8 [n, 64, 64, 3]`` of named classes, in parts, with the base classes marked."""

    names: tuple[str, ...]
    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    base: np.ndarray


def readable(name: str) -> str:
    """A class name as a sentence would have it: lower case, without the numbers that tell copies apart."""
    known = {**WORN, **SCENES}.get(name, name)
    return " ".join(re.sub(r"\b\d+\b", " ", known.lower().replace("_", " ")).split())


def words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", name.lower()))


def says_the_same(a: str, b: str) -> bool:
    """Whether the words of one are among the words of the other."""
    return bool(words(a) and words(b)) and (words(a) <= words(b) or words(b) <= words(a))


def read(name: str, folder: Path) -> Named:
    """One set. Of emoji3 two vendors train and the third tests; of fruits71 copies of one kind ("Apple Red 1", "2") are one class."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        if name == "emoji3":
            images, base = file["images"], file["is_base"].astype(bool)
            labels = np.arange(len(base))
            parts = {"train": (np.concatenate(images[:2]), np.tile(labels, 2)), "test": (images[2], labels)}
            return Named(tuple(map(str, file["names"])), parts, base)
        said = [readable(str(c)) for c in file["classes"]]
        names = sorted(set(said))
        number = np.array([names.index(c) for c in said])
        parts = {part: (file[f"x_{part}"], number[file[f"y_{part}"]]) for part in ("train", "val", "test")}
        return Named(tuple(names), parts, np.arange(len(names)) < -(-len(names) // 2))


def held_back(folder: Path) -> list[str]:
    """Names that the alignment must not see."""
    found = []
    for source in REPORTED:
        known = read(source, folder)
        found += [name for name, base in zip(known.names, known.base, strict=True) if not (base and source in SEEN)]
    return found


def allowed(names: Sequence[str], forbidden: Sequence[str]) -> list[int]:
    """Which of the names say nothing that is forbidden."""
    return [i for i, name in enumerate(names) if not any(says_the_same(name, other) for other in forbidden)]


def classifier_names(folder: Path) -> dict[int, str]:
    """Of the ViT's 1000 classes those that say nothing of what is reported: index -> name."""
    from inarch.backbones.torchvision import import_library

    info = import_library("timm", "timm").data.ImageNetInfo()
    every = [info.index_to_description(index, detailed=False).partition(",")[0] for index in range(1000)]
    return {index: every[index] for index in allowed(every, held_back(folder))}


def lesson(source: str, folder: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Of a seen set: names that may be seen, its training images of them, and the number of each image's name."""
    known = read(source, folder)
    images, labels = known.parts["train"]
    may = set(allowed(known.names, held_back(folder))) if source in REPORTED else {*range(len(known.names))}
    kept = [c for c in range(len(known.names)) if c in may and (known.base[c] or source not in REPORTED)]
    mine = np.isin(labels, kept)
    return [known.names[c] for c in kept], images[mine], np.searchsorted(kept, labels[mine])


def digests(images: np.ndarray) -> set[bytes]:
    return {hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images}
