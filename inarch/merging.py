"""merge and unmerge: fold every active adapter into the frozen weights, and put the kept originals back bit for bit.

Row convention, ``y = h M^T + m`` with M ``[out, in]``; all arithmetic in fp32 (fp64 for fp64), cast once:
    Pre      h = u A + b,  A = I + down up      readers   M' = M A^T = M + (M up^T) down^T       m' = m + M b
    Post     y' = y A + b                       writers   M' = A^T M = M + up^T (down^T M)       m' = A^T m + b
    Parallel y' = y + x down up + b             itself    M' = M + (down up)^T                   m' = m + b
    Scale    y' = y * g + b                     writers   M' = diag(g) M                         m' = g * m + b
A writer of Scale may be a norm, whose M is a vector, or a convolution, whose M has more axes behind the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from inarch.adapter import Fold, Parallel, Post, Pre, Scale
from inarch.anatomy import tensor_at
from inarch.container import MERGED, Container, container_of
from inarch.errors import CannotFold
from inarch.joint import Joint
from inarch.ports import Site, Weight
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


@torch.no_grad()
def planned(model: nn.Module, container: Container) -> Plan:
    """What folding all active adapters would write; ``CannotFold`` with the reason where that is not exact."""
    plan = Plan(model)
    for joint in container.joints.values():
        for each in _folds(joint):
            plan.add(joint.site, each)
    plan.refuse_broken()
    return plan


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
        now = _tensor(model, path)
        if now is None or now.dtype != value.dtype or not torch.equal(now.to(value.device), value):
            raise CannotFold(f"{path} is not what merge wrote (trained, cast or loaded since); the original is kept, nothing was changed")
    for path, original in state.originals.items():
        _tensor(model, path).data.copy_(original)  # type: ignore[union-attr]
    for path in state.created:
        owner, leaf = _owner(model, path)
        owner._parameters[leaf] = None
    del model.__dict__[MERGED]
    model.add_module("inarch", state.container)
    join_again(model, state.container)


def _folds(joint: Joint) -> list[Fold]:
    links = joint.active()
    where = f"{joint.site.block} ({joint.site.span.name})"
    if links and joint.site.span.carries:
        raise CannotFold(f"{where}: the adapted residual stream is also the block's skip connection, which no weight can absorb; "
                         "use placement='normed'")
    for link in links:
        if link.adapter.stochastic and link.adapter.training:
            raise CannotFold(f"{where}: {type(link.adapter).__name__} draws dropout in training mode; call model.eval() first")
    folds = [link.adapter.affine(link.index, link.scion.fresh(link.key)) for link in links]
    if any(isinstance(f, Post | Scale) for f in folds) and len(folds) > 1:
        raise CannotFold(f"{where}: {len(folds)} active adapters, one of which edits the output of the others; merge one at a time")
    return folds


@dataclass(frozen=True)
class Change:
    """``M'[rows] = M[rows] + up down`` and ``m'[rows] = m[rows] + shift``: up ``[out, r]``, down ``[r, in]``, shift ``[out]`` or None.

    ``up`` None: of full rank, ``down [out, ...]`` itself is added.
    """

    weight: Weight
    rows: slice
    up: Tensor | None
    down: Tensor
    shift: Tensor | None


class Plan:
    """New values of tensors by path, in the wide dtype, and what changes them; nothing is written before all folds are in."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.values: dict[str, Tensor] = {}
        self.kinds: dict[str, dict[tuple[int, int] | None, str]] = {}
        self.changes: dict[str, list[Change]] = {}

    def add(self, site: Site, fold: Fold) -> None:
        weights = site.span.writers if isinstance(fold, Post | Scale) else site.span.readers
        if isinstance(fold, Parallel) and site.span.linear is None:
            raise CannotFold(f"{site.block} ({site.span.name}): a parallel update folds only onto a single projection")
        if not weights:
            raise CannotFold(f"{site.block} ({site.span.name}): no weight reads or writes this span, so nothing can absorb the adapter")
        for weight in weights:
            self._refuse_mixed(inside(site.block, weight.path), weight.part, site, fold)
            self._weight(site.block, weight, fold)

    def refuse_broken(self) -> None:
        """A weight that would hold NaN or inf, as it is stored, is not written: the adapter is broken, and the base must not become so."""
        if broken := [path for path, value in self.values.items() if not torch.isfinite(value.to(_width(self.model, path))).all()]:
            raise CannotFold(f"the adapter would make {len(broken)} weights not finite, the first {broken[0]}; nothing was changed: "
                             "load an adapter that is whole, or the model in a wider type")

    def _refuse_mixed(self, path: str, part: tuple[int, int] | None, site: Site, fold: Fold) -> None:
        """Updates that read one another's result (an edited input, then a parallel update of it) have a cross term: no sum."""
        kind = "parallel" if isinstance(fold, Parallel) else f"{type(fold).__name__} on {site.span.name}"
        for other, met in self.kinds.setdefault(path, {}).items():
            if met != kind and (part == other or None in (part, other)):
                raise CannotFold(f"{path}: active adapters meet here in different ways ({met}; {kind}); merge one at a time")
        self.kinds[path][part] = kind

    def _weight(self, block: str, weight: Weight, fold: Fold) -> None:
        path = inside(block, weight.path)
        original: Tensor = _tensor(self.model, path)  # type: ignore[assignment]
        wide = torch.float64 if original.dtype == torch.float64 else torch.float32
        before = original.to(wide)
        rows = _rows(before, weight)
        if original.dim() != 2 and not isinstance(fold, Scale):
            raise CannotFold(f"{path} is no matrix: it can be rescaled, channel by channel, and take up no other change")
        up, down, shift = _factors(before[rows], self._old_bias(block, weight, rows, wide), fold)
        self.values.setdefault(path, before.clone())[rows] += down if up is None else up @ down
        self.changes.setdefault(path, []).append(Change(weight, rows, up, down, shift))
        if shift is not None:
            self._bias(block, weight, rows, shift, before.shape[0])

    def _old_bias(self, block: str, weight: Weight, rows: slice, wide: torch.dtype) -> Tensor | None:
        tensors = [_tensor(self.model, inside(block, path)) for path in weight.biases]
        return None if None in tensors else torch.cat([t.to(wide) for t in tensors])[rows]  # type: ignore[union-attr]

    def _bias(self, block: str, weight: Weight, rows: slice, shift: Tensor, size: int) -> None:
        """Add the shift to the bias, however many tensors it is kept in; create one where the weight has none and needs one."""
        paths = [inside(block, path) for path in weight.biases]
        present = [_tensor(self.model, path) for path in paths]
        if present[0] is None and weight.cancels:
            return
        if present[0] is None and (len(paths) > 1 or "bias" not in _owner(self.model, paths[0])[0]._parameters):
            raise CannotFold(f"{paths[0]} is absent and cannot be created, so the adapter's bias has no place; use bias=False")
        whole = shift.new_zeros(size)
        whole[rows] = shift
        pieces = whole.split([size if t is None else t.shape[0] for t in present])
        for path, tensor, piece in zip(paths, present, pieces, strict=True):
            old = torch.zeros_like(piece) if tensor is None else tensor.to(piece.dtype)
            self.values[path] = self.values.get(path, old) + piece


