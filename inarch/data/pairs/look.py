"""Every image of a task looked at once, before training: is it there, does it decode, is it a copy of another?"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from inarch.data.check import Look, Progress, remarks, survey
from inarch.data.draft import Draft as Pictures
from inarch.data.draft import Part as Pile
from inarch.data.images import MAX_PIXELS, shown
from inarch.data.pairs.draft import Draft
from inarch.data.pairs.example import ordered_images
from inarch.data.table import Problem


@dataclass(frozen=True)
class Seen:
    """What the look found: per image the hash of its stored bytes, and of its pixels."""

    content: dict[str, bytes] = field(default_factory=dict)
    pixels: dict[str, bytes] = field(default_factory=dict)


def look_at(draft: Draft, images: Mapping[str, Any], max_pixels: int = MAX_PIXELS, progress: Progress | None = None) -> Seen:
    """Open every needed image; bad ones become problems of ``draft``, shared and repeated ones notes."""
    needed = {image: count for image, count in _needed(draft).items() if image in images}
    sources = [images[image] for image in needed]
    names = [shown(source) if hasattr(source, "__fspath__") else image for image, source in zip(needed, sources, strict=True)]
    pictures = Pictures(draft.source, {"images": Pile(sources, list(needed), names)})
    looks = dict(zip(needed, survey(pictures, max_pixels=max_pixels, progress=progress)["images"], strict=True))
    for image, look in looks.items():
        if look.problem:
            draft.problems.append(Problem(look.problem.file, f"{look.problem.reason}; {needed[image]} example(s) need it"))
    draft.notes += remarks({part: _looks(ordered_images(examples), looks) for part, examples in draft.parts.items()})
    return Seen({i: look.content.digest for i, look in looks.items()}, {i: look.pixels for i, look in looks.items()})


def _looks(needed: dict[str, int], looks: dict[str, Look]) -> list[Look]:
    return [looks[image] for image in needed if image in looks]


def _needed(draft: Draft) -> dict[str, int]:
    return ordered_images(example for part in draft.parts.values() for example in part)


def missing(draft: Draft, available: Container[str], what: str = "image or feature") -> int:
    """A problem per part and image that is not among ``available``; returns how many images that are."""
    absent: set[str] = set()
    for part, examples in draft.parts.items():
        for image, count in ordered_images(examples).items():
            if image not in available:
                absent.add(image)
                draft.problems.append(Problem(image, f"no {what}; {count} example(s) of {part} need it"))
    return len(absent)
