"""``config:NAME``: the papers' backbones with random weights, for counting, benchmarks and tests; nothing is fetched.

The trunk is drawn from the seed in the address (``config:vit-b16@3``; 0 where none stands), so the address alone rebuilds it;
a fresh head follows the wish. On the meta device even ViT-H/14 is there at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from inarch.backbones import clip, hf, processors, vl, vlm
from inarch.backbones.address import Address
from inarch.backbones.backbone import Backbone, Wish
from inarch.errors import ConfigError, nearest
from inarch.preprocess import Preprocess

_CLASSES = 1000


def _vit(dim: int, depth: int, heads: int, patch: int) -> Callable[[], Any]:
    def config() -> Any:
        return hf.transformers().ViTConfig(
            hidden_size=dim, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=4 * dim, patch_size=patch,
            image_size=224, layer_norm_eps=1e-6, num_labels=_CLASSES)

    return config


def _swin_b() -> Any:
    return hf.transformers().SwinConfig(
        image_size=224, patch_size=4, embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32], window_size=7,
        drop_path_rate=0.0, num_labels=_CLASSES)


CONFIGS: dict[str, Any] = {
    "vit-ti16": _vit(192, 12, 3, 16),
    "vit-s16": _vit(384, 12, 6, 16),
    "vit-b16": _vit(768, 12, 12, 16),
    "vit-l16": _vit(1024, 24, 16, 16),
    "vit-h14": _vit(1280, 32, 16, 14),  # 16 x 16 patches and the class token: 257 tokens
    "swin-b": _swin_b,
}
_NORMS = {"swin-b": processors.IMAGENET}
_ELSEWHERE: dict[str, Any] = {name: room for room in (vl, vlm, clip) for name in room.CONFIGS}


def load(address: Address, wish: Wish) -> Backbone:
    if address.name not in CONFIGS | _ELSEWHERE:
        raise ConfigError(f"{address}: no such configuration; {nearest(address.name, CONFIGS | _ELSEWHERE)}")
    if address.at is not None and not address.at.isdigit():
        raise ConfigError(f"{address}: seed {address.at!r}; expected config:NAME@SEED with a whole number")
    trunk = dataclasses.replace(wish, seed=int(address.at or 0))
    if address.name in _ELSEWHERE:
        return _ELSEWHERE[address.name].random(address, trunk)
    model = hf.random_model(CONFIGS[address.name](), trunk)
    mean, std = _NORMS.get(address.name, processors.HALF)
    source = {"name": address.name, "revision": None, "licence": None, "pretrained": False, "seed": trunk.seed}
    return hf.finished(model, str(address), Preprocess(224, mean=mean, std=std), wish, source, native_head=False)
