"""In which width a run holds its numbers: what trains in fp32 (fp64 for checks), the frozen base in fp32, or in the half it computes in.

    precision    fp32, fp64: as stored      bf16, fp16: products in half (autocast), sums and norms in fp32
    half_base    frozen matrices stored in that half too: half the memory of the base, and none is cast in every step; norms and biases
                 stay in fp32, as they are computed
    quantised_base    the weights of frozen linear layers in eight bits, a quarter of fp32, widened where they are used
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from inarch.eight_bits import quantise

if TYPE_CHECKING:
    from inarch.recipe import Recipe

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
WIDTHS = {"fp32": torch.float32, **HALVES}


def widened(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Before anything is grafted: adapters take the width of an fp64 base, and belong to a quantised one as it is stored."""
    if recipe.precision == "fp64":
        return model.double()
    return quantise(model, recipe.quantised_base) if recipe.quantised_base else model


def narrowed(model: nn.Module, recipe: Recipe) -> None:
    """After it: what trains is known, and stays as it is."""
    if not recipe.half_base:
        return
    for name, parameter in model.named_parameters():
        own = parameter.requires_grad or name.startswith("inarch.")
        if not own and parameter.dim() > 1 and parameter.is_floating_point():
            parameter.data = parameter.data.to(HALVES[recipe.precision])
