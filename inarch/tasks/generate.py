"""Generation from image and text: the net, and a loss per example that sums up exactly over passes and processes.

    l_i = s_i sum_t CE(z_it, y_it)        loss = sum_i l_i / mass        z [batch, target, vocab], y [batch, target], -100 where padded
    soft     s_i = w_i / T_i      mass = examples        T_i tokens of target i, w_i the weight of the answer that was drawn
    sample   s_i = 1 / T_i        mass = examples
    token    s_i = 1              mass = sum_i T_i
Over an update these are the published batch losses of VQAv2, of GQA, NLVR2 and the video tasks, and of COCO captions.
"""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.methods.hyperformer import choose_task
from inarch.width import HALVES

if TYPE_CHECKING:
    from jaxtyping import Float, Int

PAD = -100  # of labels, as transformers has it


@dataclass(frozen=True, eq=False)
class Prompt:
    """What the net reads: text, image features, the target whose tokens are told one by one, and the name of their task."""

    input_ids: Int[Tensor, "batch text"]
    attention_mask: Int[Tensor, "batch text"]
    features: Float[Tensor, "batch images grid width"]
    labels: Int[Tensor, "batch target"]
    task: str = ""

    def to(self, device: torch.device) -> Prompt:
        ids, mask, features, labels = (t.to(device) for t in (self.input_ids, self.attention_mask, self.features, self.labels))
        return Prompt(ids, mask, features, labels, self.task)

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, eq=False)
class Target:
    """What the net should say, and s_i of each example."""

    labels: Int[Tensor, "batch target"]
    scale: Float[Tensor, " batch"]

    def to(self, device: torch.device) -> Target:
        return Target(self.labels.to(device), self.scale.to(device))

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Choices:
    """``first``: the first token of each choice; ``prefix``: the special tokens that stand before the first word of every target."""

    words: tuple[str, ...]
    first: tuple[int, ...]
    prefix: tuple[int, ...]


class Generator(nn.Module):
    """The one forward of training, scoring and prediction around a vision-language model."""

    def __init__(self, model: nn.Module, precision: str = "fp32") -> None:
        super().__init__()
        self.model, self.precision, self.task = model, precision, ""

    def forward(self, prompt: Prompt) -> Float[Tensor, "batch target vocab"]:
        with self._ready(prompt):
            logits = self.model(prompt.input_ids, prompt.attention_mask, prompt.features, prompt.labels)
        return logits if self.precision == "fp64" else logits.float()

    @torch.no_grad()
    def generate(self, prompt: Prompt, beams: int, max_length: int, pad: int) -> Int[Tensor, "batch length"]:
        """Token ids, padded to ``max_length``, so that every batch is as wide."""
        with self._ready(prompt):
            ids = self.model.generate(  # type: ignore[operator]
                prompt.input_ids, prompt.attention_mask, prompt.features, beams=beams, max_length=max_length)
        return F.pad(ids, (0, max_length - ids.shape[1]), value=pad)

    @torch.no_grad()
    def choose(self, prompt: Prompt, choices: Choices) -> Int[Tensor, "batch one"]:
        """Which choice's first token has the largest logit, at the place where a target's first word is told."""
        told = torch.tensor([[*choices.prefix, choices.first[0]]], device=prompt.input_ids.device).expand(len(prompt), -1)
        logits = self(dataclasses.replace(prompt, labels=told))
        return logits[:, len(choices.prefix), list(choices.first)].argmax(1, keepdim=True)

    def _ready(self, prompt: Prompt) -> AbstractContextManager[None]:
        """The precision to compute in, after a method that has something of its own for every task was told the task."""
        if prompt.task != self.task:
            choose_task(self.model, prompt.task)
            self.task = prompt.task
        if self.precision in HALVES:
            return torch.autocast(prompt.input_ids.device.type, HALVES[self.precision])
        return nullcontext()


def losses(logits: Float[Tensor, "batch target vocab"], target: Target) -> Float[Tensor, " batch"]:
    """l_i, to be summed and divided by the mass of the update."""
    each = F.cross_entropy(logits.flatten(0, 1), target.labels.flatten(), ignore_index=PAD, reduction="none")
    return each.view_as(target.labels).sum(1) * target.scale.to(each.dtype)
