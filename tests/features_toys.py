"""A tower of a few thousand numbers, a handful of pictures, and stores of features as others write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pictures import pixels

from inarch.backbones.eyes import Eyes, load_eyes
from inarch.features.survey import Image

KINDS = ("memmap", "hdf5", "h5-files")


def vit(folder: Path, seed: int = 0) -> str:
    """A ViT of 16 px, 4 x 4 patches and width 8 in ``folder``; returns its address."""
    from transformers import ViTConfig, ViTForImageClassification

    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 16, "patch_size": 4}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ViTForImageClassification(ViTConfig(**shape)).save_pretrained(folder)
    return str(folder)


def tower(folder: Path, seed: int = 0) -> Eyes:
    return load_eyes(vit(folder, seed))


def pictures(count: int = 10) -> dict[str, Image]:
    """Arrays of different sizes by ids with and without a folder."""
    return {f"{'cats/' if i % 2 else ''}{i}": pixels(i, 12 + i, 20) for i in range(count)}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` but the lock."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def published(folder: Path, rows: dict[str, np.ndarray]) -> Path:
    """A folder of ``<img_id>.h5`` as VL-T5's and VL-PET's scripts write it."""
    import h5py

    for image, features in rows.items():
        path = folder / f"{image}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.create_group(image).create_dataset("features", data=features)
    return folder


def clips(folder: Path, rows: dict[str, np.ndarray]) -> Path:
    """A folder of ``<clip>.npz`` as VALUE publishes it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, features in rows.items():
        np.savez(folder / f"{name}.npz", features=features)
    return folder


def numbers(seed: int, *shape: int, dtype: str = "float16") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
