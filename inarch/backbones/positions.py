"""A model of another image size: its position tables are resampled once, and then it is an ordinary model of that size.

    table [1, p + g*g, D]  ->  [1, p + h*h, D]      the p prefix tokens are kept, the g x g grid is resampled bicubically
    table [(2g-1)^2 + p, heads]                      BEiT's relative offsets, likewise on their (2g-1) x (2g-1) grid

The same operation that transformers' ``interpolate_pos_encoding=True`` repeats in every forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from inarch.errors import ConfigError


def resample(table: Tensor, prefix: int, old: int, new: int, first: bool = True) -> Tensor:
    """``table`` [..., prefix + old*old, dim] on a ``new`` x ``new`` grid; ``first``: the prefix stands before the grid."""
    rows = table.reshape(-1, table.shape[-1])
    kept, grid = (rows[:prefix], rows[prefix:]) if first else (rows[old * old:], rows[: old * old])
    image = grid.T.reshape(1, -1, old, old).float()
    image = functional.interpolate(image, size=(new, new), mode="bicubic", align_corners=False)
    grid = image.reshape(rows.shape[1], -1).T.to(table.dtype)
    joined = torch.cat([kept, grid] if first else [grid, kept])
    return joined.reshape(*table.shape[:-2], *joined.shape).contiguous()


def fitted(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], old: int, new: int, where: str) -> dict[str, Tensor]:
    """``state`` of a model with an ``old`` x ``old`` patch grid, in the shapes that ``wanted`` has on a ``new`` x ``new`` one."""
    return {name: _fit(name, tensor, tuple(wanted[name].shape), old, new, where) for name, tensor in state.items()}


def _fit(name: str, tensor: Tensor, shape: tuple[int, ...], old: int, new: int, where: str) -> Tensor:
    if tuple(tensor.shape) == shape:
        return tensor
    rows, target = tensor.shape[-2], shape[-2]
    if rows - old**2 == target - new**2 >= 0:
        return resample(tensor, rows - old**2, old, new)
    a, b = 2 * old - 1, 2 * new - 1
    if rows - a**2 == target - b**2 >= 0:
        return resample(tensor, rows - a**2, a, b, first=False)
    raise ConfigError(f"{where}: {name} has shape {tuple(tensor.shape)} and would need {shape} at the new image size; "
                      "this family cannot change its image size, leave image_size out")
