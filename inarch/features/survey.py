"""Every image looked at before the first feature: the SHA-256 of what is stored, and whether it can be decoded at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from inarch.data.images import MAX_PIXELS, open_image, shown
from inarch.data.load import MAX_BAD_SHARE
from inarch.data.table import Problem
from inarch.errors import DataError

Image = Path | np.ndarray
Tell = Callable[[str, int, int], Any]  # what is being done, images done, images in all
T = TypeVar("T")
LISTED = 20


def silent(what: str, done: int, total: int) -> None:
    """Tells nobody."""


def workers() -> int:
    return min(os.cpu_count() or 1, 16)


def name_of(image: str, source: Image) -> str:
    """What people call it: its file, or its id."""
    return image if isinstance(source, np.ndarray) else shown(source)


def fingerprint(images: Mapping[str, Image], tell: Tell = silent) -> str:
    """SHA-256 over every image's id and bytes, by id; a file that cannot be read counts as its absence."""
    total = hashlib.sha256()
    for image, digest in _threaded("reading images", images, _digest, tell):
        total.update(json.dumps(image).encode() + digest)
    return total.hexdigest()


def bad_images(images: Mapping[str, Image], tell: Tell = silent, max_pixels: int = MAX_PIXELS) -> dict[str, Problem]:
    """Every image that cannot be decoded, and why."""
    def look(image: str, source: Image) -> Problem | None:
        try:
            open_image(source, max_pixels=max_pixels, name=name_of(image, source))
        except DataError as error:
            return Problem(name_of(image, source), str(error).removeprefix(f"{name_of(image, source)}: "))
        return None

    return {image: problem for image, problem in _threaded("looking at images", images, look, tell) if problem}


def refuse(bad: Mapping[str, Problem], total: int, on_bad_image: str) -> None:
    """``DataError`` that lists the bad images, unless few enough of them may be skipped."""
    if not bad or (on_bad_image == "skip" and len(bad) <= MAX_BAD_SHARE * total):
        return
    lines = [*map(str, list(bad.values())[:LISTED])] + ([f"and {len(bad) - LISTED} more"] if len(bad) > LISTED else [])
    cure = (f"on_bad_image='skip' leaves out at most {MAX_BAD_SHARE:.0%}" if on_bad_image == "skip" else
            f"on_bad_image='skip' leaves out up to {MAX_BAD_SHARE:.0%} of the images")
    raise DataError(f"{len(bad)} of {total} images cannot be used:\n  " + "\n  ".join(lines) + f"\nrestore or remove them; {cure}")


def _digest(_: str, source: Image) -> bytes:
    if isinstance(source, np.ndarray):
        head = hashlib.sha256(str((source.dtype, source.shape)).encode())
        head.update(np.ascontiguousarray(source).data)
        return head.digest()
    try:
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest() if source.is_file() else b""
    except OSError:
        return b""


def _threaded(what: str, images: Mapping[str, Image], work: Callable[[str, Image], T], tell: Tell) -> Iterator[tuple[str, T]]:
    """(id, result) by id; reading and decoding leave Python's lock, so threads serve."""
    ids: Sequence[str] = sorted(images)
    with ThreadPoolExecutor(workers()) as pool:
        for done, (image, found) in enumerate(zip(ids, pool.map(lambda image: work(image, images[image]), ids), strict=True), start=1):
            yield image, found
            tell(what, done, len(ids))