def inside(block: str, path: str) -> str:
    """A path of the model from one of its block; the block may be the model itself."""
    return f"{block}.{path}" if block else path


def _rows(matrix: Tensor, weight: Weight) -> slice:
    if weight.part is None:
        return slice(None)
    k, n = weight.part
    size = matrix.shape[0] // n
    return slice(k * size, (k + 1) * size)


def _factors(matrix: Tensor, bias: Tensor | None, fold: Fold) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """The two factors of what is added to the matrix (see ``Change``), and what is added to the bias (None: nothing)."""
    shift = None if fold.shift is None else fold.shift.to(matrix.dtype)
    if isinstance(fold, Scale):
        more = fold.gain.to(matrix.dtype) - 1
        return None, matrix * more.view(-1, *[1] * (matrix.dim() - 1)), fold.shift.to(matrix.dtype) + (0 if bias is None else bias * more)
    down, up = fold.down.to(matrix.dtype), fold.up.to(matrix.dtype)
    if isinstance(fold, Pre):
        return matrix @ up.mT, down.mT, None if shift is None else matrix @ shift
    if isinstance(fold, Parallel):
        return up.mT, down.mT, shift
    through = None if bias is None else up.mT @ (down.mT @ bias)
    both = shift if through is None else through if shift is None else through + shift
    return up.mT, down.mT @ matrix, both


def _write(model: nn.Module, state: Merged, path: str, value: Tensor) -> None:
    owner, leaf = _owner(model, path)
    tensor = _tensor(model, path)
    if tensor is None:
        owner._parameters[leaf] = nn.Parameter(value.to(_width(model, path)), requires_grad=False)
        state.created.append(path)
    else:
        state.originals[path] = tensor.detach().clone()
        tensor.data.copy_(value)
    state.folded[path] = _tensor(model, path).detach().clone()  # type: ignore[union-attr]


def _width(model: nn.Module, path: str) -> torch.dtype:
    """Of the tensor at ``path``; of the weight beside it where merging creates the tensor."""
    tensor = _tensor(model, path)
    return _owner(model, path)[0]._parameters["weight"].dtype if tensor is None else tensor.dtype  # type: ignore[union-attr]


def _tensor(model: nn.Module, path: str) -> Tensor | None:
    return tensor_at(model, path)  # type: ignore[return-value]


def _owner(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    parent, _, leaf = path.rpartition(".")
    return model.get_submodule(parent), leaf

