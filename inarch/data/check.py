"""Every image looked at once: header, full decode, SHA-256 of its bytes and of its pixels.

``check`` lists all that is wrong with a data set and changes nothing; ``load_splits`` runs the same look before training.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inarch.data.draft import Draft, Options, Part, judge
from inarch.data.images import FORMATS, MAX_PIXELS, Source, kind_of, open_image
from inarch.data.readers import read
from inarch.data.table import Content, Problem
from inarch.errors import DataError

Progress = Callable[[int, int], Any]  # images done, images in all
SUFFIXES = {"PNG": {".png"}, "WEBP": {".webp"}, "BMP": {".bmp"}, "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"}}


@dataclass(frozen=True)
class Look:
    """One image as seen once: its bytes, the hash of its upright RGB pixels, and why it is bad, if it is."""

    content: Content
    pixels: bytes
    problem: Problem | None = None
    misnamed: bool = False  # a good image whose suffix names another format


@dataclass(frozen=True)
class Report:
    """All that ``check`` found: ``problems`` must be mended (or skipped), ``warnings`` should be known."""

    problems: list[Problem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def check(
    address: str | Path,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    multilabel: bool = False,
    protocol: str | None = None,
    classes: tuple[str, ...] | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> Report:
    """Every problem of the data at ``address``, bad images and bad structure alike; raises only if there is no data to read.

    >>> check("pets/").problems
    [Problem(file='pets/train/cat/7.jpg', reason='the file is empty (0 bytes)')]
    """
    draft = read(address, Options(image_column, label_column, multilabel, protocol))
    looks = survey(draft, max_pixels=max_pixels, progress=progress)
    bad = [look.problem for seen in looks.values() for look in seen if look.problem]
    counts = {part: len(images) for part, images in draft.parts.items()}
    counts |= {"classes": len(draft.class_list()), "bad": len(bad)}
    return Report(judge(draft, classes) + bad, counts, draft.notes + remarks(looks))


def survey(draft: Draft, *, max_pixels: int = MAX_PIXELS, progress: Progress | None = None) -> dict[str, list[Look]]:
    """A ``Look`` at every image of every part, in order; decoding runs in threads, because Pillow releases the lock."""
    total = sum(map(len, draft.parts.values()))
    looks: dict[str, list[Look]] = {}
    done = 0
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        for name, part in draft.parts.items():
            looks[name] = []
            for look in pool.map(lambda i, part=part: _look(part, i, max_pixels), range(len(part))):  # type: ignore[misc]
                looks[name].append(look)
                done += 1
                if progress is not None:
                    progress(done, total)
    return looks


def _look(part: Part, i: int, max_pixels: int) -> Look:
    source, key, name = part.sources[i], part.keys[i], part.names[i]
    if isinstance(source, np.ndarray):  # the array was checked whole when it was read
        digest = hashlib.sha256(str((source.dtype, source.shape)).encode() + source.tobytes()).digest()
        return Look(Content(key, source.nbytes, digest), digest)
    try:
        pixels = open_image(source, max_pixels=max_pixels, name=name)
        content, head = _content(source, key)
    except (DataError, OSError) as error:
        reason = str(error).removeprefix(f"{name}: ")
        return Look(Content(key, 0, b""), b"", Problem(name, reason))
    digest = hashlib.sha256(str(pixels.size).encode() + pixels.tobytes()).digest()
    return Look(content, digest, misnamed=_misnamed(source, head))


def _content(source: Source, key: str) -> tuple[Content, bytes]:
    """The hash of the stored bytes, read in pieces, and the first of them."""
    if isinstance(source, bytes):
        return Content(key, len(source), hashlib.sha256(source).digest()), source[:32]
    with Path(source).open("rb") as handle:  # type: ignore[arg-type]
        head = handle.read(32)
        handle.seek(0)
        digest = hashlib.file_digest(handle, "sha256").digest()
        return Content(key, handle.tell(), digest), head


def _misnamed(source: Source, head: bytes) -> bool:
    suffix = source.suffix.lower() if isinstance(source, Path) else ""
    kind = kind_of(head)
    return bool(suffix) and kind in FORMATS and suffix not in SUFFIXES[kind]


def remarks(looks: dict[str, list[Look]]) -> list[str]:
    """What is allowed but should be known: images shared between parts or repeated in one, and names that lie."""
    seen = {part: Counter(look.pixels for look in images if not look.problem) for part, images in looks.items()}
    found = []
    for first, second in (("train", "test"), ("train", "val"), ("val", "test")):
        shared = seen.get(first, Counter()).keys() & seen.get(second, Counter()).keys()
        if shared:
            found.append(f"{len(shared)} images (equal pixels) are in {first} and in {second}; the score on {second} is too good")
    for part, counter in seen.items():
        repeated = counter.total() - len(counter)
        if repeated:
            found.append(f"{repeated} images of {part} repeat another one of {part}, pixel for pixel")
    misnamed = [look.content.key for images in looks.values() for look in images if look.misnamed]
    if misnamed:
        found.append(f"{len(misnamed)} images are of another format than their suffix says (first: {misnamed[0]})")
    return found
