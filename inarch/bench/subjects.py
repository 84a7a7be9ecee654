"""What is measured: vision transformers with random weights, and the ways to train them.

    floor   everything frozen but the head, and the first block's input asks for its gradient:
            frozen forward + input-gradient backward, the least that any method with trained parts in block 0 can do
Every method trains the head too. A new row here is a new line in every table.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inarch import anatomy, roles
from inarch.errors import ConfigError, nearest, need
from inarch.grafting import graft
from inarch.methods import ARC, BitFit, Full, Linear, LoRA

MODELS = {"ti": "config:vit-ti16", "s": "config:vit-s16", "b": "config:vit-b16"}
CLASSES = 100
SIDE = 224
LORA_RANK = 8
LORA_TARGETS = ("q", "k", "v", "fc1")  # what ARC's folds read: qkv and the first MLP matrix


@dataclass(frozen=True)
class Subject:
    """A way to train: ``label`` for tables, ``prepare`` changes a fresh model into it."""

    label: str
    prepare: Callable[[nn.Module], nn.Module]


class AskGradient:
    """Pre-hook of the first block: its input, frozen until here, becomes a leaf that wants a gradient."""

    def __call__(self, block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].detach().requires_grad_(), *args[1:])


def floor(model: nn.Module) -> nn.Module:
    graft(model, Linear())
    anatomy.blocks(model)[0].module.register_forward_pre_hook(AskGradient())
    return model


def lora_of_peft(model: nn.Module) -> nn.Module:
    """LoRA on the same matrices through ``peft``, as its users call it."""
    if importlib.util.find_spec("peft") is None:
        raise need("peft", "peft")
    from peft import LoraConfig, get_peft_model

    targets = sorted({site.span.readers[0].module for site in anatomy.sites(model, LORA_TARGETS)})
    pattern = rf".*\.({'|'.join(target.replace('.', '[.]') for target in targets)})"
    (head,) = roles.head_paths(model)
    wrapped = get_peft_model(model, LoraConfig(r=LORA_RANK, lora_alpha=LORA_RANK, target_modules=pattern))
    wrapped.get_submodule(f"base_model.model.{head}").requires_grad_(True)
    return wrapped


SUBJECTS = {
    "floor": Subject("floor (frozen forward + input gradient)", floor),
    "linear": Subject("linear probe", lambda model: graft(model, Linear())),
    "arc": Subject("ARC r=50", lambda model: graft(model, ARC(rank=50), thaw="head")),
    "arc-top6": Subject("ARC r=50, last 6 blocks", lambda model: graft(model, ARC(rank=50, layers="-6:"), thaw="head")),
    "lora": Subject("LoRA r=8 on q, k, v, fc1", lambda model: graft(model, LoRA(LORA_RANK, LORA_TARGETS), thaw="head")),
    "lora-peft": Subject("LoRA r=8 on q, k, v, fc1, through peft", lora_of_peft),
    "bitfit": Subject("BitFit", lambda model: graft(model, BitFit(), thaw="head")),
    "full": Subject("full fine-tuning", lambda model: graft(model, Full())),
}


def chosen(names: list[str] | None) -> list[str]:
    """The floor first, then the wished methods in table order; by default all, without peft's where peft is absent."""
    if names is None:
        return [name for name in SUBJECTS if name != "lora-peft" or importlib.util.find_spec("peft") is not None]
    for name in names:
        if name not in SUBJECTS:
            raise ConfigError(f"bench: no method {name!r}; {nearest(name, SUBJECTS)}")
    return [name for name in SUBJECTS if name in names or name == "floor"]


def known_model(name: str) -> None:
    if name not in MODELS:
        raise ConfigError(f"bench: no model {name!r}; {nearest(name, MODELS)}")


def base(model: str) -> nn.Module:
    """The backbone ``ti``, ``s`` or ``b`` with random weights and a head of 100 classes, in training mode."""
    from inarch.backbones import load

    return load(MODELS[model], classes=CLASSES, head_init="library").model.train()


def prepared(like: nn.Module, name: str) -> nn.Module:
    """A copy of the base, made ready to be trained as ``name`` says."""
    return SUBJECTS[name].prepare(copy.deepcopy(like))


def batch(size: int) -> tuple[Tensor, Tensor]:
    """The same random images and labels every time; the caller's generator is not touched."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, SIDE, SIDE, generator=generator), torch.randint(0, CLASSES, (size,), generator=generator)
