"""What a reader found, before anything is refused: parts of examples, the problems met, the images at hand."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from inarch.data.pairs.example import Example, Targets
from inarch.data.pairs.protocols import Protocol
from inarch.data.table import Problem
from inarch.errors import nearest

MAX_TEXT = 100_000  # characters; more in one question or caption is a quote that was never closed, not a text
UNFIT = re.compile("[\0\ud800-\udfff]")
Shared = TypeVar("Shared", bound=Hashable)
Place = tuple[str, int, str]  # joined they read "train.json[12]" or "train.jsonl:12"


@dataclass
class Draft:
    """A task as found. ``whole``: its parts are final, nothing is split off."""

    protocol: Protocol
    source: str
    parts: dict[str, list[Example]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    images: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = True
    seen: dict[str, dict[str, Place]] = field(default_factory=dict)  # part -> key -> where it was
    pool: dict[Any, Any] = field(default_factory=dict)

    def share(self, value: Shared) -> Shared:
        """The first value that equals this one: a million examples have few different answers."""
        return self.pool.setdefault(value, value)

    def add(self, part: str, row: Row, example: Example) -> None:
        """Take ``example`` into ``part``, unless its row is unsound or its key was there before."""
        if not row.sound:
            return
        seen = self.seen.setdefault(part, {})
        if first := seen.get(example.key):
            row.wrong(f"the id {example.key} was at {shown_place(first)} already; expected ids that differ")
            return
        seen[example.key] = row.place
        self.parts.setdefault(part, []).append(example)


class Row:
    """One record of an annotation file: typed access, where each fault becomes a problem of the draft."""

    __slots__ = ("cells", "draft", "place", "sound")

    def __init__(self, cells: dict[str, Any], place: Place, draft: Draft) -> None:
        self.cells, self.place, self.draft, self.sound = cells, place, draft, True
        if not isinstance(cells, dict):
            self.wrong(f"{kind_of(cells)}; expected an object with keys")
            self.cells = {}

    def wrong(self, reason: str) -> None:
        self.sound = False
        self.draft.problems.append(Problem(shown_place(self.place), reason))

    def cell(self, key: str) -> Any:
        """The value of ``key``, or None with a problem that names the nearest key."""
        value = self.cells.get(key)
        if value is None and self.sound:
            found = "is null" if key in self.cells else f"is not there; {nearest(key, self.cells)}"
            self.wrong(f"key {key!r} {found}")
        return value

    def text(self, key: str) -> str:
        """A question, sentence or caption: a string that says something."""
        value = self.cell(key)
        if not isinstance(value, str):
            return self._refuse(key, value, "a text")
        if reason := unfit(value):
            self.wrong(f"{key} {reason}")
        return value

    def words(self, key: str) -> str:
        """A string that may be blank, such as one of several choices."""
        value = self.cell(key)
        return value if isinstance(value, str) else self._refuse(key, value, "a text")

    def ident(self, key: str) -> str:
        """An id: a word or a whole number."""
        value = self.cell(key)
        if isinstance(value, bool) or not isinstance(value, str | int):
            return self._refuse(key, value, "a word or a whole number")
        if isinstance(value, str) and (reason := unfit(value)):
            self.wrong(f"{key} {reason}")
        return str(value)

    def number(self, key: str, below: int) -> int:
        """A whole number from 0 to ``below`` - 1."""
        value = self.cell(key)
        if not isinstance(value, int) or not 0 <= value < below:
            self._refuse(key, value, f"0 to {below - 1}")
            return 0
        return int(value)

    def items(self, key: str) -> list[Any]:
        value = self.cell(key)
        if not isinstance(value, list):
            self._refuse(key, value, "a list")
            return []
        return value

    def scores(self, key: str) -> Targets:
        """``{answer: score}`` as targets; an answer of score 0 is never drawn, and is left out."""
        value = self.cell(key)
        if not isinstance(value, dict):
            self._refuse(key, value, "{answer: score}")
            return ()
        for answer, score in value.items():
            if reason := unfit(answer):
                self.wrong(f"an answer of {key} {reason}")
            elif isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
                self.wrong(f"the score of {answer!r} is {score!r}; expected 0 to 1")
        return tuple((answer, float(score)) for answer, score in value.items() if score) if self.sound else ()

    def _refuse(self, key: str, value: Any, expected: str) -> str:
        if value is not None:  # what is not there was said already
            self.wrong(f"{key} is {kind_of(value)}; expected {expected}")
        return ""


def kind_of(value: Any) -> str:
    """What stands where something else was expected."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return ascii(value)[:40]


def shown_place(place: Place) -> str:
    return f"{place[0]}{place[1]}{place[2]}"


def unfit(text: str) -> str | None:
    """Why ``text`` can be no question, answer or caption, or None."""
    if not text or text.isspace():
        return "is empty" if not text else "is blank"
    if len(text) > MAX_TEXT:
        return f"has {len(text):,} characters; at most {MAX_TEXT:,} make one text"
    if found := UNFIT.search(text):
        return "holds a NUL character" if found[0] == "\0" else f"holds half a character ({found[0]!a}, a lone surrogate)"
    return None


def whole_target(text: str) -> Targets:
    return ((text, 1.0),)


def unscored(examples: Iterable[Example]) -> int:
    """How many examples have no answer that could be trained on."""
    return sum(not example.targets for example in examples)
