"""The vision family: transformers of three sizes with random weights and a head of 100 classes, which every method trains too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch import anatomy, roles
from inarch.backbones.backbone import logits
from inarch.bench.subjects import Data, Family, Size, Subject, installed
from inarch.errors import need
from inarch.grafting import graft
from inarch.methods import ARC, BitFit, Full, Linear, LoRA

CLASSES = 100
SIDE = 224
LORA_RANK = 8
LORA_TARGETS = ("q", "k", "v", "fc1")  # what ARC's folds read: qkv and the first MLP matrix


class AskGradient:
    """Pre-hook of the first block: its input, frozen until here, becomes a leaf that wants a gradient."""

    def __call__(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].detach().requires_grad_(), *args[1:])


def floor(model: nn.Module) -> nn.Module:
    graft(model, Linear())
    first = next(block for block in anatomy.blocks(model) if block.row.matrices)
    first.module.register_forward_pre_hook(AskGradient())
    return model


def lora_of_peft(model: nn.Module) -> nn.Module:
    """LoRA on the same matrices through ``peft``, as its users call it."""
    if not installed("peft"):
        raise need("peft", "peft")
    from peft import LoraConfig, get_peft_model

    targets = sorted({site.span.readers[0].module for site in anatomy.sites(model, LORA_TARGETS)})
    pattern = rf".*\.({'|'.join(target.replace('.', '[.]') for target in targets)})"
    (head,) = roles.head_paths(model)
    wrapped = get_peft_model(model, LoraConfig(r=LORA_RANK, lora_alpha=LORA_RANK, target_modules=pattern))
    wrapped.get_submodule(f"base_model.model.{head}").requires_grad_(True)
    return wrapped


def base(address: str) -> nn.Module:
    """The backbone with a head of 100 classes, in training mode."""
    from inarch.backbones import load

    return load(address, classes=CLASSES, head_init="library").model.train()


def batch(size: int) -> Data:
    """The same random images and labels every time; the caller's generator is not touched."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, SIDE, SIDE, generator=generator), torch.randint(0, CLASSES, (size,), generator=generator)


def loss(model: nn.Module, data: Data) -> Tensor:
    pixels, labels = data
    return F.cross_entropy(logits(model, pixels), labels)


VISION = Family(
    "vision",
    {"ti": Size("config:vit-ti16", "ViT-Ti/16"), "s": Size("config:vit-s16", "ViT-S/16"), "b": Size("config:vit-b16", "ViT-B/16")},
    {
        "floor": Subject("floor (frozen forward + input gradient)", floor),
        "linear": Subject("linear probe", lambda model: graft(model, Linear())),
        "arc": Subject("ARC r=50", lambda model: graft(model, ARC(rank=50), thaw="head")),
        "arc-top6": Subject("ARC r=50, last 6 blocks", lambda model: graft(model, ARC(rank=50, layers="-6:"), thaw="head")),
        "lora": Subject("LoRA r=8 on q, k, v, fc1", lambda model: graft(model, LoRA(LORA_RANK, LORA_TARGETS), thaw="head")),
        "lora-peft": Subject("LoRA r=8 on q, k, v, fc1, through peft", lora_of_peft, "peft"),
        "bitfit": Subject("BitFit", lambda model: graft(model, BitFit(), thaw="head")),
        "full": Subject("full fine-tuning", lambda model: graft(model, Full())),
    },
    base, batch, loss, {"side": SIDE, "classes": CLASSES}, examples=8, unit="image",
)
