"""Video clips as VALUE stores them: ``<clip>.npz["features"]``, one row per frame, brought to a fixed number of frames.

    n <= t     frames 0 .. n - 1, then rows of zeros (which are not masked)                          [VL-PET 3.5]
    n > t      frame i = max over frames floor(i n / t) .. ceil((i + 1) n / t) - 1, channel by channel
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inarch.data.images import shown
from inarch.data.readers.arrays import DAMAGED
from inarch.errors import Corrupt
from inarch.features.hdf5 import MAX_BYTES
from inarch.features.store import sound

if TYPE_CHECKING:
    from jaxtyping import Float

FRAMES = 64


def clip(frames: Float[Tensor, "n width"], count: int = FRAMES) -> Float[Tensor, "count width"]:
    """``frames`` as exactly ``count`` rows.

    >>> clip(torch.tensor([[1.0], [2.0]]), 3).tolist(), clip(torch.tensor([[1.0], [3.0], [2.0]]), 2).tolist()
    ([[1.0], [2.0], [0.0]], [[3.0], [3.0]])
    """
    if len(frames) <= count:
        return functional.pad(frames, (0, 0, 0, count - len(frames)))
    return functional.adaptive_max_pool1d(frames.T, count).T.contiguous()


def read_clip(path: Path, count: int = FRAMES) -> np.ndarray:
    """[count, width] float32 of one file."""
    where = f"{shown(path)}: features"
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("features.npy").file_size > MAX_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_BYTES >> 20} MiB")
        with np.load(path, allow_pickle=False) as arrays:
            frames = arrays["features"]
    except DAMAGED as error:
        raise Corrupt(f"{where}: cannot be read ({' '.join(str(error).split())}); fetch the file again") from error
    return clip(torch.from_numpy(sound(frames, where).astype(np.float32)), count).numpy()
