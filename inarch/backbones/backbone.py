"""What loading gives (``Backbone``), what was asked for (``Wish``), and the two rules every loader keeps.

1. Random numbers are drawn from the wish's own seed; the caller's generator is left where it was.
2. A fresh head is zero (as in the ARC release) or as the library initialises it; nothing else of the backbone is ever fresh.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from inarch.errors import ConfigError
from inarch.preprocess import Preprocess

HeadInit = Literal["zeros", "library"]


@dataclass(frozen=True)
class Wish:
    """What the caller wants of a backbone; ``classes=None`` keeps the native head, ``image_size=None`` the native size."""

    classes: int | None = None
    image_size: int | None = None
    device: str = "cpu"
    pretrained: bool = True
    seed: int = 0
    head_init: HeadInit = "zeros"
    feature_width: int | None = None  # vision-language: of the image features; None: the published one, or the folder's
    visual_tokens: int | None = None  # vision-language: per image after pooling; 0: every feature row

    def __post_init__(self) -> None:
        for name, value in (("classes", self.classes), ("image_size", self.image_size), ("feature_width", self.feature_width)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigError(f"backbone: {name}={value!r}; expected a whole number from 1 on, or none")
        if self.head_init not in ("zeros", "library"):
            raise ConfigError(f"backbone: head_init={self.head_init!r}; expected 'zeros' or 'library'")

    @property
    def weights(self) -> bool:
        """Are weights to be read? On the meta device there is nothing to read them into."""
        return self.pretrained and self.device != "meta"


@dataclass
class Backbone:
    """A model, the preprocessing that belongs to it, and where both came from."""

    model: nn.Module
    address: str
    preprocess: Preprocess
    library: str  # transformers, timm or open_clip: says how the model is exported
    source: dict[str, Any] = field(default_factory=dict)
    image_size: int = 224


@contextlib.contextmanager
def drawing(wish: Wish) -> Iterator[None]:
    """Build modules here: on the meta device if that is wished, from the wish's seed, the global generator untouched."""
    place = torch.device("meta") if wish.device == "meta" else contextlib.nullcontext()
    with torch.random.fork_rng(devices=[]), place:
        torch.random.default_generator.manual_seed(wish.seed)
        yield


def placed(model: nn.Module, wish: Wish) -> nn.Module:
    """The model where the wish wants it, in evaluation mode."""
    return model.eval() if wish.device == "meta" else model.eval().to(wish.device)


def zero(head: nn.Module) -> None:
    for parameter in head.parameters():
        nn.init.zeros_(parameter)


def logits(model: nn.Module, pixels: Tensor) -> Tensor:
    """``[batch, classes]`` of any backbone: transformers wraps its logits, timm and open_clip give the tensor itself."""
    out = model(pixels)
    return out if isinstance(out, Tensor) else out.logits


def prove(model: nn.Module, side: int, address: str, look: Callable[[Any, Tensor], Tensor] = logits) -> None:
    """One dry forward at a new image side: a family that cannot take it fails here, before any work, and says so."""
    if any(parameter.is_meta for parameter in model.parameters()):
        return
    try:
        with torch.no_grad():
            look(model, torch.zeros(1, 3, side, side))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{address}: {type(model).__name__} cannot take image_size={side} ({reason}); "
                          "use its native size or another multiple of its patch size") from error


def whole_patches(side: int, patch: int, address: str) -> None:
    """Refuse a side that would cut patches: the convolution would silently drop the rest of the image."""
    if side % patch:
        low = max(side // patch, 1) * patch
        raise ConfigError(f"{address}: image_size={side} is no multiple of the patch size {patch}; use {low} or {low + patch}")
