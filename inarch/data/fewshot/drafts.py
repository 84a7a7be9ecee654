"""Every other kind of image data as a few-shot listing: folders, tables, ``.npz``, hub data sets, digits.

Classes keep the numbering they have everywhere else; parts that the data does not bring are drawn by seed, as everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from inarch.data.draft import Options, Part, judge
from inarch.data.fewshot.listing import Listing, Pile, judge_names, prompt_name
from inarch.data.readers import read
from inarch.data.splits import stratified
from inarch.data.table import Problem
from inarch.errors import DataError


def read_images(address: str | Path, split_seed: int) -> Listing:
    """What ``load_splits`` reads at ``address``, before any image is opened."""
    draft = read(address, Options(seed=split_seed))
    problems = judge(draft)
    if draft.multilabel:
        problems.append(Problem(draft.source, "images have several labels; few-shot classification needs one each"))
    classes = tuple(prompt_name(name) for name in draft.class_list())
    judge_names(draft.source, classes, problems)
    index = {name: c for c, name in enumerate(draft.class_list())}
    parts = {name: _pile(part, index) for name, part in draft.parts.items() if len(part)}
    notes = [note for note in draft.notes if "no training image" not in note]  # few-shot data refuses those
    file = Path(address).expanduser()
    digest = hashlib.sha256(file.read_bytes()).digest() if file.suffix.lower() == ".npz" else b""
    return Listing(draft.source, file.stem, classes, parts, draft.base, whole=draft.whole, digest=digest, problems=problems, notes=notes)


def _pile(part: Part, index: Mapping[str, int]) -> Pile:
    labels = [index.get(names[0], -1) if names else -1 for names in part.labels]  # those without a class are problems already
    return Pile(part.sources, part.keys, part.names, np.array(labels, dtype=np.int64))


def draw(listing: Listing, fractions: Mapping[str, float], seed: int) -> None:
    """Move training images to the parts that are missing, in proportion to the classes."""
    train = listing.parts.get("train")
    if listing.whole or train is None:
        return
    total = len(train)
    for part, fraction in fractions.items():
        if part in listing.parts or not fraction:
            continue
        train = listing.parts["train"]
        kept, taken = stratified(np.arange(len(train)), train.labels, round(total * fraction), seed)
        if not len(taken) or not len(kept):
            few = f"{total} training images are too few for {part}_fraction={fraction}"
            raise DataError(f"{few}; add {part} images, or set {part}_fraction=0")
        listing.parts["train"], listing.parts[part] = train.pick(kept), train.pick(taken)
