"""``FeatureStore``: features of images or clips by id, whatever files hold them.

    store[id]           float32 [tokens, width]
    store.batch(ids)    float32 [batch, tokens, width]
    id in store         store.missing(ids)      store.ids      store.origin      store.sha256
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from inarch.data.images import shown
from inarch.errors import Corrupt, DataError, Mismatch

if TYPE_CHECKING:
    from jaxtyping import Float


class FeatureStore(ABC):
    """``tokens`` x ``width`` features per id; ``origin`` says which tower made them ({} where the store does not say)."""

    path: Path
    tokens: int
    width: int
    origin: dict[str, Any]

    @property
    @abstractmethod
    def ids(self) -> Sequence[str]:
        """Every id, in the order of the store."""

    @property
    @abstractmethod
    def sha256(self) -> str:
        """Of ids and features; of names and sizes where others wrote the files, which would take hours to read."""

    @abstractmethod
    def __contains__(self, image: object) -> bool: ...

    @abstractmethod
    def row(self, image: str) -> np.ndarray:
        """[tokens, width] as stored and checked; ``DataError`` for an unknown id, ``Corrupt`` or ``Mismatch`` for what is there."""

    def __getitem__(self, image: str) -> Float[Tensor, "tokens width"]:
        return torch.from_numpy(np.array(self.row(image), dtype=np.float32))

    def batch(self, images: Sequence[str]) -> Float[Tensor, "batch tokens width"]:
        """Of these images, in this order."""
        found = np.empty((len(images), self.tokens, self.width), np.float32)
        for place, image in enumerate(images):
            found[place] = self.row(image)
        return torch.from_numpy(found)

    def missing(self, images: Iterable[str]) -> list[str]:
        """Those of ``images`` that have no features here, each once, in order."""
        return [image for image in dict.fromkeys(images) if image not in self]

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({shown(self.path)}: {self.tokens} x {self.width})"

    def unknown(self, image: str) -> DataError:
        return DataError(f"{shown(self.path)}: no features of {image!r}; extract them with `inarch features`, or remove its examples")


def sound(features: np.ndarray, where: str) -> np.ndarray:
    """``features`` if they are finite numbers [tokens, width]."""
    if features.ndim != 2 or features.dtype.kind != "f" or 0 in features.shape:
        raise Corrupt(f"{where}: {features.dtype} {features.shape}; expected floating-point numbers [tokens, width]")
    bad = features.size - int(np.isfinite(features).sum())
    if bad:
        raise Corrupt(f"{where}: {bad} of {features.size} values are not finite; fetch or extract it again")
    return features


def same_shape(features: np.ndarray, tokens: int, width: int, where: str) -> np.ndarray:
    if features.shape != (tokens, width):
        found = " x ".join(map(str, features.shape))
        raise Mismatch(f"{where}: {found} features, the others of this store are {tokens} x {width}; extract it with the same tower")
    return features


def inside(image: object) -> bool:
    """Whether an id may be part of a path: annotations are data, and must not lead out of the folder."""
    return isinstance(image, str) and "\0" not in image and all(part not in ("", ".", "..") for part in image.split("/"))
