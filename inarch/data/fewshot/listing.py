"""What a reader of few-shot data found, before anything is refused: images by part with numbered classes, and every problem met.

    label of image i of a part      labels[i] in 0 .. classes - 1       int64[n]
    seal                            SHA-256 over the class list and every part's keys and labels, in order
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from inarch.data.draft import unprintable
from inarch.data.images import shown
from inarch.data.table import Picked, Problem, Sources
from inarch.errors import DataError

PARTS = ("train", "val", "test")
SOME = 8  # of many, so many are named


@dataclass
class Pile:
    """Images of one part: ``keys`` name them inside the data set, ``names`` for people."""

    sources: Sources
    keys: list[str]
    names: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def pick(self, rows: Sequence[int] | np.ndarray) -> Pile:
        """The pile of these rows; where it can, it holds no way to the others."""
        chosen = [int(i) for i in rows]
        return Pile(_only(self.sources, chosen), [self.keys[i] for i in chosen], [self.names[i] for i in chosen], self.labels[chosen])


def _only(sources: Sources, rows: list[int]) -> Sources:
    if isinstance(sources, np.ndarray):
        return sources[rows]
    return [sources[i] for i in rows] if isinstance(sources, list) else Picked(sources, rows)


@dataclass
class Listing:
    """A data set as found. ``classes`` are names for prompts, by label; ``base`` says which are base, else the first half is."""

    source: str
    dataset: str
    classes: tuple[str, ...]
    parts: dict[str, Pile]
    base: tuple[bool, ...] | None = None
    sampled: bool = False  # its training part is a few-shot sample already
    whole: bool = True  # its parts are final: nothing is split off
    digest: bytes = b""  # of the file that holds the pixels themselves
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def most(self) -> int:
        """Training images of the class that has most."""
        return int(np.bincount(self.parts["train"].labels).max()) if "train" in self.parts else 0

    def seal(self) -> str:
        total = hashlib.sha256(json.dumps([*self.classes]).encode() + self.digest)
        for part, pile in sorted(self.parts.items()):
            total.update(item_lines(part, pile))
        return total.hexdigest()


def item_lines(part: str, pile: Pile) -> bytes:
    """One JSON line ``[part, key, label]`` per image: what the hash of an item list is taken over."""
    rows = zip(pile.keys, pile.labels.tolist(), strict=True)
    return "".join(json.dumps([part, key, label]) + "\n" for key, label in rows).encode()


def refuse(problems: list[Problem], address: object) -> None:
    if problems:
        first = "\n  ".join(map(str, problems[:3]))
        more = f"\n  and {len(problems) - 3} more" if len(problems) > 3 else ""
        cure = f"`inarch check-data {shown(str(address))}` lists all of them"
        raise DataError(f"{len(problems)} problem(s) in the data:\n  {first}{more}\n{cure}")


def prompt_name(name: str) -> str:
    """The name as it stands in a prompt.

    >>> prompt_name("annual_crop_land")
    'annual crop land'
    """
    return name.replace("_", " ")


def judge_names(source: str, classes: Sequence[str], problems: list[Problem]) -> None:
    """Empty, unprintable and repeated names: of two classes with one name, a prompt means both."""
    for label, name in enumerate(classes):
        if not name.strip():
            problems.append(Problem(source, f"the name of class {label} is empty; a prompt needs one"))
        elif reason := unprintable(name):
            problems.append(Problem(source, f"the name of class {label}, {name!a}, {reason}"))
    for name, labels in shared(classes).items():
        problems.append(Problem(source, f"classes {some(labels)} are all named {name!r}; a prompt could not tell them apart"))


def shared(classes: Sequence[str]) -> dict[str, list[int]]:
    """Names that several classes have, with their labels."""
    counts = Counter(classes)
    twice = {name for name, count in counts.items() if count > 1 and name.strip()}
    return {name: [c for c, other in enumerate(classes) if other == name] for name in sorted(twice)}


def some(values: Sequence[object]) -> str:
    """The first few of ``values``, in words."""
    more = f" and {len(values) - SOME} more" if len(values) > SOME else ""
    return ", ".join(map(str, values[:SOME])) + more
