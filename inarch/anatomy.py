"""Find the blocks of a model that a row knows, and the sites and widths they offer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from inarch.errors import CannotGraft
from inarch.ports import Port, Site, Span, Weight
from inarch.rows import ROWS, Row

_BY_BLOCK: dict[str, list[Row]] = {}
KINDS = {"encoders": False, "decoders": True}  # first word of a span's name that chooses blocks: "decoders.cross.v"


def learn(row: Row) -> None:
    """Know one family more, in this process: a backbone of one's own needs its row and nothing else."""
    _BY_BLOCK.setdefault(row.block, []).append(row)


for _row in ROWS:
    learn(_row)


@dataclass(frozen=True)
class Block:
    """One block found in a model: its row, path, tower, 0-based index in the tower, and the path of the tower's root."""

    row: Row
    path: str
    module: nn.Module
    tower: str
    layer: int
    root: str


def blocks(model: nn.Module) -> list[Block]:
    """Every known block of ``model`` in order; raises ``CannotGraft`` when there is none."""
    found: list[Block] = []
    counts: dict[str, int] = {}
    for path, module in model.named_modules():
        row = None if path.startswith("inarch.") else row_of(module)
        if row is None:
            continue
        tower, root = _tower(row, path)
        found.append(Block(row, path, module, tower, counts.get(tower, 0), root))
        counts[tower] = counts.get(tower, 0) + 1
    if not found:
        known = ", ".join(row.family for row in ROWS)
        raise CannotGraft(f"no anatomy for {type(model).__name__}; known: {known}; add a row to inarch/rows.py")
    return found


def row_of(module: nn.Module) -> Row | None:
    """The row that a module is a block of, if any."""
    rows = _BY_BLOCK.get(f"{type(module).__module__}.{type(module).__qualname__}", [])
    return next((row for row in rows if not row.has or _submodule(module, row.has) is not None), None)


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    for name in path.split("."):
        module = module._modules.get(name)  # type: ignore[assignment]
        if module is None:
            return None
    return module


def _tower(row: Row, path: str) -> tuple[str, str]:
    parts = path.split(".")
    for component, tower in row.towers.items():
        if component in parts:
            return tower, ".".join(parts[: parts.index(component) + 1])
    return row.tower, ""


def span(block: Block, name: str) -> Span:
    """The span called ``name`` of a block with the weights that this block really has; a matrix name gives its linear span."""
    for candidate in block.row.spans:
        if candidate.name == name and candidate.tower in ("", block.tower):
            return _present(block, candidate)
    if name in block.row.matrices:
        return _linear(block, name)
    reason = block.row.other_names.get(name, f"known: {', '.join(names(block.row))}")
    raise CannotGraft(f"{block.row.family} has no span {name!r}; {reason}")


def names(row: Row) -> list[str]:
    """Names of all spans and matrices of a family."""
    return [s.name for s in row.spans] + list(row.matrices)


def _linear(block: Block, name: str) -> Span:
    options = block.row.matrices[name]
    weight = next((w for w in options if _has(block.module, w.path)), None)
    if weight is None:
        tried = " or ".join(w.path for w in options)
        raise CannotGraft(f"{block.row.family}: {block.path} has no {tried}, so {name!r} cannot be adapted on this model")
    if not weight.called:
        raise CannotGraft(f"{block.row.family}: {block.path}.{weight.module} is never called as a module, its weight is read "
                          f"directly, so {name!r} has no port; adapt the span 'attn' or the matrices 'fc1', 'fc2' instead")
    return Span(name, Port(weight.module, "in"), Port(weight.module, "out"), (weight,), (weight,), residual=None)


