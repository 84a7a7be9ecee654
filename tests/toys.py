"""Methods that only tests know: each exercises one part of the adapter contract that a symmetric, affine method would hide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from inarch.adapter import Adapter, Built, Method, Parallel, Post, Pre
from inarch.ports import Stack


@dataclass(frozen=True)
class Toy(Method):
    """Adapters of class ``kind`` on ``spans``; random from the start."""

    spans: tuple[str, ...] = ("attn", "mlp")
    kind: ClassVar[Callable[[Stack], Adapter]]

    def wanted(self) -> tuple[str, ...]:
        return self.spans

    @property
    def identity_at_start(self) -> bool:
        return False

    def build(self, stacks: list[Stack]) -> Built:
        return Built({stack.name: type(self).kind(stack) for stack in stacks})


class Lopsided(Adapter):
    """Asymmetric factors: ``left [L, D, 3]``, ``right [L, 3, D']``, ``shift [L, D']``: a transposed merge shows."""

    def __init__(self, stack: Stack, dim: int | None = None, out: int | None = None) -> None:
        super().__init__()
        dim, out = dim or stack.width_in, out or stack.width_in
        self.left = nn.Parameter(0.3 * torch.randn(stack.depth, dim, 3))
        self.right = nn.Parameter(0.3 * torch.randn(stack.depth, 3, out))
        self.shift = nn.Parameter(0.3 * torch.randn(stack.depth, out))

    def update(self, x: Tensor, i: int) -> Tensor:
        return x @ self.left[i] @ self.right[i] + self.shift[i]

    def parts(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.left[i], self.right[i], self.shift[i]


class LopsidedPre(Lopsided):
    def before(self, x: Tensor, i: int, given: Any) -> Tensor:
        return x + self.update(x, i)

    def affine(self, i: int, given: Any) -> Pre:
        return Pre(*self.parts(i))


class LopsidedPost(Lopsided):
    def __init__(self, stack: Stack) -> None:
        super().__init__(stack, stack.width_out, stack.width_out)

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        return y + self.update(y, i)

    def affine(self, i: int, given: Any) -> Post:
        return Post(*self.parts(i))


class LopsidedParallel(Lopsided):
    def __init__(self, stack: Stack) -> None:
        super().__init__(stack, stack.width_in, stack.width_out)

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        return y + self.update(x, i)

    def affine(self, i: int, given: Any) -> Parallel:
        return Parallel(*self.parts(i))


class ResidualGate(Adapter):
    """Not affine: gates the output by the tensor at the start of the skip connection."""

    reads = "residual"

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.randn(stack.depth, stack.width_out))

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        return y * torch.sigmoid(x * self.gate[i])


class Prepared(Adapter):
    """Its matrices are contracted once per forward by ``prepare``, which counts its calls."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.root = nn.Parameter(0.2 * torch.randn(stack.depth, stack.width_in, stack.width_in))
        self.calls = 0

    def prepare(self, shared: Any, visible: Any) -> Tensor:
        self.calls += 1
        return self.root @ self.root

    def before(self, x: Tensor, i: int, given: Tensor) -> Tensor:
        return x + x @ given[i]

    def affine(self, i: int, given: Tensor) -> Pre:
        return Pre(given[i], torch.eye(given.shape[-1], dtype=given.dtype))


@dataclass(frozen=True)
class ToyPre(Toy):
    kind: ClassVar = LopsidedPre


@dataclass(frozen=True)
class ToyPost(Toy):
    kind: ClassVar = LopsidedPost


@dataclass(frozen=True)
class ToyParallel(Toy):
    spans: tuple[str, ...] = ("v", "fc1", "fc2")
    kind: ClassVar = LopsidedParallel


@dataclass(frozen=True)
class ToyGate(Toy):
    kind: ClassVar = ResidualGate


@dataclass(frozen=True)
class ToyPrepared(Toy):
    kind: ClassVar = Prepared
