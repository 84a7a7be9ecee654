"""Which of PEFT's kinds a backbone can take, found by trying each; and which of a kind's fields makes it larger, found likewise.

    tried on      the backbone's shapes; the matrices of its first layer hold noise, so that what an init or a layer computes is seen
    taken         the layers are made, what leaves them is finite, and every trained number gets a gradient
A kind that its defaults keep out (a block of 256 on a width of 192) is tried with one whole number halved until it fits.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from inarch import backbones, roles
from inarch.errors import CannotGraft, ConfigError
from inarch.peft.fields import numbers_of
from inarch.peft.guests import Guest, kinds, named, one_line, refuse_whole
from inarch.peft.hosted import Hosted
from inarch.peft.planted import Held, held_by, wrap
from inarch.planting import seeded

TOY = 256  # width on which sizes are told apart: every default block, vector and rank of PEFT divides it or fits


@dataclass(frozen=True)
class Offer:
    """``method``: as it can be placed, "" where ``reason`` says why it cannot; ``fields``: what had to leave its default for that."""

    name: str
    reason: str = ""
    fields: dict[str, int] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    numbers: int = 0  # trained without the head
    size: str = ""

    @property
    def method(self) -> Guest:
        return named(self.name.partition(":")[2]).parse(dict(self.fields))  # type: ignore[return-value]


def offered(backbone: str | nn.Module) -> list[Offer]:
    """Every kind of PEFT's registry, in its order: how it can be placed on a backbone, an address or a model that stays as it is, or why
    it cannot.
    """
    if isinstance(backbone, str):
        backbone = backbones.load(backbone, device="meta", pretrained=False).model
    shape = copy.deepcopy(backbone).to("meta")
    return [_offer(named(kind.value), shape) for kind in kinds()]


def _offer(kind: type[Guest], shape: nn.Module) -> Offer:
    reason = ""
    for method in _candidates(kind):
        try:
            _try(method, shape)
            return Offer(kind.__name__, "", _changed(method), method.chosen, _numbers(method, shape), kind.size)
        except ConfigError as problem:
            reason = reason or str(problem).removeprefix(f"{kind.__name__}: ")
    return Offer(kind.__name__, reason)


def _candidates(kind: type[Guest]) -> Iterator[Guest]:
    """The defaults; then one whole number after the other, halved and halved again."""
    usual: Any = kind()
    yield usual
    for name in numbers_of(list(dataclasses.fields(kind))):
        value = getattr(usual, name) // 2
        while value >= 8:
            yield dataclasses.replace(usual, **{name: value})
            value //= 2


def _changed(method: Guest) -> dict[str, int]:
    return {f.name: getattr(method, f.name) for f in dataclasses.fields(method) if getattr(method, f.name) != f.default}


def _try(method: Guest, shape: nn.Module) -> None:
    """Raises ``ConfigError`` where the first layer cannot take the method."""
    model, first = copy.deepcopy(shape), dataclasses.replace(method, layers=0)
    for path in first.places(model):
        module = model.get_submodule(path).to_empty(device="cpu")
        with seeded(0):
            for parameter in module.parameters():
                nn.init.normal_(parameter, std=0.02)
    Hosted(first).plant(model, (), seed=0)
    _refuse_dead(held_by(model), type(method).__name__)


def _refuse_dead(held: Held, name: str) -> None:
    """Every layer is called once by itself: finite numbers leave it, and every trained one has a part in them."""
    own = held.own()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            total = torch.stack([_answer(layer) for layer in held.layers()]).sum()
    except Exception as problem:  # whatever a layer of PEFT raises
        raise CannotGraft(f"{name}: its layers cannot be called here: {one_line(problem)}") from None
    if not torch.isfinite(total):
        raise CannotGraft(f"{name}: what leaves its layers is not finite")
    gradients = torch.autograd.grad(total, own, allow_unused=True)
    dead = sum(gradient is None for gradient in gradients)
    if dead:
        raise CannotGraft(f"{name}: {dead} of its {len(own)} trained tensors have no part in what leaves its layers")


def _answer(layer: Any) -> Tensor:
    """Some number that depends on everything that leaves the layer."""
    with seeded(0):
        y: Tensor = layer(torch.randn(2, 3, layer.get_base_layer().weight.shape[-1]))
    return (y * torch.linspace(0.5, 1.5, y.numel()).view(y.shape)).sum()


def _numbers(method: Guest, shape: nn.Module) -> int:
    model, ours = copy.deepcopy(shape), Hosted(method)
    ours.plant(model, ("head",) if roles.head_paths(model) else (), seed=0)
    return ours.count(model).without_head


@cache
def size_of(kind: type[Guest]) -> str:
    """The first whole number of a kind's fields whose half trains fewer numbers and whose double trains more; "" where there is none."""
    try:
        usual: Any = kind()
        refuse_whole(usual)
        for name in numbers_of(list(dataclasses.fields(kind))):
            here = getattr(usual, name)
            counts = [_toy_numbers(dataclasses.replace(usual, **{name: value})) for value in _around(here)]
            if counts[0] < counts[1] < counts[2]:
                return name
    except ConfigError:  # the kind has no place in layers, or needs what only a user can give
        pass
    return ""


def _around(value: int) -> tuple[int, int, int]:
    return (value // 2, value, 2 * value) if value > 1 else (1, 2, 4)


def _toy_numbers(method: Guest) -> int:
    """Trained on two square matrices; -1 where this size has no place there."""
    toy = nn.Sequential(nn.Linear(TOY, TOY), nn.Linear(TOY, TOY))
    try:
        with seeded(0):
            wrapper, _ = wrap(toy, method.configured({"target_modules": ["0", "1"]}), type(method).__name__)
    except ConfigError:
        return -1
    return sum(p.numel() for p in wrapper.parameters() if p.requires_grad)


__all__ = ["Offer", "offered", "size_of"]
