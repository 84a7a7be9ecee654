"""The vision family: transformers of three sizes with random weights and a head of 100 classes, which every method trains too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch import anatomy, roles
from inarch.backbones.backbone import logits
from inarch.bench.goals import Goal
from inarch.bench.subjects import Data, Epoch, Family, Size, Subject, installed
from inarch.eight_bits import quantise
from inarch.errors import need
from inarch.grafting import graft
from inarch.methods import ARC, BitFit, Full, Linear, LoRA
from inarch.training.recompute import recompute

CLASSES = 100
SIDE = 224
LORA_RANK = 8
VERA_RANK = 256
LORA_TARGETS = ("q", "k", "v", "fc1")  # what ARC's folds read: qkv and the first MLP matrix


class AskGradient:
    """Pre-hook of the first block: its input, frozen until here, becomes a leaf that wants a gradient."""

    def __call__(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].detach().requires_grad_(), *args[1:])


def floor(model: nn.Module, ask: Callable[..., Any] | None = None) -> nn.Module:
    """``ask``: pre-hook of the first block, by which its input comes to want a gradient."""
    graft(model, Linear())
    first = next(block for block in anatomy.blocks(model) if block.row.matrices)
    first.module.register_forward_pre_hook(ask or AskGradient())
    return model


def of_peft(config: Callable[..., Any], model: nn.Module) -> nn.Module:
    """A method of ``peft`` on the matrices that ARC's folds read, as its users call it."""
    from peft import get_peft_model

    targets = sorted({site.span.readers[0].module for site in anatomy.sites(model, LORA_TARGETS)})
    pattern = rf".*\.({'|'.join(target.replace('.', '[.]') for target in targets)})"
    (head,) = roles.head_paths(model)
    wrapped = get_peft_model(model, config(target_modules=pattern))
    wrapped.get_submodule(f"base_model.model.{head}").requires_grad_(True)
    return wrapped


def lora_of_peft(model: nn.Module, dropout: float = 0.0) -> nn.Module:
    _need_peft()
    from peft import LoraConfig

    return of_peft(partial(LoraConfig, r=LORA_RANK, lora_alpha=LORA_RANK, lora_dropout=dropout), model)


def vera_of_peft(model: nn.Module) -> nn.Module:
    _need_peft()
    from peft import VeraConfig

    return of_peft(partial(VeraConfig, r=VERA_RANK), model)


def _need_peft() -> None:
    if not installed("peft"):
        raise need("peft", "peft")


def recomputed(model: nn.Module) -> nn.Module:
    graft(model, ARC(rank=50), thaw="head")
    recompute(model)
    return model


def in_eight_bits(model: nn.Module, kind: Literal["int8", "fp8"]) -> nn.Module:
    return graft(quantise(model, kind), ARC(rank=50), thaw="head")


def base(address: str) -> nn.Module:
    """The backbone with a head of 100 classes, its own dropout off; what is put on it is in training mode."""
    from inarch.backbones import load

    return load(address, classes=CLASSES, head_init="library").model.eval()


def batch(size: int, number: int = 0) -> Data:
    """The ``number``-th of the same random images and labels every time; the caller's generator is not touched."""
    generator = torch.Generator().manual_seed(number)
    return torch.randn(size, 3, SIDE, SIDE, generator=generator), torch.randint(0, CLASSES, (size,), generator=generator)


def loss(model: nn.Module, data: Data) -> Tensor:
    pixels, labels = data
    return F.cross_entropy(logits(model, pixels), labels)


EIGHT = "weights in eight bits"
GOALS = (
    Goal("P1", "arc", "time", 1.08, size="b"), Goal("P1", "arc", "time", 1.10, size="s"),
    Goal("P1", "arc", "time", 0.97, "lora-peft", "b"), Goal("P1", "arc-dropout", "time", 0.93, "lora-peft-dropout", "b"),
    Goal("P2", "arc", "saved", 1.02, size="b"), Goal("P2", "arc", "saved", 0.86, "lora-peft", "b"),
    Goal("P2", "arc", "saved", 0.58, "vera-peft", "b"),
    Goal("P4", "arc-top6", "time", 0.81, size="b"), Goal("P4", "arc-top6", "saved", 0.52, size="b"),
    Goal("P5", "arc-top6", "epoch", 0.60, size="b"),
    Goal("P6", "arc-recompute", "saved", 0.12, size="b"), Goal("P6", "arc-recompute", "time", 1.40, size="b"),
)
VISION = Family(
    "vision",
    {key: Size(f"config:vit-{key}16", f"ViT-{key.title()}/16", also=f"vit_{key}") for key in ("ti", "s", "b")},
    {
        "floor": Subject("floor (frozen forward + input gradient)", floor),
        "linear": Subject("linear probe", lambda model: graft(model, Linear())),
        "arc": Subject("ARC r=50", lambda model: graft(model, ARC(rank=50), thaw="head")),
        "arc-top6": Subject("ARC r=50, last 6 blocks", lambda model: graft(model, ARC(rank=50, layers="-6:"), thaw="head")),
        "lora": Subject("LoRA r=8 on q, k, v, fc1", lambda model: graft(model, LoRA(LORA_RANK, LORA_TARGETS), thaw="head")),
        "lora-peft": Subject("LoRA r=8 on q, k, v, fc1, through peft", lora_of_peft, "peft"),
        "arc-dropout": Subject("ARC r=50, dropout 0.1", lambda model: graft(model, ARC(rank=50, dropout=0.1), thaw="head")),
        "lora-peft-dropout": Subject("the same LoRA through peft, dropout 0.1", partial(lora_of_peft, dropout=0.1), "peft"),
        "vera-peft": Subject("VeRA r=256 on the same, through peft", vera_of_peft, "peft"),
        "arc-recompute": Subject("ARC r=50, blocks computed again in backward", recomputed),
        "arc-int8": Subject("ARC r=50 over int8 weights", partial(in_eight_bits, kind="int8"), "torchao", EIGHT),
        "arc-fp8": Subject("ARC r=50 over fp8 weights", partial(in_eight_bits, kind="fp8"), "torchao", EIGHT),
        "bitfit": Subject("BitFit", lambda model: graft(model, BitFit(), thaw="head")),
        "full": Subject("full fine-tuning", lambda model: graft(model, Full())),
    },
    base, batch, loss, {"side": SIDE, "classes": CLASSES}, examples=8, unit="image", goals=GOALS,
    epoch=Epoch("arc-top6", ("vision",), batch),
)
