"""What the teacher sees in every view: its class token and its patch tokens averaged to a 4 x 4 grid, computed once and cached.

    T(v) = (cls: R^192, grid: R^{16 x 192}),   v enlarged bicubically from 64 to 224 px, pixels in [-1, 1]

The student learns ``(T - mean) / std`` per channel, through one linear map for the class token and one for the grid.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from mini_vit.sources import TEACHER, Array

GRID = 4


@dataclass(frozen=True)
class Lesson:
    """The teacher's features of all views, standardised per channel."""

    cls: Tensor  # images, views, 192
    grid: Tensor  # images, views, 16, 192


def pixels(images: Array) -> Tensor:
    """``uint8[N, H, W, 3]`` to ``float32[N, 3, H, W]`` in [-1, 1]: mean = std = 0.5."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def pooled(tokens: Tensor) -> Tensor:
    """Patch tokens ``[N, S*S, dim]`` to the average of each cell of a 4 x 4 grid, ``[N, 16, dim]``."""
    side = int(tokens.shape[1] ** 0.5)
    return F.adaptive_avg_pool2d(tokens.transpose(1, 2).unflatten(2, (side, side)), GRID).flatten(2).transpose(1, 2)


def load_teacher(folder: Path, size: int) -> Any:
    """The real ViT-Ti/16 for inputs of ``size`` pixels; its position embeddings are resampled."""
    import timm
    from timm.layers import resample_abs_pos_embed

    teacher: Any = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=size).eval().requires_grad_(False)
    weights = load_file(folder / TEACHER)
    weights["pos_embed"] = resample_abs_pos_embed(weights["pos_embed"], list(teacher.patch_embed.grid_size))
    teacher.load_state_dict(weights)
    return teacher


def features(teacher: Any, images: Array, batch: int = 64) -> dict[str, Tensor]:
    """Class token and grid of each image, half precision, with a progress line."""
    found: dict[str, list[Tensor]] = {"cls": [], "grid": []}
    start = time.monotonic()
    for first in range(0, len(images), batch):
        enlarged = F.interpolate(pixels(images[first : first + batch]), 224, mode="bicubic")
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            tokens = teacher.forward_features(enlarged).float()
        found["cls"].append(tokens[:, 0].half())
        found["grid"].append(pooled(tokens[:, 1:]).half())
        progress("teacher", min(first + batch, len(images)), len(images), start, step=batch)
    return {name: torch.cat(parts) for name, parts in found.items()}


def progress(what: str, done: int, total: int, start: float, note: str = "", step: int = 1) -> None:
    """``what done/total  rate  time left``: rewritten in place on a terminal, every tenth part in a log."""
    tty = sys.stderr.isatty()
    if not tty and done * 10 // total == (done - step) * 10 // total and done < total:
        return
    rate = done / max(time.monotonic() - start, 1e-6)
    end = "\r" if tty and done < total else "\n"
    line = f"{what} {done}/{total}  {rate:.1f}/s  {(total - done) / rate:.0f} s left  {note}"
    print(line, end=end, file=sys.stderr, flush=True)


def lesson(teacher: Any, images: Array, cache: Path, key: str) -> Lesson:
    """The teacher's features of ``uint8[N, views, 64, 64, 3]``, from the cache file if it was made for the same images."""
    if cached_key(cache) != key:
        part = cache.with_name(cache.name + ".part")
        save_file(features(teacher, images.reshape(-1, *images.shape[2:])), part, metadata={"key": key})
        os.replace(part, cache)
    stored = load_file(cache)
    return Lesson(*(standardised(stored[name].float()).unflatten(0, images.shape[:2]) for name in ("cls", "grid")))


def standardised(features: Tensor) -> Tensor:
    over = tuple(range(features.ndim - 1))
    return (features - features.mean(over)) / features.std(over)


def cached_key(cache: Path) -> str | None:
    if not cache.is_file():
        return None
    with safe_open(cache, "pt") as file:
        return (file.metadata() or {}).get("key")
