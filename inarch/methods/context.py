"""Context prompts: CoOp's unified context (Zhou et al., IJCV 2022, arXiv 2109.01134).

    e'_j = v_j            init="normal"        e [n, t, d]  the token embeddings of n prompts; position 0 is the start token
    e'_j = e_j + v_j      init="template"      v_j [d]      one context for all prompts, at positions j = 1..m
Positions are added after it, everything behind position m stays as it is. It does not fold. Trained: m d; of width 512 at m = 4: 2,048.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from inarch.adapter import Adapter, Built, Fold, Method, within
from inarch.errors import CannotFold, DataError
from inarch.methods.bottleneck import STD
from inarch.ports import Stack


@dataclass(frozen=True)
class Context(Method):
    """``length`` learned vectors in the place of a prompt's first tokens, the same for every class.

    init: ``template`` learns an offset on what the template's own words say, zero at the start (CoOp initialised by "a photo of a",
    as in the base-to-novel comparisons); ``normal`` draws the vectors from N(0, 0.02^2) (CoOp's own, with ``length=16``).
    Whoever writes the prompts must leave ``length`` tokens between the start token and the class name, else the name would be
    overwritten: with ``normal`` take ``prompt``, with ``template`` a template whose words before the name are at least as many tokens.
    """

    length: int = 4
    init: Literal["template", "normal"] = "template"
    size: ClassVar[str] = "length"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("Context", "length", self.length, 1, math.inf)

    @property
    def prompt(self) -> str:
        """A template with a place for every vector, ``X X X X {}.``; ``X`` is one token of every tokenizer known here."""
        return "X " * self.length + "{}."

    def wanted(self) -> tuple[str, ...]:
        return ("words",)

    @property
    def identity_at_start(self) -> bool:
        return self.init == "template"

    def build(self, stacks: list[Stack]) -> Built:
        return Built({stack.name: ContextAdapter(self, stack.depth, stack.width_out) for stack in stacks})


class ContextAdapter(Adapter):
    """``vectors`` v ``[L, m, d]``."""

    def __init__(self, config: Context, depth: int, dim: int) -> None:
        super().__init__()
        self.offset = config.init == "template"
        start = torch.zeros if self.offset else torch.randn
        self.vectors = nn.Parameter(start(depth, config.length, dim) * STD)

    def after(self, x: Tensor, y: Tensor, i: int, given: Any) -> Tensor:
        end = 1 + self.vectors.shape[1]
        if y.shape[-2] <= end:
            raise DataError(f"Context: prompts of {y.shape[-2]} tokens have no place for {end - 1} context vectors between start and "
                            f"class name; write at least {end - 1} words before the name, or take a smaller length")
        own = self.vectors[i].expand(*y.shape[:-2], -1, -1)
        context = y[..., 1:end, :] + own if self.offset else own
        return torch.cat([y[..., :1, :], context, y[..., end:, :]], dim=-2)

    def affine(self, i: int, given: Any) -> Fold:
        raise CannotFold("Context edits positions of a prompt; the base's table has one embedding per token, wherever it stands")
