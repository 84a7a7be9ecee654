"""What can be measured: a family of backbones, the ways to train one of them, and the least that training could cost there.

    floor   everything frozen but what every method trains, and the gradient of every activation from the first block on:
            frozen forward + input-gradient backward, the least that any method with trained parts in block 0 can do
A new row of ``subjects`` is a new line in every table of its family.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from inarch.errors import ConfigError, nearest

if TYPE_CHECKING:
    from inarch.bench.goals import Goal

Data = tuple[Any, ...]


@dataclass(frozen=True)
class Subject:
    """A way to train: ``label`` for tables, ``prepare`` changes a fresh model into it with the help of ``package``.

    ``aside``: measured only where it is asked for by name, and what the table then says of itself.
    """

    label: str
    prepare: Callable[[nn.Module], nn.Module]
    package: str = ""
    aside: str = ""


@dataclass(frozen=True)
class Size:
    """One backbone of a family: its address, what tables call it, and a longer name than its key, where it has one."""

    address: str
    title: str
    also: str = ""


@dataclass(frozen=True)
class Epoch:
    """An epoch of ``steps`` batches of ``subject``, once from what was kept of the frozen blocks of ``towers``.

    ``batch``: examples per step and number of the batch -> its data.
    """

    subject: str
    towers: tuple[str, ...]
    batch: Callable[[int, int], Data]
    steps: int = 1


@dataclass(frozen=True)
class Family:
    """``base`` builds a backbone of random weights from its address, ``batch`` the same random examples every time.

    ``examples`` per step where nothing is said, ``unit`` what one is called, ``settings`` its shape. ``tell``: generate so many tokens
    for a batch; None where nothing is generated. ``shape``: the settings in words. ``resized``: the family at another image size.
    """

    name: str
    sizes: dict[str, Size]
    subjects: dict[str, Subject]
    base: Callable[[str], nn.Module]
    batch: Callable[[int], Data]
    loss: Callable[[nn.Module, Data], Tensor]
    settings: dict[str, int]
    examples: int
    unit: str
    tell: Callable[[nn.Module, Data, int], Tensor] | None = None
    shape: str = ""
    resized: Callable[[int], Family] | None = None
    goals: tuple[Goal, ...] = ()
    epoch: Epoch | None = None

    def chosen(self, names: list[str] | None) -> list[str]:
        """The floor first, then the wished methods in table order; by default all but what stands aside or whose package is absent."""
        if names is None:
            return [name for name, subject in at_hand(self.subjects).items() if not subject.aside]
        for name in names:
            if name not in self.subjects:
                raise ConfigError(f"bench: no method {name!r} in the family {self.name}; {nearest(name, self.subjects)}")
        return [name for name in self.subjects if name in names or name == "floor"]

    def models(self, names: list[str] | None) -> list[str]:
        """The wished backbones by their keys, all by default."""
        known = {name: name for name in self.sizes} | {size.also: name for name, size in self.sizes.items() if size.also}
        for name in names or ():
            if name not in known:
                raise ConfigError(f"bench: no model {name!r} in the family {self.name}; {nearest(name, known)}")
        return list(self.sizes) if names is None else list(dict.fromkeys(known[name] for name in names))

    def prepared(self, like: nn.Module, name: str) -> nn.Module:
        """A twin of the base, made ready to be trained as ``name`` says."""
        model = self.subjects[name].prepare(twin(like))
        for parameter in model.parameters():
            if parameter.requires_grad:  # what a method trains is its own
                parameter.data = parameter.data.clone()
        return model


def at_hand(subjects: dict[str, Subject]) -> dict[str, Subject]:
    """Those whose package is installed."""
    return {name: subject for name, subject in subjects.items() if not subject.package or installed(subject.package)}


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def twin(model: nn.Module) -> nn.Module:
    """A copy whose parameters are its own and whose numbers are the model's: a dozen rivals fit where one did."""
    shared = {id(p): nn.Parameter(p.data, p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, shared)
