"""The vision-language family: BART-base with random weights reads a question and the features of a picture and tells an answer.

The visual projector trains in every method, as published, so the floor needs no more: everything else frozen, the gradient of every
activation from the encoder's first layer on. The backbone's own dropout is off, in the floor and in every method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.adapter import Method
from inarch.bench.goals import Figure, Goal
from inarch.bench.subjects import Data, Family, Size, Subject
from inarch.grafting import graft
from inarch.methods import VLPET, BitFit, Bottleneck, Compacter, Frozen, Full, HyperFormer, LoRA, Prompt
from inarch.methods.hyperformer import choose_task
from inarch.switching import rebuild

TEXT, VISUAL, TARGET, WIDTH = 20, 36, 5, 2048  # tokens of a VQAv2 question, of a picture, of an answer; CLIP RN101's features
WORDS = 50265  # ids below the visual words
EVERYWHERE: Any = ("attn", "mlp", "cross")
Q_AND_V = ("q", "v", "cross.q", "cross.v")
TASKS = ("vqa", "gqa", "nlvr", "caption")


def trained(method: Method, thaw: str | tuple[str, ...] = ()) -> Callable[[nn.Module], nn.Module]:
    """The base stays in evaluation mode, the adapters train."""
    def prepare(model: nn.Module) -> nn.Module:
        graft(model, method, thaw=thaw)
        choose_task(model, TASKS[0])
        cast(nn.Module, model.inarch).train()
        return model
    return prepare


def kept(model: nn.Module) -> nn.Module:
    return rebuild(trained(VLPET(gate="large"))(model), False)


def base(address: str) -> nn.Module:
    from inarch.backbones import load

    return load(address).model


def batch(size: int) -> Data:
    """The same random questions, features and answers every time, none of them padded."""
    generator = torch.Generator().manual_seed(0)
    ids, labels = (torch.randint(4, WORDS, (size, tokens), generator=generator) for tokens in (TEXT, TARGET))
    return ids, torch.ones_like(ids), torch.randn(size, 1, VISUAL, WIDTH, generator=generator), labels


def loss(model: nn.Module, data: Data) -> Tensor:
    return F.cross_entropy(model(*data).flatten(0, 1), data[-1].flatten())


def tell(model: nn.Module, data: Data, tokens: int) -> Tensor:
    """Greedy, cached, exactly so many tokens after the start token."""
    return model.generate(*data[:3], max_length=tokens + 1, min_length=tokens + 1)  # type: ignore[operator]


P3: tuple[tuple[Figure, float], ...] = (("saved", 1.10), ("time", 1.12))
GOALS = (*(Goal("P3", f"vlpet-{gate}", figure, most) for gate in ("large", "middleX", "middleY", "small") for figure, most in P3),
         Goal("P3, bytes aside", "vlpet-large-kept", "time", 1.12))
VL = Family(
    "vl",
    {"bart": Size("config:vl-bart-base", "BART-base with visual tokens")},
    {
        "floor": Subject("floor (frozen forward + input gradient)", trained(Frozen())),
        "vlpet-small": Subject("VL-PET small", trained(VLPET(gate="small"))),
        "vlpet-middleX": Subject("VL-PET middleX", trained(VLPET(gate="middleX"))),
        "vlpet-middleY": Subject("VL-PET middleY", trained(VLPET(gate="middleY"))),
        "vlpet-large": Subject("VL-PET large", trained(VLPET(gate="large"))),
        "vlpet-large-kept": Subject("VL-PET large, nothing made again", kept),
        "bottleneck": Subject("bottleneck r=96, every norm", trained(Bottleneck(spans=EVERYWHERE), "norms")),
        "compacter": Subject("Compacter r=96, every norm", trained(Compacter(spans=EVERYWHERE), "norms")),
        "lora": Subject("LoRA r=128 on q, v, every bias", trained(LoRA(128, Q_AND_V, alpha=32, dropout=0.1), "biases")),
        "hyperformer": Subject("HyperFormer r=96, every norm", trained(HyperFormer(tasks=TASKS), "norms")),
        "prompt": Subject("prompt tuning, 40 vectors", trained(Prompt())),
        "bitfit": Subject("BitFit", trained(BitFit())),
        "full": Subject("full fine-tuning", trained(Full())),
    },
    base, batch, loss, {"text": TEXT, "visual": VISUAL, "target": TARGET}, examples=4, unit="example", tell=tell,
    shape="{text} text tokens, {visual} visual tokens, {target} target tokens", goals=GOALS,
)
