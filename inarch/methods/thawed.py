"""Baselines that add nothing and train parameters of the base itself: linear probe, frozen, BitFit (Zaken et al., 2022), full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from inarch.adapter import Built, Method
from inarch.errors import ConfigError
from inarch.ports import Stack


@dataclass(frozen=True)
class Thawed(Method):
    """Trains the base parameters of the roles in ``thaws`` and adds no numbers of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers is not None or self.towers is not None:
            raise ConfigError(f"{type(self).__name__} trains whole roles; it takes neither layers nor towers")

    def wanted(self) -> tuple[str, ...]:
        return ()

    @property
    def identity_at_start(self) -> bool:
        return True

    def build(self, stacks: list[Stack]) -> Built:
        return Built({})


@dataclass(frozen=True)
class Linear(Thawed):
    """Linear probe: the head alone."""

    @property
    def thaws(self) -> tuple[str, ...]:
        return ("head",)


@dataclass(frozen=True)
class Frozen(Thawed):
    """Nothing of its own: only what the backbone always trains (a vision-language projector) and what the user thaws.

    With neither it is the model as it comes (zero-shot CLIP), scored and saved like any other run.
    """

    trains: ClassVar[bool] = False


@dataclass(frozen=True)
class BitFit(Thawed):
    """Every bias of the base (linears, norms, convolutions); thaw the head beside it for a new task."""

    @property
    def thaws(self) -> tuple[str, ...]:
        return ("biases",)


@dataclass(frozen=True)
class Full(Thawed):
    """Full fine-tuning: every parameter of the base."""

    @property
    def thaws(self) -> tuple[str, ...]:
        return ("all",)
