"""Whose hands put a method's numbers on a model, count them, write them and read them back: ours, or another library's.

    planting(method).plant(model, thaw, seed)         the adapters stand, drawn from the seed, and what thaws beside them
    planting(method).count(model)                     save(model, folder, extra)        extra = load(model, folder, seed)
A run asks its method's planting and knows no more. Another library registers its own for its class of methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inarch.adapter import Method
from inarch.checkpoint import load, read_card, save
from inarch.container import container_of
from inarch.counting import Count, count
from inarch.grafting import graft


@dataclass(frozen=True)
class Planting(ABC):
    """One way of holding a method's numbers; ``method``: whose."""

    method: Method

    @abstractmethod
    def plant(self, model: nn.Module, thaw: tuple[str, ...], seed: int) -> None:
        """Put fresh adapters on a frozen ``model`` and thaw the roles beside them; ``CannotGraft``, and nothing is changed."""

    @abstractmethod
    def trained(self, model: nn.Module) -> set[str]:
        """Names of the parameters that ought to train, by who owns them, whatever ``requires_grad`` says."""

    @abstractmethod
    def count(self, model: nn.Module) -> Count:
        """What trains, in integers."""

    @abstractmethod
    def save(self, model: nn.Module, folder: Path, extra: dict[str, Any]) -> None:
        """Write the trained values and ``extra``; a folder that is there stays whole until the last rename."""

    @abstractmethod
    def load(self, model: nn.Module, folder: Path, seed: int) -> dict[str, Any]:
        """Verify the folder wholly, then plant and fill in its values; returns ``extra``. A ``CheckpointError`` leaves the model alone."""

    @abstractmethod
    def size(self, folder: Path) -> int:
        """Bytes of the file of values."""


@dataclass(frozen=True)
class Grafted(Planting):
    """Ours: a container on the model, an adapter folder."""

    def plant(self, model: nn.Module, thaw: tuple[str, ...], seed: int) -> None:
        with seeded(seed):
            graft(model, self.method, thaw=thaw)

    def trained(self, model: nn.Module) -> set[str]:
        scion = container_of(model).scion("default")
        owned = {id(p) for p in scion.trained().values()}
        return {name for name, p in model.named_parameters() if id(p) in owned} | set(scion.thawed)

    def count(self, model: nn.Module) -> Count:
        return count(model)

    def save(self, model: nn.Module, folder: Path, extra: dict[str, Any]) -> None:
        save(model, folder, extra=extra)

    def load(self, model: nn.Module, folder: Path, seed: int) -> dict[str, Any]:
        return load(model, folder)

    def size(self, folder: Path) -> int:
        return read_card(folder)["bytes"]


@singledispatch
def planting(method: Method) -> Planting:
    """The planting of a method, by its class."""
    return Grafted(method)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fresh values are drawn from the seed, and the caller's random numbers go on as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


__all__ = ["Grafted", "Planting", "planting", "seeded"]
