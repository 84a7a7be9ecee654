"""What lies below the first adapted block of a tower is frozen: computed once for an input, kept, and handed on from then on.

    block 0 .. first - 1   frozen, so x = what block first - 1 leaves never changes        block first ..   as ever, gradients and all
    out, kept = prefix.record(lambda: model.images(pixels))               kept = x, without a graph
    with prefix.play(kept[rows]): model.images(pixels[rows])              blocks below ``first`` are not computed
Exact: the same tensor enters the same block. Inside ``play`` what stands before the blocks still runs: its input gives the batch
size and the masks, its values no longer matter. A block that is computed again in backward has the kept tensor for its input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor, nn

from inarch import anatomy, roles
from inarch.anatomy import Block
from inarch.container import Container
from inarch.errors import CannotGraft, ConfigError

T = TypeVar("T")


@dataclass(eq=False)
class _Keep:
    """Forward hook: notes what a block leaves; a block that leaves more than its stream is refused, the ones above may read the rest."""

    seen: list[Tensor] = field(default_factory=list)
    rest: tuple | None = None  # of a block that leaves a tuple: what stands behind its stream

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> None:
        stream, *rest = output if isinstance(output, tuple) else (output,)
        if not isinstance(stream, Tensor) or any(other is not None for other in rest):
            raise ConfigError(f"prefix: {type(module).__name__} leaves a {type(output).__name__} with more than its stream, which the "
                              "blocks above it may read; nothing can be kept in this family")
        self.seen.append(stream)
        self.rest = tuple(rest) if isinstance(output, tuple) else None


@dataclass(eq=False)
class _HandOn:
    """In the place of a block's forward: its stream, or what was kept of it."""

    rest: tuple | None
    kept: Tensor | None = None
    calls: int = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        x = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        if self.kept is not None and len(x) != len(self.kept):
            raise ConfigError(f"prefix: {len(self.kept)} examples were kept and {len(x)} come in; pick their rows, kept[rows]")
        stream = x if self.kept is None else self.kept
        return stream if self.rest is None else (stream, *self.rest)


class Prefix:
    """The frozen lower part of ``tower`` under the adapters that are active now; make another one after a graft or a switch.

    ``first``: index of the first adapted block. 0: nothing can be kept, the first block is adapted or something before it.
    None: no block is, the whole tower is frozen. Thawed parameters of the base count as adapted; one that lies in no block, no
    head and no other tower may stand before the first block, so nothing is kept then.
    """

    def __init__(self, model: nn.Module, tower: str) -> None:
        every = anatomy.blocks(model)
        self.tower, self.blocks = tower, [block for block in every if block.tower == tower and block.row.matrices]
        if not self.blocks:
            known = ", ".join(dict.fromkeys(block.tower for block in every if block.row.matrices))
            raise CannotGraft(f"{type(model).__name__} has no tower of blocks {tower!r}; known: {known}")
        adapted = _adapted(model, every, self.blocks)
        self.first: int | None = min(adapted) if adapted else None
        self.rests: list[tuple | None] = []  # of every block below, once it has been seen

    @property
    def keeps(self) -> bool:
        """Is there anything to keep?"""
        return self.first != 0

    @property
    def below(self) -> list[nn.Module]:
        """Blocks that are not computed again."""
        return [block.module for block in self.blocks[: self.first]]

    def record(self, run: Callable[[], T]) -> tuple[T, Tensor]:
        """``run`` calls the tower once; returns what it returns, and what entered block ``first``."""
        self._refuse_nothing()
        if any(block.training for block in self.below):
            raise ConfigError(f"prefix: the {self.tower} tower is in training mode, where frozen blocks may still drop what passes; "
                              "put the base into evaluation mode first")
        keeps = [_Keep() for _ in self.below]
        with ExitStack() as stack:
            for block, keep in zip(self.below, keeps, strict=True):
                stack.callback(block.register_forward_hook(keep).remove)
            out = run()
        kept = self._single(keeps[-1].seen)
        self.rests = [keep.rest for keep in keeps]
        return out, kept

    def _single(self, seen: list[Tensor]) -> Tensor:
        if len(seen) != 1:
            raise ConfigError(f"prefix: the {self.tower} tower was called {len(seen)} times; record one call of it")
        if seen[0].requires_grad:
            raise ConfigError(f"prefix: something below block {self.first} of the {self.tower} tower takes a gradient, so it cannot be "
                              "kept; freeze it, and give inputs that ask for no gradient")
        return seen[0].detach()

    @contextmanager
    def play(self, kept: Tensor) -> Iterator[None]:
        """Inside, the tower starts at block ``first`` with ``kept``; whatever happens, the model is as before afterwards."""
        self._refuse_nothing()
        if not self.rests:
            raise ConfigError(f"prefix: record one call of the {self.tower} tower first, which shows what its blocks leave")
        *lower, rest = self.rests
        last = _HandOn(rest, kept)
        with ExitStack() as stack:
            for block, forward in zip(self.below, [*map(_HandOn, lower), last], strict=True):
                stack.enter_context(_instead(block, forward))
            yield
        if not last.calls:
            raise ConfigError(f"prefix: the {self.tower} tower was not called while its kept tensor was played")

    def _refuse_nothing(self) -> None:
        if not self.keeps:
            raise ConfigError(f"prefix: the {self.tower} tower is adapted from its first block on, or before it; there is nothing to keep")


@contextmanager
def _instead(block: nn.Module, forward: _HandOn) -> Iterator[None]:
    """Another forward for this one object; its class keeps its own."""
    own = block.__dict__.get("forward")
    block.__dict__["forward"] = forward
    try:
        yield
    finally:
        del block.__dict__["forward"]
        if own is not None:
            block.__dict__["forward"] = own


def _adapted(model: nn.Module, every: list[Block], mine: list[Block]) -> set[int]:
    """Indices of this tower's adapted blocks; 0 stands for anything that the first one may read too."""
    tower, decodes = mine[0].tower, mine[0].row.decodes
    container = model._modules.get("inarch")
    found = {layer for layer in map(_Places(model, every, mine), roles.thawed(model)) if layer is not None}
    if not isinstance(container, Container):
        return found
    sites = {joint.site.block for joint in container.joints.values() if joint.active()}
    active = [block for block in every if block.path in sites]
    found |= {block.layer for block in active if block.tower == tower}
    return found | {0 for block in active if block.row.feeds == tower or (decodes and block.tower != tower)}


class _Places:
    """Parameter name -> the block of this tower that it lies in; None: behind the blocks, or in a tower that this one does not read."""

    def __init__(self, model: nn.Module, every: list[Block], mine: list[Block]) -> None:
        self.mine = mine
        roots = {block.root for block in every if block.row.matrices and block.tower != mine[0].tower and block.root}
        apart = set() if mine[0].row.decodes else roots
        behind = {path for block in every for path in block.row.behind}
        self.apart = tuple(path + "." for path in {*apart, *roles.head_paths(model), *behind})

    def __call__(self, name: str) -> int | None:
        inside = next((block.layer for block in self.mine if name.startswith(block.path + ".")), None)
        return None if inside is None and f"{name}.".startswith(self.apart) else inside or 0
