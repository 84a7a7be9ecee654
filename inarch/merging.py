"""merge and unmerge: fold every active adapter into the frozen weights, and put the kept originals back bit for bit.

What is written is worked out in ``inarch/fold_plan.py``, with the formulas; nothing is written before all of it is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from inarch.anatomy import tensor_at
from inarch.container import MERGED, Container, container_of
from inarch.errors import CannotFold
from inarch.fold_plan import owner_of, planned, stored_type
from inarch.wiring import detach, join_again


@dataclass
class Merged:
    """What unmerge needs: the container that was taken off, the original tensors, the biases that merging created."""

    container: Container
    originals: dict[str, Tensor] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    folded: dict[str, Tensor] = field(default_factory=dict)


def merge(model: nn.Module) -> nn.Module:
    """Fold all active adapters into the weights; afterwards ``model`` is a plain model of its own class, no hook, no extra op.

    Thawed parameters and heads keep their trained values. All folds are collected first: ``CannotFold`` (a non-linear adapter,
    an adapted skip connection, training mode with dropout) leaves the model untouched. Inactive adapters wait for ``unmerge``.
    """
    if MERGED in model.__dict__:
        raise CannotFold(f"this {type(model).__name__} is already merged; call inarch.unmerge(model) to take it back")
    container = container_of(model)
    fold(model, container)
    del model._modules["inarch"]  # outside the module tree: the state dict is the base's own
    return model


def fold(model: nn.Module, container: Container) -> None:
    """Write all active adapters into the weights, take the hooks off, and keep on the model what ``unfold`` needs."""
    state = Merged(container)
    plan = planned(model, container)
    for path, value in plan.values.items():
        _write(model, state, path, value)
    detach(container)
    object.__setattr__(model, MERGED, state)


def unmerge(model: nn.Module) -> nn.Module:
    """Undo ``merge`` bit for bit: put the kept originals back, remove created biases, graft the adapters on again.

    Raises ``CannotFold`` when a folded weight has been changed or cast since: nothing is overwritten then.
    """
    if MERGED not in model.__dict__:
        raise CannotFold(f"this {type(model).__name__} is not merged")
    unfold(model)
    return model


def unfold(model: nn.Module) -> None:
    """Undo ``fold``: the kept originals in their places, the container and its hooks on the model."""
    state: Merged = model.__dict__[MERGED]
    for path, value in state.folded.items():
        now = tensor_at(model, path)
        if now is None or now.dtype != value.dtype or not torch.equal(now.to(value.device), value):
            raise CannotFold(f"{path} is not what merge wrote (trained, cast or loaded since); the original is kept, nothing was changed")
    for path, original in state.originals.items():
        tensor_at(model, path).data.copy_(original)  # type: ignore[union-attr]
    for path in state.created:
        owner, leaf = owner_of(model, path)
        owner._parameters[leaf] = None
    del model.__dict__[MERGED]
    model.add_module("inarch", state.container)
    join_again(model, state.container)


def _write(model: nn.Module, state: Merged, path: str, value: Tensor) -> None:
    owner, leaf = owner_of(model, path)
    tensor = tensor_at(model, path)
    if tensor is None:
        owner._parameters[leaf] = nn.Parameter(value.to(stored_type(model, path)), requires_grad=False)
        state.created.append(path)
    else:
        state.originals[path] = tensor.detach().clone()
        tensor.data.copy_(value)
    state.folded[path] = tensor_at(model, path).detach().clone()  # type: ignore[union-attr]
