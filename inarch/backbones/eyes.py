"""Image towers that give a grid: pixels [batch, 3, side, side] -> features [batch, h w, width], row by row from the top left.

    load_eyes("open_clip:RN101/openai")     49 x 2048, the features of VL-PET [VL-PET 3.1]
    load_eyes("hf:google/siglip-base-patch16-224")   "timm:swin_tiny_patch4_window7_224"   "mini-vit"   "config:clip-vit-b16"

Every picture is squashed to the tower's square, bicubically for CLIP, as VL-PET's were: a crop would lose what a question asks
about. Size, interpolation, mean and standard deviation are the tower's own; ``resize="backbone"`` keeps the library's crop too.
"""

from __future__ import annotations

import dataclasses
import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from inarch import backbones
from inarch.backbones.address import backbone_tower
from inarch.backbones.eyes_rows import Read, sight
from inarch.errors import ConfigError, nearest
from inarch.preprocess import Preprocess

if TYPE_CHECKING:
    from jaxtyping import Float

Resize = Literal["squash", "backbone"]
RESIZES = ("squash", "backbone")


class Eyes(nn.Module):
    """A frozen tower, always in evaluation mode: ``grid`` (h, w), ``width``, and the ``preprocess`` and ``source`` that belong to it."""

    def __init__(self, tower: nn.Module, read: Read, address: str, preprocess: Preprocess, source: dict[str, Any]) -> None:
        super().__init__()
        self.tower = tower.requires_grad_(False)
        self.read, self.address, self.preprocess, self.source = read, address, preprocess, source
        self.train(False)
        self.grid, self.width = self._measured()

    def forward(self, pixels: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch tokens width"]:
        return self.read(self.tower, pixels).flatten(1, 2)

    def train(self, mode: bool = True) -> Eyes:
        """A tower that is not trained drops and renormalises nothing, whatever is trained around it."""
        return super().train(False)

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shape and value of every number of the tower, never over names or places of files."""
        total = hashlib.sha256()
        for tensor in self.tower.state_dict().values():
            if tensor.is_floating_point():
                total.update(str(tuple(tensor.shape)).encode())
                total.update(tensor.detach().float().cpu().contiguous().numpy())
        return total.hexdigest()

    def origin(self) -> dict[str, Any]:
        """What stands beside features that came from here."""
        kept = {key: self.source[key] for key in ("revision", "licence", "sha256", "pretrained") if key in self.source}
        return {"tower": self.address, "fingerprint": self.fingerprint, "preprocess": self.preprocess.to_json(),
                "grid": list(self.grid), "source": kept}

    def _measured(self) -> tuple[tuple[int, int], int]:
        """(grid, width), by one look at a black picture."""
        side = self.preprocess.size
        with torch.no_grad():
            _, height, across, width = self.read(self.tower, torch.zeros(1, 3, side, side, device=self.device)).shape
        return (height, across), width

    @property
    def device(self) -> torch.device:
        return next(self.tower.parameters()).device


def load_eyes(address: str, image_size: int | None = None, device: str = "cpu", *, resize: Resize = "squash",
              pretrained: bool = True) -> Eyes:
    """The image tower at ``address``, any that ``inarch.backbones.load`` knows; heads, poolers and text towers are left out.

    >>> load_eyes("mini-vit").grid
    (8, 8)
    """
    if resize not in RESIZES:
        raise ConfigError(f"resize={resize!r}; {nearest(str(resize), RESIZES)}")
    found = backbones.load(backbone_tower(address) or address, image_size=image_size, device=device, pretrained=pretrained)
    tower, read = sight(found.model, found.library, found.address)
    rule = found.preprocess if resize == "backbone" else dataclasses.replace(found.preprocess, fit="squash", resize=None)
    return Eyes(tower, read, found.address, rule, found.source)
