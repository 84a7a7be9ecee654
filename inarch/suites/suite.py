"""A suite: tasks that belong together, the recipe and backbone that they share, and what is tried on each of them.

    fields of one run = recipe of the suite, over it what the method has of its own, over it the task's; data and backbone below the root
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = "{data}"  # stands for the root of the data, in an address
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class SuiteTask:
    """One data set of a suite: its address below the root of the data, its group, and the recipe fields that it alone has."""

    name: str
    data: str
    group: str = ""
    recipe: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    download: str = ""  # where the public files are, under which licence, and how they become what the reader reads


@dataclass(frozen=True)
class Suite:
    """``rates``: learning rates to try on validation, by method; ``default`` holds for those that are not named.

    ``settings``: recipe fields that a method has of its own here, ``set`` among them (its published size), by method.
    """

    name: str
    title: str
    backbone: str
    tasks: tuple[SuiteTask, ...]
    recipe: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    seeds: tuple[int, ...] = (0, 1, 2)
    rates: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: NOTHING)
    methods: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: NOTHING)
    about: Mapping[str, str] = field(default_factory=lambda: NOTHING)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Group -> names of its tasks, in the order of the file; tasks without a group are in none."""
        names = dict.fromkeys(task.group for task in self.tasks if task.group)
        return {group: tuple(task.name for task in self.tasks if task.group == group) for group in names}

    def rates_of(self, method: str) -> tuple[float, ...]:
        return self.rates.get(method, self.rates["default"])

    def fields(self, task: SuiteTask, root: str | Path, method: str = "") -> dict[str, Any]:
        """Recipe fields of a run on ``task``, its data below ``root``: all but the method's name, its rate and the seed."""
        own = self.settings.get(method, NOTHING)
        return {**self.recipe, **own, **task.recipe, "data": below(task.data, root), "backbone": self.backbone.replace(ROOT, str(root))}


def below(address: str, root: str | Path) -> str:
    """The address of data that a suite names: a path lies below ``root``, a word or scheme stays, ``{data}`` becomes the root."""
    from inarch.data.readers import WORDS

    if ROOT in address:
        return address.replace(ROOT, str(root))
    if ":" in address or any(kind.matches(address) for kind in WORDS):
        return address
    return str(Path(root) / address)
