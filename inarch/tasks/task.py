"""What a run learns, as far as the loop can tell; the loop, the updates, the checkpoints and the trackers know no more than this.

    update      g = grad  sum_i losses(net(inputs_i), targets_i) / mass(rows)      over all rows of the update
    score       found = part.found(net)       every example of a part once;        metrics = part.metrics(found)
A task is one strategy object, made before the first update from checked data and a loaded backbone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from inarch.backbones import Backbone
from inarch.recipe import Recipe
from inarch.run import Card, Run

Tick = Callable[[int, int], None]


class Movable(Protocol):
    """A tensor, or tensors that move together."""

    def to(self, device: torch.device) -> Self: ...

    def __len__(self) -> int: ...


class Batch(NamedTuple):
    """What the net is given, and what it should have said."""

    inputs: Any
    targets: Any

    def to(self, device: torch.device) -> Batch:
        return Batch(self.inputs.to(device), self.targets.to(device))


class Feed(Protocol):
    """Batches of rows of one table, in the order that they are asked for."""

    def __len__(self) -> int:
        """Rows of the table."""
        ...

    def batches(self, rows: Any, epoch: int = 0) -> Iterator[Batch]:
        """One for each list of rows in the iterable ``rows``."""
        ...

    def close(self) -> None:
        """Let go of worker processes."""
        ...


class Plan(Protocol):
    """Which rows make up which update: per epoch a list of windows, each a sequence of micro-batches of rows."""

    @property
    def updates(self) -> int:
        """Updates per epoch, the same in each."""
        ...

    def windows(self, epoch: int) -> Sequence[Sequence[Tensor]]: ...


class Part(Protocol):
    """Examples to be scored."""

    @property
    def name(self) -> str: ...

    def found(self, engine: Any, net: nn.Module, tick: Tick | None = None) -> Any:
        """What ``net`` says to every example, each once whatever the number of processes."""
        ...

    def metrics(self, found: Any) -> dict[str, Any]:
        """Every number, as plain JSON."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class Sources:
    """``net`` learns from ``feed`` and is watched on ``val`` (None: there is nothing to watch on); ``note``: what is to be told of it."""

    net: nn.Module
    feed: Feed
    val: Part | None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Start:
    """What a task is made from. ``engine``: accelerate's; ``stored``: the card of a run that is resumed or read again."""

    recipe: Recipe
    run: Run
    engine: Any
    stored: Card | None = None
    tick: Tick | None = None

    def locate(self, address: str) -> str:
        """An address of the recipe, found from where the run was started."""
        return address if self.stored is None else self.run.locate(address, self.stored.base)


class Task(ABC):
    """``backbone``: as loaded; its model is grafted before ``net`` is asked for."""

    recipe: Recipe
    backbone: Backbone
    unit: str  # what examples are called beside a rate

    @staticmethod
    @abstractmethod
    def prepare(start: Start) -> Task:
        """Read and check the data, load the backbone; nothing is written into the run."""

    @staticmethod
    @abstractmethod
    def load(recipe: Recipe, card: Card, address: str) -> Backbone:
        """The backbone of a run that has been trained, for its adapter to be loaded on."""

    @staticmethod
    @abstractmethod
    def net(model: nn.Module, recipe: Recipe) -> nn.Module:
        """``inputs -> output``: the one forward of training, scoring and prediction, so that their numbers agree."""

    @staticmethod
    def ready(net: nn.Module, recipe: Recipe, card: Card) -> None:
        """Give the net of a finished run what it needs beside its values, such as the names that it compares with."""
        net.eval()

    @staticmethod
    @abstractmethod
    def again(start: Start, net: nn.Module, split: str, data: str | None, batch: int) -> Part:
        """A part of the data of a finished run, or of other ``data`` of its kind; ``DataError`` where it is not what it was."""

    @abstractmethod
    def card(self) -> dict[str, Any]:
        """``classes``, ``multilabel``, ``preprocess`` and ``data`` of the run card."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Of the data, for the result."""

    @abstractmethod
    def about(self) -> str:
        """The data in one line."""

    @abstractmethod
    def order(self) -> Plan:
        """The windows of every epoch."""

    @abstractmethod
    def sources(self, engine: Any, net: nn.Module, tick: Tick | None) -> Sources:
        """What is trained, on what, watched on what; ``net`` is the whole of it."""

    @abstractmethod
    def parts(self) -> list[Part]:
        """What is scored at the end, by the whole net."""

    @abstractmethod
    def names(self, rows: Sequence[int]) -> list[str]:
        """Training rows as a reader knows them."""

    @abstractmethod
    def mass(self, rows: Tensor, epoch: int) -> float:
        """What the sum of the losses of these rows is divided by."""

    @abstractmethod
    def losses(self, output: Tensor, targets: Any) -> Tensor:
        """``[batch]``, to be summed."""

    @abstractmethod
    def headline(self, metrics: dict[str, Any]) -> float:
        """The number that selects an epoch."""

    @abstractmethod
    def scalars(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """The single numbers of a score, for a log line."""

    @abstractmethod
    def said(self, scalars: dict[str, Any]) -> list[str]:
        """The few of them that a reader watches: ``accuracy 0.9100``."""

    @abstractmethod
    def keep(self, run: Run, found: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
        """Write the predictions of the scored parts, by name; returns what the result says beside the numbers."""

    @abstractmethod
    def report(self, run: Run) -> None:
        """Write the report of the finished run."""
