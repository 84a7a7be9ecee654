"""What folding would write, worked out before anything is written: every active adapter's change to the weights around it.

Row convention, ``y = h M^T + m`` with M ``[out, in]``; all arithmetic in fp32 (fp64 for fp64), cast once:
    Pre      h = u A + b,  A = I + down up      readers   M' = M A^T = M + (M up^T) down^T       m' = m + M b
    Post     y' = y A + b                       writers   M' = A^T M = M + up^T (down^T M)       m' = A^T m + b
    Parallel y' = y + x down up + b             itself    M' = M + (down up)^T                   m' = m + b
    Scale    y' = y * g + b                     writers   M' = diag(g) M                         m' = g * m + b
A writer of Scale may be a norm, whose M is a vector, or a convolution, whose M has more axes behind the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inarch.adapter import Fold, Parallel, Post, Pre, Scale
from inarch.anatomy import tensor_at
from inarch.container import Container
from inarch.errors import CannotFold
from inarch.joint import Joint
from inarch.packed import packed
from inarch.ports import Site, Weight


@torch.no_grad()
def planned(model: nn.Module, container: Container) -> Plan:
    """What folding all active adapters would write; ``CannotFold`` with the reason where that is not exact."""
    for scion in container.active().values():
        scion.refuse_foreign(CannotFold)
    plan = Plan(model)
    for joint in container.joints.values():
        for each in _folds(joint):
            plan.add(joint.site, each)
    plan.refuse_broken()
    return plan


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
        if broken := [path for path, value in self.values.items() if not torch.isfinite(value.to(stored_type(self.model, path))).all()]:
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
        original: Tensor = tensor_at(self.model, path)  # type: ignore[assignment]
        if kind := packed(original):
            raise CannotFold(f"{path} is quantised ({kind}), and a sum with it could not be stored exactly; keep the graft, or make the "
                             "base plain first (transformers: model.dequantize()) and load the adapter there with allow_base_mismatch=True")
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
        tensors = [tensor_at(self.model, inside(block, path)) for path in weight.biases]
        return None if None in tensors else torch.cat([t.to(wide) for t in tensors])[rows]  # type: ignore[union-attr]

    def _bias(self, block: str, weight: Weight, rows: slice, shift: Tensor, size: int) -> None:
        """Add the shift to the bias, however many tensors it is kept in; create one where the weight has none and needs one."""
        paths = [inside(block, path) for path in weight.biases]
        present = [tensor_at(self.model, path) for path in paths]
        if present[0] is None and weight.cancels:
            return
        if present[0] is None and (len(paths) > 1 or "bias" not in owner_of(self.model, paths[0])[0]._parameters):
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


def stored_type(model: nn.Module, path: str) -> torch.dtype:
    """Of the tensor at ``path``; of the weight beside it where merging creates the tensor."""
    tensor = tensor_at(model, path)
    return owner_of(model, path)[0]._parameters["weight"].dtype if tensor is None else tensor.dtype  # type: ignore[union-attr]


def owner_of(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    parent, _, leaf = path.rpartition(".")
    return model.get_submodule(parent), leaf
