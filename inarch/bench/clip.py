"""The clip family: CLIP ViT-B/16 with random weights, images told apart by names, adapters in the last eight blocks of both towers.

    floor   a frozen forward, and the gradient of every activation from block 4 of each tower on: there the first adapter stands
    beside  the same from block 5 on: an adapter beside whole blocks edits what leaves block 4, inside which no gradient is needed
The text tower reads all names in every step, so its share does not grow with the batch: it is in "fixed". CLIP-LoRA as published
adapts every block and so pays for gradients below that floor; it stands beside itself with the same eight blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch import anatomy
from inarch.backbones.two_tower import Tokens
from inarch.bench.goals import Goal
from inarch.bench.subjects import Data, Epoch, Family, Size, Subject
from inarch.bench.vl import trained
from inarch.grafting import graft
from inarch.methods import MMA, AdaRing, Frozen, LoRA

SIDE, NAMES, WORDS = 224, 20, 16  # pixels; names; tokens of "a photo of a NAME." and its ends
TOP = 8  # adapted blocks of each tower
FIRST_WORD, LAST_WORD, END = 1, 49_000, 49_407  # ids of CLIP's vocabulary
CLIP_LORA: dict[str, Any] = {"rank": 2, "targets": ("q", "k", "v"), "alpha": 1, "dropout": 0.25, "scaling": "sqrt"}  # as published


class AskGradient:
    """Pre-hook of a block: its input, frozen until here, becomes a leaf that wants a gradient."""

    def __call__(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (args[0].detach().requires_grad_(), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": kwargs["hidden_states"].detach().requires_grad_()}


def asked(top: int) -> Callable[[nn.Module], nn.Module]:
    """Frozen, with the gradient of every activation in the last ``top`` blocks of each tower."""
    return partial(_asked, top=top)


def _asked(model: nn.Module, top: int) -> nn.Module:
    graft(model, Frozen())
    towers: dict[str, list[nn.Module]] = {}
    for block in anatomy.blocks(model):
        if block.row.matrices:
            towers.setdefault(block.tower, []).append(block.module)
    for blocks in towers.values():
        blocks[-min(top, len(blocks))].register_forward_pre_hook(AskGradient(), with_kwargs=True)
    return model


def base(address: str, side: int) -> nn.Module:
    from inarch.backbones import load

    return load(address, image_size=side).model.eval().requires_grad_(False)


def batch(size: int, number: int = 0, *, side: int) -> Data:
    """The ``number``-th of the same random batches every time; the names are the same in all of them."""
    generator, names = (torch.Generator().manual_seed(seed) for seed in (number + 1, 0))
    ids = torch.randint(FIRST_WORD, LAST_WORD, (NAMES, WORDS), generator=names)
    ids[:, -1] = END
    return torch.randn(size, 3, side, side, generator=generator), Tokens(ids), torch.randint(0, NAMES, (size,), generator=generator)


def loss(model: nn.Module, data: Data) -> Tensor:
    pixels, tokens, labels = data
    return F.cross_entropy(model(pixels, tokens), labels)


def family(side: int = SIDE) -> Family:
    """With images of ``side`` pixels."""
    return Family(
        "clip",
        {"b": Size("config:clip-vit-b16", "CLIP ViT-B/16, both towers")},
        {
            "floor": Subject("floor (frozen forward + input gradient from block 4 on)", asked(TOP)),
            "beside": Subject("least beside blocks (the same from block 5 on)", asked(TOP - 1)),
            "adaring": Subject("AdaRing 1, 2, 4, last 8 blocks", trained(AdaRing())),
            "adaring-dense": Subject("AdaRing 1, 2, 4, last 8 blocks, dense path", trained(AdaRing(path="dense"))),
            "mma": Subject("MMA r=32, last 8 blocks", trained(MMA())),
            "lora-top8": Subject("CLIP-LoRA r=2 on q, k, v, last 8 blocks", trained(LoRA(**CLIP_LORA, layers=f"-{TOP}:"))),
            "lora": Subject("CLIP-LoRA r=2 on q, k, v, all 12 blocks", trained(LoRA(**CLIP_LORA))),
        },
        partial(base, side=side), partial(batch, side=side), loss, {"side": side, "names": NAMES, "words": WORDS}, examples=4,
        unit="image", shape="{side} px, {names} names of {words} tokens", resized=family, goals=GOALS,
        epoch=Epoch("adaring", ("vision", "text"), partial(batch, side=side)),
    )


GOALS = (
    Goal("P3", "adaring", "saved", 1.10), Goal("P3", "adaring", "time", 1.12),
    Goal("P3, strictly", "adaring", "saved", 1.10, "beside"), Goal("P3, strictly", "adaring", "time", 1.12, "beside"),
    Goal("P3", "adaring", "saved", 1.0, "mma"), Goal("P3", "adaring", "time", 1.0, "mma"),
)
CLIP = family()
