"""Tiny random models to try a method on, in fp64 and evaluation mode, each with a forward on fixed inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

SIZE = 32
VIT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "image_size": SIZE, "patch_size": 8}
TEXT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 99,
        "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 98, "pad_token_id": 1}
CLASSES = 5


def pictures(batch: int) -> dict[str, Tensor]:
    """``pixels [batch, 3, 32, 32]`` and ``words [batch, 8]``, the same each time."""
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randn(batch, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    words = torch.randint(2, 99, (batch, 8), generator=generator)
    words[:, -1] = 98  # the end of text of open_clip is its largest id
    return {"pixels": pixels, "words": words}


@dataclass(frozen=True)
class Stock:
    """``build`` makes the model, ``forward`` runs it on what ``make`` gives for a batch of some size and returns one tensor."""

    name: str
    build: Callable[[], nn.Module]
    forward: Callable[[nn.Module, dict[str, Tensor]], Tensor]
    make: Callable[[int], dict[str, Tensor]] = pictures

    def model(self) -> nn.Module:
        torch.manual_seed(len(self.name))
        model = self.build().double().eval()
        for parameter in model.parameters():  # no zero-initialised head, scale or bias may hide a mistake
            parameter.data += 0.05 * torch.randn_like(parameter)
        return model

    def inputs(self, batch: int = 2) -> dict[str, Tensor]:
        return self.make(batch)

    def run(self, model: nn.Module, batch: int = 2) -> Tensor:
        return self.forward(model, self.inputs(batch))


@cache
def pristine(stock: Stock) -> nn.Module:
    """One model per stock and process: copy it, never change it."""
    return stock.model()


def classifier(config: str, model: str, **extra: object) -> Callable[[], nn.Module]:
    """A classifier of transformers, by the names of its two classes."""
    return lambda: getattr(_transformers(), model)(getattr(_transformers(), config)(**{**VIT, "num_labels": CLASSES, **extra}))


def two_towers(prefix: str) -> Callable[[], nn.Module]:
    """A CLIP or its like of transformers."""
    def build() -> nn.Module:
        config = getattr(_transformers(), f"{prefix}Config")(text_config=TEXT, vision_config=VIT, projection_dim=16)
        return getattr(_transformers(), f"{prefix}Model")(config)
    return build


def swin() -> nn.Module:
    """Four blocks of two widths, with shifted windows."""
    config = _transformers().SwinConfig(image_size=SIZE, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4,
                                        mlp_ratio=2.0, num_labels=CLASSES, drop_path_rate=0.0)
    return _transformers().SwinForImageClassification(config)


def logits(model: nn.Module, x: dict[str, Tensor]) -> Tensor:
    return model(pixel_values=x["pixels"]).logits


def pair(model: nn.Module, x: dict[str, Tensor]) -> Tensor:
    out = model(pixel_values=x["pixels"], input_ids=x["words"])
    return torch.cat([out.image_embeds, out.text_embeds], dim=-1)


def _transformers() -> Any:
    from inarch.backbones import hf

    return hf.transformers()


STOCKS = (
    Stock("ViT", classifier("ViTConfig", "ViTForImageClassification"), logits), Stock("Swin", swin, logits),
    Stock("CLIP", two_towers("CLIP"), pair),
)
