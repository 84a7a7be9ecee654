"""A linear graft as the low-rank factors that PEFT adds to a linear layer, and the modules that are kept whole.

    y = x M^T + m + (x A^T) B^T + b      A [r, in]   B [out, r]   b [out], per adapted matrix M [out, in]
    Pre      A = down^T           B = M up^T      b = M shift             on every reader of the span
    Post     A = down^T M         B = up^T        b = up^T down^T m + shift    on every writer
    Parallel A = down^T           B = up^T        b = shift
What meets on one matrix is put side by side: the ranks add up. Parts of a fused matrix have rows of zeros in B elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inarch.anatomy import tensor_at
from inarch.container import Container
from inarch.errors import CannotFold
from inarch.fold_plan import Change, planned

INSTEAD = "export the whole model instead: --to native"


@dataclass(frozen=True)
class LowRank:
    """``down`` A ``[r, in]``, ``up`` B ``[out, r]``, ``shift`` b ``[out]`` or None."""

    down: Tensor
    up: Tensor
    shift: Tensor | None

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def shifted(self, by: Tensor) -> LowRank:
        """The same with ``by`` added to the shift."""
        return LowRank(self.down, self.up, by if self.shift is None else self.shift + by)


@dataclass(frozen=True)
class Linear:
    """The whole graft: factors by the path of a linear layer, and the tensors of modules that are kept whole, by path."""

    factors: dict[str, LowRank]
    whole: dict[str, dict[str, Tensor]]

    @property
    def shifts(self) -> bool:
        return any(factor.shift is not None for factor in self.factors.values())


@torch.no_grad()
def linear_of(model: nn.Module, container: Container) -> Linear:
    """The active adapters of ``model``; ``CannotFold`` names what is not linear, or sits where PEFT cannot reach."""
    changes = planned(model, container).changes
    factors = {_layer(model, path, parts): _joined(model, path, parts) for path, parts in changes.items()}
    if not factors:
        raise CannotFold(f"this run adapts no linear layer, so there is nothing for a LoRA folder; {INSTEAD}")
    trained = [name for scion in container.active().values() for name in scion.thawed]
    if any(scion.brought_head for scion in container.active().values()):
        raise CannotFold(f"the adapter brings a head of its own, which the backbone has no place for; {INSTEAD}")
    whole: set[str] = set()
    for name in trained:
        owner, _, leaf = name.rpartition(".")
        if owner in factors and leaf == "bias":
            moved = tensor_at(model, name).float() - container.pristine[name].float()  # type: ignore[union-attr]
            factors[owner] = factors[owner].shifted(moved)
        else:
            whole.add(_keepable(owner, name, factors))
    return Linear(factors, {path: _state(model, path) for path in _as_peft_finds(model, whole, factors)})


def _layer(model: nn.Module, path: str, parts: list[Change]) -> str:
    owner, _, leaf = path.rpartition(".")
    if leaf != "weight" or not isinstance(model.get_submodule(owner), nn.Linear) or not all(part.weight.called for part in parts):
        raise CannotFold(f"{path}: its block reads this weight directly and calls no Linear layer that PEFT could wrap; {INSTEAD}")
    return owner


def _joined(model: nn.Module, path: str, parts: list[Change]) -> LowRank:
    size = tensor_at(model, path).shape[0]  # type: ignore[union-attr]
    up, shift = [], None
    for part in parts:
        if part.up is None:
            raise CannotFold(f"{path} is rescaled row by row, a change of full rank and no LoRA; {INSTEAD}")
        padded = part.up.new_zeros(size, part.up.shape[1])
        padded[part.rows] = part.up
        up.append(padded)
        if part.shift is not None:
            shift = part.up.new_zeros(size) if shift is None else shift
            shift[part.rows] += part.shift
    return LowRank(torch.cat([part.down for part in parts]), torch.cat(up, dim=1), shift)


def _keepable(owner: str, name: str, factors: dict[str, LowRank]) -> str:
    if any(path == owner or path.startswith(owner + ".") or not owner for path in factors):
        raise CannotFold(f"{name} is trained, and PEFT can only keep its whole module {owner or 'the model itself'!r}, which holds adapted "
                         f"layers; {INSTEAD}")
    return owner


def _as_peft_finds(model: nn.Module, whole: set[str], factors: dict[str, LowRank]) -> list[str]:
    """The modules to keep and those that PEFT takes for them: it looks at how a path ends. Those have their own values: exact too."""
    found = [path for path, _ in model.named_modules() if path and path.endswith(tuple(whole)) and not path.startswith("inarch.")]
    kept = [path for path in found if not any(path.startswith(other + ".") for other in found)] if whole else []
    for path in kept:
        _keepable(path, path, factors)
    return kept


def _state(model: nn.Module, path: str) -> dict[str, Tensor]:
    return {name: tensor.detach().float().cpu().clone() for name, tensor in model.get_submodule(path).state_dict().items()}
