"""All that a run must remember between two updates, as tensors and JSON.

There is no generator state among it: every random draw of a run is keyed, by (seed, epoch) for the order, (seed, epoch, image)
for augmentation, and (seed, update, pass, process) for dropout, so that the number of updates made says where each stands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from inarch.errors import Corrupt
from inarch.training.generations import Generation

MOMENTS = ("exp_avg", "exp_avg_sq", "step", "momentum_buffer")  # of AdamW and SGD


@dataclass
class Tally:
    """Sums over the updates of the epoch at hand: weighted losses, what they are divided by, images seen, seconds."""

    loss: float = 0.0
    mass: float = 0.0
    images: int = 0
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        return self.loss / self.mass

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / max(self.seconds, 1e-9)

    def add(self, loss: float, mass: float, images: int, seconds: float) -> None:
        self.loss, self.mass = self.loss + loss, self.mass + mass
        self.images, self.seconds = self.images + images, self.seconds + seconds


@dataclass
class Best:
    """The best epoch so far on the validation part, and the values that made it."""

    metric: float
    epoch: int
    values: dict[str, Tensor] = field(repr=False)


@dataclass
class State:
    """``updates`` made, ``epochs`` scored and logged, ``seconds`` of training.

    ``skipped``: updates that changed nothing, because fp16 overflowed or loss or gradient was not finite; ``nonfinite``: the latter.
    """

    updates: int = 0
    epochs: int = 0
    skipped: int = 0
    nonfinite: int = 0
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)
    best: Best | None = None

    def to_json(self) -> dict[str, Any]:
        best = None if self.best is None else {"metric": self.best.metric, "epoch": self.best.epoch}
        return {"updates": self.updates, "epochs": self.epochs, "skipped": self.skipped, "nonfinite": self.nonfinite,
                "seconds": self.seconds, "tally": dataclasses.asdict(self.tally), "best": best}

    @staticmethod
    def from_json(fields: dict[str, Any], best: dict[str, Tensor]) -> State:
        """Raises ``TypeError`` or ``KeyError`` unless every field is there, and of its type."""
        chosen = None if fields["best"] is None else Best(**fields["best"], values=best)
        state = State(**fields | {"tally": Tally(**fields["tally"]), "best": chosen})
        for record in (state, state.tally, chosen):
            _check_numbers(record)
        return state


def _check_numbers(record: State | Tally | Best | None) -> None:
    for one in dataclasses.fields(record) if record else ():
        value = getattr(record, one.name)
        if one.type in ("int", "float") and (type(value).__name__ not in ("int", one.type) or not abs(value) < 1 << 63):
            raise TypeError(f"{one.name}={str(value)[:60]!r}; expected {one.type}")


def values(trained: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """A copy of what trains."""
    return {name: p.detach().cpu().clone() for name, p in trained.items()}


def snapshot(state: State, trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, scaler: Any) -> tuple[dict, dict]:
    """``tensors, state`` of a generation."""
    moments = {f"{moment}/{name}": value for name, p in trained.items() for moment, value in optimizer.state[p].items()
               if value is not None}
    tensors = {"trained": values(trained), "optimizer": moments, "best": state.best.values if state.best else {}}
    return tensors, {"run": state.to_json(), "scaler": None if scaler is None else scaler.state_dict()}


def restore(found: Generation, trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, scaler: Any) -> State:
    """Put a generation's values and moments where they belong; returns where the run stood. ``Corrupt``, and nothing is changed."""
    stored, moments = found.tensors.get("trained", {}), found.tensors.get("optimizer", {})
    state = _state(found)
    for group in (stored, *([state.best.values] if state.best else [])):
        _check_alike(group, trained, found.number)
    _check_moments(moments, trained, found.number)
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(stored[name])
            optimizer.state[parameter] = _moments(moments, name, parameter, optimizer.defaults)
    if scaler is not None and found.state["scaler"]:
        scaler.load_state_dict(found.state["scaler"])
    return state


def _state(found: Generation) -> State:
    best = found.tensors.get("best", {})
    try:
        state = State.from_json(found.state["run"], best)
    except (TypeError, KeyError, AttributeError) as problem:
        raise Corrupt(f"checkpoint {found.number}: its state is not one that a run wrote ({problem}); "
                      "train again with another --out") from None
    if bool(best) != (state.best is not None):
        raise Corrupt(f"checkpoint {found.number}: the best epoch's record and its values do not come together; "
                      "train again with another --out")
    return state


def _check_alike(stored: dict[str, Tensor], trained: dict[str, nn.Parameter], number: int) -> None:
    """The same names, shapes and dtypes as what trains."""
    if _kinds(stored) != _kinds(trained):
        odd = sorted(stored.keys() ^ trained.keys())[:5]
        raise Corrupt(f"checkpoint {number} holds other tensors than this run trains "
                      f"({', '.join(odd) or 'their shapes or dtypes differ'}); train again with another --out")


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in tensors.items()}


def _check_moments(stored: dict[str, Tensor], trained: dict[str, nn.Parameter], number: int) -> None:
    """Every moment is of a tensor that trains, shaped like it, and tensors that have any have the same ones."""
    each: dict[str, set[str]] = {}
    for key, value in stored.items():
        moment, _, name = key.partition("/")
        if moment not in MOMENTS or name not in trained or not _fits(moment, value, trained[name]):
            raise Corrupt(f"checkpoint {number}: {key} {list(value.shape)} is no moment of what this run trains; "
                          "train again with another --out")
        each.setdefault(name, set()).add(moment)
    if len(set(map(frozenset, each.values()))) > 1:
        raise Corrupt(f"checkpoint {number}: some moments are missing; train again with another --out")


def _fits(moment: str, value: Tensor, parameter: nn.Parameter) -> bool:
    if moment == "step":
        return value.shape == () and value.is_floating_point()
    return (value.shape, value.dtype) == (parameter.shape, parameter.dtype)


def _moments(stored: dict[str, Tensor], name: str, parameter: nn.Parameter, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """The optimizer's state of one parameter, empty where it never had a gradient; torch keeps a fused step's count beside the moments."""
    there = [moment for moment in MOMENTS if f"{moment}/{name}" in stored]
    count = parameter.device if settings.get("fused") else torch.device("cpu")
    return {moment: stored[f"{moment}/{name}"].to(count if moment == "step" else parameter.device) for moment in there}


__all__ = ["Best", "State", "Tally", "restore", "snapshot", "values"]
