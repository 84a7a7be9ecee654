"""Pictures varied on the device they are trained on: one affine map and one tone per picture.

    p -> sign * zoom * R(angle) p + move,     zoom in [1 - cut, 1],  |angle| <= turn,  |move| <= shift;     x -> contrast * x + bright
``Change`` says how much of each leaves a picture's name true: letters and captions with a left and a right are never mirrored.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

CONTRAST, BRIGHT = 0.2, 0.12


@dataclass(frozen=True)
class Change:
    flip: float = 0.0  # how often mirrored
    cut: float = 0.0  # largest share of a side that is cut away
    turn: float = 0.0  # radians
    shift: float = 0.0  # of half a side
    tone: float = 1.0  # how much of CONTRAST and BRIGHT

    def row(self) -> tuple[float, ...]:
        return astuple(self)


def varied(images: Tensor, change: Tensor, generator: torch.Generator) -> Tensor:
    """``uint8[n, side, side, 3]`` and one row of ``Change`` each, to ``float32[n, 3, side, side]`` around -1 .. 1."""
    x = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    flip, cut, turn, shift, tone = change.T
    chance = torch.rand(7, len(x), device=x.device, generator=generator)
    either = 2 * chance - 1
    sign = 1 - 2 * (chance[0] < flip).float()
    zoom, angle = 1 - cut * chance[1], turn * either[2]
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = torch.stack([torch.stack([sign * cos, -sin, shift * either[3]], 1), torch.stack([sign * sin, cos, shift * either[4]], 1)], 1)
    grid = F.affine_grid(rows, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    contrast, bright = 1 + CONTRAST * tone * either[5], 2 * BRIGHT * tone * either[6]
    return (contrast[:, None, None, None] * x + bright[:, None, None, None]).clamp(-1, 1)