def _present(block: Block, found: Span) -> Span:
    """Leave out readers that this variant of the block lacks (fused against separate q/k/v, gated MLPs)."""
    readers = tuple(w for w in found.readers if _has(block.module, w.path))
    readers = tuple(w if _has(block.module, *w.biases) else Weight(w.path, (), w.part, w.cancels, w.called) for w in readers)
    writers = tuple(w for w in found.writers if _has(block.module, w.path))
    if (found.readers and not readers) or (found.writers and not writers):
        raise CannotGraft(f"{block.row.family}: {block.path} has none of the weights known to read and write {found.name!r}; "
                          "name them in its row in inarch/rows.py")
    return replace(found, readers=readers, writers=writers)


def _has(module: nn.Module, *paths: str) -> bool:
    return all(tensor_at(module, path) is not None for path in paths)


def tensor_at(module: nn.Module, path: str) -> Tensor | None:
    """The tensor at a dotted path, or None where any step of it is absent or None."""
    *parents, leaf = path.split(".")
    for name in parents:
        child = module._modules.get(name)
        if child is None:
            return None
        module = child
    return module._parameters.get(leaf, module._buffers.get(leaf))


def sites(model: nn.Module, wanted: tuple[str, ...], towers: tuple[str, ...] | None = None) -> Iterator[Site]:
    """Every site of the wanted spans, span by span, in order of depth.

    A tower that is named brings the places that feed it. A name may begin with ``encoders.`` or ``decoders.``: only such blocks then,
    and none where the model has none. A span that one family of the model offers need not be offered by the others (only a decoder
    has ``cross``).
    """
    found = blocks(model)
    known = sorted({block.tower for block in found if not block.row.feeds})
    for tower in towers or ():
        if tower not in {block.tower for block in found}:
            raise CannotGraft(f"{type(model).__name__} has no tower {tower!r}; known: {', '.join(known)}")
    for name in wanted:
        kind, span_name = _kind(name)
        asked = [b for b in found if (towers is None or {b.tower, b.row.feeds} & {*towers}) and kind in (None, b.row.decodes)]
        offering = [b for b in asked if _offers(b, span_name)]
        for block in offering or sorted(asked, key=lambda b: not b.row.matrices)[:1]:  # where nobody offers it, the first says so
            here = span(block, span_name)
            yield Site(here, block.tower, block.layer, block.path, *widths(block, here), block.row.decodes)


def _offers(block: Block, name: str) -> bool:
    """Whether the family has such a place in this tower."""
    return name in block.row.matrices or any(s.name == name and s.tower in ("", block.tower) for s in block.row.spans)


def published(model: nn.Module, method: str) -> dict[str, Any]:
    """The settings under which a method's paper ran on this family, as far as the rows of the model's blocks state them."""
    found: dict[str, Any] = {}
    for row in {block.row.family: block.row for block in blocks(model)}.values():
        found |= row.published.get(method, {})
    return found


def _kind(name: str) -> tuple[bool | None, str]:
    word, _, rest = name.partition(".")
    return (KINDS[word], rest) if word in KINDS else (None, name)


def widths(block: Block, here: Span) -> tuple[int, int]:
    """Width of what enters a span and of what leaves it."""
    if not here.readers and here.writers:
        width = _shape(block, here.writers[0].path)[0]
        return width, width
    if not here.readers:
        width = _shape(block, here.width or (f"{here.norm}.weight" if here.norm else "weight"))[-1]
        return width, width
    writer = here.writers[0] if here.writers else here.readers[0]
    rows = _shape(block, writer.path)[0]
    return _shape(block, here.readers[0].path)[1], rows // writer.part[1] if writer.part else rows


def _shape(block: Block, path: str) -> tuple[int, ...]:
    """Of a weight; a linear's is what the linear says, since a quantised one may be packed in another shape."""
    found = _matrix(block, path)
    owner = block.module.get_submodule(path.rpartition(".")[0])
    return (owner.out_features, owner.in_features) if isinstance(owner, nn.Linear) else tuple(found.shape)


def _matrix(block: Block, path: str) -> Tensor:
    found = tensor_at(block.module, path)
    if found is None:
        raise CannotGraft(f"{block.row.family}: {block.path} has no {path}; mend its row in inarch/rows.py")
    return found
