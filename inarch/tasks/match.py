"""Images matched with names: the one forward of training, scoring and prediction, and the losses that keep it near the frozen model.

    f = images / |images|  [batch, d]     w_c = mean over templates of texts / |texts|, normalised again  [C, d]
    logits = e^scale f w^T                 loss_i = CE(logits_i, y_i) + extra_i
    extra_i = a_t mean_c (1 - w_c.w0_c) + a_v (1 - f_i.f0_i) + a_k KL(softmax(logits0_i) || softmax(logits_i))
            + a_s [(1 - f_i.f'_i) + mean_c (1 - w_c.w'_c)]
w0, f0: of the same model with its adapters off. w', f': with its adapters at a random part of their scale, without gradient. Our own
definition of the abstract's "generalization-aware fine-tuning", from the losses of PromptSRC, CoPrompt, TCP and MMA++.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.backbones.two_tower import Tokens, TwoTower
from inarch.data.fewshot import prompts as written
from inarch.errors import ConfigError
from inarch.width import HALVES

TEXTS = 256  # encoded at a time where nothing is learned


@dataclass(frozen=True, eq=False)
class Prompts:
    """The texts of some names, name by name, ``templates`` of each."""

    tokens: Tokens
    templates: int

    def __len__(self) -> int:
        return len(self.tokens.ids) // self.templates

    def rows(self, names: Tensor) -> Tensor:
        """Rows of the texts of these names."""
        return (names[:, None] * self.templates + torch.arange(self.templates, device=names.device)).flatten()

    def to(self, device: torch.device) -> Prompts:
        return Prompts(self.tokens.to(device), self.templates)


def prompts_of(model: TwoTower, names: Sequence[str], templates: Sequence[str]) -> Prompts:
    """Every template filled with every name; ``ConfigError`` naming a prompt that is too long for the text tower."""
    each = [written(names, template) for template in templates]
    return Prompts(model.tokens([text for texts in zip(*each, strict=True) for text in texts]), len(templates))


def averaged(texts: Tensor, templates: int) -> Tensor:
    """Of features ``[C templates, d]``: normalised, averaged per name, normalised again ``[C, d]``."""
    w = F.normalize(texts, dim=-1)
    return w if templates == 1 else F.normalize(w.unflatten(0, (-1, templates)).mean(1), dim=-1)


class Matcher(nn.Module):
    """Pixels to logits ``[batch, C]`` over the names at hand, which ``naming`` or ``name`` gives."""

    def __init__(self, model: nn.Module, precision: str = "fp32") -> None:
        super().__init__()
        if not isinstance(model, TwoTower):
            raise ConfigError(f"{type(model).__name__} has one tower; images are matched with names by two, such as "
                              "clip:openai/clip-vit-base-patch16")
        self.model: TwoTower = model
        self.precision = precision
        self.names: Tensor | None = None

    def forward(self, pixels: Tensor) -> Tensor:
        if self.names is None:
            raise ConfigError("no class names: say which with inarch.tasks.match.Matcher.name(prompts)")
        return self.scores(self.seen(pixels), self.names)

    def seen(self, pixels: Tensor) -> Tensor:
        """f ``[batch, d]``, normalised."""
        with self.casting(pixels.device):
            found = self.model.images(self.wide(pixels))
        return F.normalize(self.whole(found), dim=-1)

    def wide(self, pixels: Tensor) -> Tensor:
        """As the image tower takes them."""
        return pixels.double() if self.precision == "fp64" else pixels

    def whole(self, found: Tensor) -> Tensor:
        """Features in single precision where they were computed in half."""
        return found.float() if self.precision in HALVES else found

    def scores(self, f: Tensor, w: Tensor) -> Tensor:
        """Logits of normalised features."""
        return self.model.logits(f, w)

    def casting(self, device: torch.device) -> Any:
        return torch.autocast(device.type, HALVES[self.precision]) if self.precision in HALVES else nullcontext()

    @torch.no_grad()
    def features(self, prompts: Prompts) -> Tensor:
        """w ``[C, d]`` as the model is now."""
        ids = torch.arange(len(prompts.tokens.ids)).split(TEXTS)
        with self.casting(prompts.tokens.ids.device):
            found = torch.cat([self.model.texts(prompts.tokens.rows(rows.to(prompts.tokens.ids.device))) for rows in ids])
        return averaged(self.whole(found), prompts.templates)

    def name(self, prompts: Prompts) -> Matcher:
        """From now on these names, as the model is now."""
        self.names = self.features(prompts.to(self.model.scale.device))
        return self

    @contextmanager
    def naming(self, prompts: Prompts) -> Iterator[Matcher]:
        """These names for a moment."""
        before = self.names
        try:
            yield self.name(prompts)
        finally:
            self.names = before


class Shown(NamedTuple):
    """What a learner is given: ``seen`` pixels, or what a tower kept of them; ``labels`` and ``rows`` of the table ``[batch]``."""

    seen: Tensor
    labels: Tensor
    rows: Tensor

    def to(self, device: torch.device) -> Shown:
        return Shown(*(part.to(device) for part in self))


class Said(NamedTuple):
    """``logits [batch, c]`` among the names that were compared, ``labels`` the right ones of them, ``extra [batch]`` beside the loss."""

    logits: Tensor
    labels: Tensor
    extra: Tensor


@dataclass(frozen=True)
class Weights:
    """a_t, a_v, a_k and a_s."""

    text: float = 0.0
    image: float = 0.0
    logits: float = 0.0
    scale: float = 0.0

    @property
    def of_images(self) -> bool:
        """Whether f0 is needed."""
        return bool(self.image or self.logits)


def kept_near(weights: Weights, w: Tensor, w0: Tensor | None, f: Tensor, f0: Tensor | None,
              logits: Tensor, logits0: Tensor | None) -> Tensor:
    """``[batch]``: the terms of ``extra`` that compare with the frozen model."""
    extra = logits.new_zeros(len(f))
    if weights.text:
        extra = extra + weights.text * away(w, w0).mean()
    if weights.image:
        extra = extra + weights.image * away(f, f0)
    if weights.logits and logits0 is not None:
        then, now = torch.log_softmax(logits0, dim=-1), torch.log_softmax(logits, dim=-1)
        extra = extra + weights.logits * (then.exp() * (then - now)).sum(-1)
    return extra


def away(a: Tensor, b: Tensor | None) -> Tensor:
    """``1 - cosine`` of normalised rows."""
    assert b is not None  # computed wherever its weight is not zero
    return 1 - (a * b).sum(-1)
