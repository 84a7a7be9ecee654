"""What an image-text task trains on and is scored by: one example per question, sentence or caption.

    text         encoder text, prompt included, as published; cut to ``Protocol.text_tokens`` when it is tokenised
    targets      ((answer, weight), ...)      several where annotators disagree; () where a part is unlabelled
    references   what a prediction is scored against: the 10 answers, all captions of the image, the label
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inarch.data.pairs.protocols import Protocol
from inarch.errors import ConfigError, nearest

Targets = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)  # slots: the published sets hold a million of these
class Example:
    """One text about one image or clip, or about two images."""

    key: str  # question or annotation id, unique within its task and part
    images: tuple[str, ...]  # ids of its images or clips, in order
    text: str
    targets: Targets
    references: tuple[str, ...] = ()
    group: str = ""  # question or answer type, for break-downs


@dataclass(frozen=True, eq=False, repr=False)
class Pairs:
    """One task, read and checked; ``sha256`` covers everything that decides the examples."""

    protocol: Protocol
    parts: dict[str, tuple[Example, ...]]  # train, val, test: those that are there
    sha256: str
    source: str
    notes: tuple[str, ...] = ()  # what a careful user should know; belongs in the report
    images: Mapping[str, Any] = field(default_factory=dict)  # image id -> Path or uint8 array, where images are at hand

    def image_ids(self, part: str | None = None) -> tuple[str, ...]:
        """The images of ``part``, or of all parts: each once, in the order in which they are first needed."""
        if part is not None and part not in self.parts:
            raise ConfigError(f"{self.source}: no part {part!r}; {nearest(part, self.parts)}")
        parts = self.parts if part is None else (part,)
        return tuple(ordered_images(example for name in parts for example in self.parts[name]))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{part} {len(examples)}" for part, examples in self.parts.items())
        return f"Pairs({self.protocol.name}: {sizes})"


def ordered_images(examples: Iterable[Example]) -> dict[str, int]:
    """Image id -> how many examples need it, in the order of first need."""
    found: dict[str, int] = {}
    for example in examples:
        for image in example.images:
            found[image] = found.get(image, 0) + 1
    return found
