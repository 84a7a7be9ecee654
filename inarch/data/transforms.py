"""RGB image -> ``float32[3, size, size]``: geometry in Pillow on 8-bit pixels, then ``(x / 255 - mean) / std``.

    none   the backbone's own preprocessing, deterministic                                   (VTAB-1k)
    fgvc   short side to size * 256 / 224, random crop of size x size, mirrored with p = 1/2   (FGVC)
    flip   as none, mirrored with p = 1/2
    clip   a crop of 8 to 100 % of the area, sides 3:4 to 4:3, squashed to the size, mirrored with p = 1/2   (CoOp, MMA)

The chance of a sample is ``numpy.random.default_rng(key)`` with ``key = (seed, epoch, index)``: the same whatever worker
draws it, in whatever order, before or after a resume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps

from inarch.errors import ConfigError, nearest
from inarch.preprocess import Preprocess

Augment = Literal["none", "fgvc", "flip", "clip"]
AUGMENTS = ("none", "fgvc", "flip", "clip")
AREA, SHAPE = (0.08, 1.0), math.log(4 / 3)  # clip: share of the area, log of the widest side ratio
MARGIN = 256 / 224  # fgvc: the resized short side over the crop
MAX_RESIZED = 50_000_000  # pixels; a 1 x 5000 strip resized to a short side of 256 would have 327 million

Key = tuple[int, ...]


@dataclass(frozen=True)
class Transform:
    """What turns the picture of a table into what the backbone sees.

    >>> Transform(Preprocess(size=224))(image).shape
    torch.Size([3, 224, 224])
    """

    preprocess: Preprocess
    augment: Augment = "none"
    only: int | None = None  # of an augmentation whose views can be counted: this one, whatever the key

    @property
    def views(self) -> int:
        """In how many ways it can show an image, the first of them plain; 0: too many to count."""
        return {"none": 1, "flip": 2}.get(self.augment, 0)

    def drawn(self, key: Key | None) -> int:
        """Which of its ``views`` is shown: the only one, or the one that the key draws."""
        if self.only is not None or self.views == 1:
            return self.only or 0
        return int(self._chance(key).random() < 0.5)

    def _chance(self, key: Key | None) -> np.random.Generator:
        if key is None:
            raise ConfigError(f"augment {self.augment!r} draws at random; pass key=(seed, epoch, index)")
        return np.random.default_rng(key)

    def __post_init__(self) -> None:
        if self.augment not in AUGMENTS:
            raise ConfigError(f"augment {self.augment!r}; {nearest(str(self.augment), AUGMENTS)}")
        if self.only is not None and self.only not in range(self.views):
            raise ConfigError(f"augment {self.augment!r} has {self.views} views that can be counted; only={self.only} is none of them")

    def __call__(self, image: Image.Image, *, key: Key | None = None) -> torch.Tensor:
        """``image`` (RGB) as the backbone wants it; ``key`` is needed by every augmentation but "none"."""
        return self.normalise(self.pixels(image, key=key))

    def pixels(self, image: Image.Image, *, key: Key | None = None) -> np.ndarray:
        """The geometry alone: ``uint8[size, size, 3]``."""
        if self.views:
            mirrored = self.drawn(key)
            image = self._fitted(image)
            return np.asarray(ImageOps.mirror(image) if mirrored else image)
        rng = self._chance(key)
        image = (self._cropped if self.augment == "fgvc" else self._resized_crop)(image, rng)
        return np.asarray(ImageOps.mirror(image) if rng.random() < 0.5 else image)

    def normalise(self, pixels: np.ndarray) -> torch.Tensor:
        """``(x / 255 - mean) / std`` in float32, channels first."""
        x = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32, order="C")).div_(255)
        mean, std = torch.tensor(self.preprocess.mean), torch.tensor(self.preprocess.std)
        return x.sub_(mean[:, None, None]).div_(std[:, None, None])

    def _fitted(self, image: Image.Image) -> Image.Image:
        size = self.preprocess.size
        if self.preprocess.fit == "squash":
            return image.resize((size, size), self._filter)
        width, height = short_side(image.size, self.preprocess.resize or size)
        # half to even, as torchvision's centre crop rounds
        return self._window(image, (width, height), round((width - size) / 2), round((height - size) / 2))

    def _cropped(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        size = self.preprocess.size
        width, height = short_side(image.size, round(size * MARGIN))
        left = int(rng.integers(0, width - size + 1))
        top = int(rng.integers(0, height - size + 1))
        return self._window(image, (width, height), left, top)

    def _resized_crop(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """A box of random area and shape; after ten that do not fit, the largest of an allowed shape in the middle."""
        size = (self.preprocess.size,) * 2
        for _ in range(10):
            area, shape = image.width * image.height * rng.uniform(*AREA), math.exp(rng.uniform(-SHAPE, SHAPE))
            width, height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if 0 < width <= image.width and 0 < height <= image.height:
                left, top = int(rng.integers(0, image.width - width + 1)), int(rng.integers(0, image.height - height + 1))
                return image.resize(size, self._filter, box=(left, top, left + width, top + height))
        width = min(image.width, round(image.height * math.exp(SHAPE)))
        height = min(image.height, round(image.width * math.exp(SHAPE)))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.resize(size, self._filter, box=(left, top, left + width, top + height))

    def _window(self, image: Image.Image, resized: tuple[int, int], left: int, top: int) -> Image.Image:
        """The ``size`` x ``size`` window at (left, top) of ``image`` resized to ``resized``."""
        size = self.preprocess.size
        if resized[0] * resized[1] <= MAX_RESIZED:
            return image.resize(resized, self._filter).crop((left, top, left + size, top + size))
        across, down = image.width / resized[0], image.height / resized[1]
        box = (left * across, top * down, min((left + size) * across, image.width), min((top + size) * down, image.height))
        return image.resize((size, size), self._filter, box=box)  # the window alone; off by one level here and there

    @property
    def _filter(self) -> Image.Resampling:
        return Image.Resampling[self.preprocess.interpolation.upper()]


def short_side(size: tuple[int, int], short: int) -> tuple[int, int]:
    """Width and height after the shorter of them is brought to ``short``; the longer is rounded down, as torchvision does."""
    width, height = size
    return (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
