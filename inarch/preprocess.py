"""What happens to an image before the backbone sees it: it comes with the backbone, can be overridden, and is saved with the adapter."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from inarch.errors import ConfigError, nearest

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocess:
    """RGB image -> ``float32[3, size, size]``: resize, centre-crop, ``(x / 255 - mean) / std``.

    ``fit="squash"`` resizes both sides straight to ``size`` (VTAB-1k); ``fit="crop"`` resizes the short side to
    ``resize`` and cuts the centre ``size`` x ``size`` (FGVC, timm, CLIP).
    """

    size: int = 224
    resize: int | None = None  # short side before the crop; None: the same as size
    fit: Literal["squash", "crop"] = "squash"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))
        if self.size < 1 or (self.resize is not None and self.resize < self.size):
            raise ConfigError(f"preprocess: size {self.size}, resize {self.resize}; expected 1 <= size <= resize")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError(f"preprocess: mean {self.mean}, std {self.std}; expected three numbers each, std > 0")
        if self.interpolation not in INTERPOLATIONS:
            raise ConfigError(f"preprocess: interpolation {self.interpolation!r}; {nearest(self.interpolation, INTERPOLATIONS)}")

    def told(self) -> str:
        """In words, for a README."""
        margin = f" after resizing the short side to {self.resize}" if self.resize else ""
        return f"RGB, {self.fit} to {self.size} px{margin}, {self.interpolation}, mean {self.mean}, std {self.std}"

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Preprocess:
        known = {f.name for f in dataclasses.fields(Preprocess)}
        for key in fields.keys() - known:
            raise ConfigError(f"preprocess: unknown key {key!r}; {nearest(key, known)}")
        return Preprocess(**fields)

    def resized(self, size: int) -> Preprocess:
        """The same rule at another image side; the crop margin keeps its ratio."""
        margin = None if self.resize is None else round(self.resize * size / self.size)
        return dataclasses.replace(self, size=size, resize=margin)
