"""Where each library's image tower holds its grid: a row per kind of tower, a map [batch, h, w, width] read from it.

    open_clip     ModifiedResNet      layer4, before attention pooling                   RN101 at 224 px: 7 x 7 x 2048 [VL-PET 3.1]
                  VisionTransformer   patch tokens of the last block, normalised as open_clip's own ``output_tokens`` are
                  TimmModel           as timm
    transformers                      ``last_hidden_state`` of the trunk without its prefix tokens
    timm                              ``forward_features`` without its prefix tokens

Prefix tokens are the class token, a distillation token and registers; all families here put them first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from inarch.backbones.two_tower import Pair, TwoTower
from inarch.errors import ConfigError

Read = Callable[[Any, Tensor], Tensor]  # (tower, pixels [batch, 3, side, side]) -> [batch, h, w, width]

TRUNKS = {  # model_type of transformers -> (its trunk, prefix tokens besides registers)
    "vit": ("vit", 1),
    "deit": ("deit", 2),
    "beit": ("beit", 1),
    "dinov2": ("dinov2", 1),
    "dinov2_with_registers": ("dinov2_with_registers", 1),
    "clip": ("vision_model", 1),
    "siglip": ("vision_model", 0),
    "swin": ("swin", 0),
    "swinv2": ("swinv2", 0),
    "resnet": ("resnet", 0),
    "convnext": ("convnext", 0),
    "convnextv2": ("convnextv2", 0),
}


def sight(model: Any, library: str, address: str) -> tuple[nn.Module, Read]:
    """The part of ``model`` that sees, and how its grid is read; of two towers the one for images."""
    if isinstance(model, TwoTower):
        return _of_two(model.stock, address)
    if library == "open_clip":
        return _open_clip(model.visual, address)
    if library == "timm":
        return model, _timm
    trunk, read = _transformers(model, address)
    return model.get_submodule(trunk), read


def _transformers(model: Any, address: str) -> tuple[str, Read]:
    """Where the trunk lies in a model with a head, and how it is read."""
    kind = str(getattr(getattr(model, "config", None), "model_type", type(model).__name__)).removesuffix("_vision_model")
    if kind not in TRUNKS:
        raise ConfigError(f"{address}: {kind} is no image tower with a known grid; known: {', '.join(TRUNKS)}, any timm model, "
                          "open_clip's towers; add a row to inarch/backbones/eyes_rows.py")
    trunk, prefix = TRUNKS[kind]
    return trunk, Hidden(prefix + int(getattr(model.config, "num_register_tokens", 0)))


def _of_two(stock: Any, address: str) -> tuple[nn.Module, Read]:
    """A pair's tower is a trunk already."""
    if not isinstance(stock, Pair):
        return sight(stock, type(stock).__module__.partition(".")[0], address)
    tower = stock.vision_model
    return (tower, _timm) if type(tower).__module__.startswith("timm.") else (tower, _transformers(tower, address)[1])


def _open_clip(visual: nn.Module, address: str) -> tuple[nn.Module, Read]:
    kind = type(visual).__name__
    if kind == "TimmModel":
        return visual.get_submodule("trunk"), _timm
    if kind not in OPEN_CLIP:
        raise ConfigError(f"{address}: no grid is known for open_clip's {kind}; known: {', '.join(OPEN_CLIP)}, TimmModel")
    return visual, OPEN_CLIP[kind]


def _resnet(visual: Any, pixels: Tensor) -> Tensor:
    x = visual.stem(pixels)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = layer(x)
    return x.movedim(1, -1)


def _transformer(visual: Any, pixels: Tensor) -> Tensor:
    if visual.attn_pool is not None:
        raise ConfigError("open_clip: this tower pools its patches by attention, so its tokens are no grid; choose another one")
    found = visual.forward_intermediates(
        pixels, indices=1, intermediates_only=True, normalize_intermediates=not visual.final_ln_after_pool, output_fmt="NLC")
    return square(found["image_intermediates"][0], 0)


OPEN_CLIP: dict[str, Read] = {"ModifiedResNet": _resnet, "VisionTransformer": _transformer}


class Hidden:
    """transformers: the last hidden state, tokens [batch, prefix + h w, width] or a map [batch, width, h, w]."""

    def __init__(self, prefix: int) -> None:
        self.prefix = prefix

    def __call__(self, trunk: nn.Module, pixels: Tensor) -> Tensor:
        hidden = trunk(pixels).last_hidden_state
        return hidden.movedim(1, -1) if hidden.dim() == 4 else square(hidden, self.prefix)


def _timm(model: Any, pixels: Tensor) -> Tensor:
    found = model.forward_features(pixels)
    if isinstance(found, Tensor) and found.dim() == 4:
        return found if getattr(model, "output_fmt", "NCHW") == "NHWC" else found.movedim(1, -1)
    prefix = getattr(model, "num_prefix_tokens", None)
    if not isinstance(found, Tensor) or prefix is None:
        raise ConfigError(f"timm: {type(model).__name__} does not say which of its tokens are patches; choose a ViT, a Swin or a ConvNet")
    return square(found, prefix)


def square(tokens: Tensor, prefix: int) -> Tensor:
    """``tokens`` [batch, prefix + n n, width] as the n x n map of the patches."""
    batch, count, width = tokens.shape
    side = math.isqrt(max(count - prefix, 0))
    if side * side + prefix != count or not side:
        raise ConfigError(f"{count} tokens of which {prefix} stand before the patches: the rest is no square grid; choose another tower")
    return tokens[:, prefix:].reshape(batch, side, side, width)
