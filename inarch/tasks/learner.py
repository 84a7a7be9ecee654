"""What learns in a run of two towers: images and labels to logits and what keeps them near the frozen model, from kept parts where exact.

    image tower    pixels -> [frozen blocks] -> [adapted blocks] -> f          what the frozen blocks say is kept where no pixel changes
    text tower     names  -> [frozen blocks] -> [adapted blocks] -> w          and of names always
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.backbones.two_tower import TwoTower
from inarch.prefix import Prefix
from inarch.switching import disabled, strength
from inarch.tasks.match import Matcher, Prompts, Said, Shown, Weights, averaged, away, kept_near


@dataclass(frozen=True, eq=False)
class Side:
    """One tower from where something can still change: its pixels or texts, its first adapted block, or its very end."""

    model: TwoTower
    prefix: Prefix

    @property
    def fresh(self) -> bool:
        """Nothing to keep: the first block is adapted, or what comes before it."""
        return self.prefix.first == 0

    @torch.no_grad()
    def record(self, run: Callable[[], Tensor]) -> Tensor:
        """What is kept of one batch; ``run`` gives the tower's feature before its port."""
        return run() if self.prefix.first is None else self.prefix.record(run)[1]

    def feature(self, run: Callable[[], Tensor], kept: Tensor | None, port: nn.Module) -> Tensor:
        """The feature behind its port, from what was kept where something was."""
        if kept is None:
            return port(run())
        if self.prefix.first is None:
            return port(kept)
        with self.prefix.play(kept):
            return port(run())


@dataclass(frozen=True, eq=False)
class Frozen:
    """Of the frozen model: ``names`` w0 ``[C, d]``, ``images`` f0 ``[n, d]`` by row; None: not needed, or not the same in every epoch."""

    names: Tensor | None = None
    images: Tensor | None = None


class Learner(nn.Module):
    """``Shown`` to ``Said``. ``texts``: what the text tower kept of all prompts; ``keeps``: ``Shown.seen`` is what the image tower kept."""

    def __init__(self, net: Matcher, prompts: Prompts, weights: Weights, frozen: Frozen, most: int = 0,
                 texts: Tensor | None = None, keeps: bool = False, side: int = 0) -> None:
        super().__init__()
        self.net, self.prompts, self.weights, self.frozen, self.most = net, prompts, weights, frozen, most
        self.kept_texts, self.keeps, self.side = texts, keeps, side
        self.vision, self.text = (Side(net.model, Prefix(net.model, tower)) for tower in ("vision", "text"))
        self.among: Tensor | None = None  # names that may be compared at present; None: all

    @property
    def model(self) -> TwoTower:
        return self.net.model

    def forward(self, shown: Shown) -> Said:
        names = self.chosen(shown.labels)
        w, f = self.w(names), self.f(shown.seen)
        logits, labels = self.net.scores(f, w), torch.searchsorted(names, shown.labels)
        return Said(logits, labels, self.extra(shown, names, w, f, logits))

    def chosen(self, labels: Tensor) -> Tensor:
        """The names that an update compares with, sorted: all that may be, or those of its images and others by lot."""
        among = torch.arange(len(self.prompts), device=labels.device) if self.among is None else self.among
        if not self.most or self.most >= len(among):
            return among
        own = torch.unique(labels)
        others = among[~torch.isin(among, own)]
        lot = torch.randperm(len(others), device="cpu")[: max(self.most - len(own), 0)].to(labels.device)
        return torch.cat([own, others[lot]]).sort().values

    def w(self, names: Tensor) -> Tensor:
        """Normalised features of these names ``[c, d]``."""
        rows = self.prompts.rows(names)
        tokens = self.prompts.tokens.rows(rows)
        kept = None if self.kept_texts is None else self.kept_texts[rows]
        make, stock = self.model.make, self.model.stock
        with self.net.casting(rows.device):
            found = self.text.feature(lambda: make.text(stock, tokens.ids, tokens.mask), kept, self.model.text_out)
        return averaged(self.net.whole(found), self.prompts.templates)

    def f(self, seen: Tensor) -> Tensor:
        """Normalised features of these images ``[batch, d]``."""
        pixels = seen.new_zeros(len(seen), 3, self.side, self.side) if self.keeps else seen
        make, stock = self.model.make, self.model.stock
        with self.net.casting(seen.device):
            found = self.vision.feature(lambda: make.image(stock, self.net.wide(pixels)),
                                        seen if self.keeps else None, self.model.image_out)
        return F.normalize(self.net.whole(found), dim=-1)

    def extra(self, shown: Shown, names: Tensor, w: Tensor, f: Tensor, logits: Tensor) -> Tensor:
        """``[batch]``: what keeps these features and logits near the frozen model."""
        weights = self.weights
        w0 = None if self.frozen.names is None else self.frozen.names[names]
        f0 = self._frozen_images(shown) if weights.of_images else None
        logits0 = self.net.scores(f0, w0) if weights.logits and f0 is not None and w0 is not None else None
        extra = kept_near(weights, w, w0, f, f0, logits, logits0)
        return extra + weights.scale * self._scaled(shown, names, w, f) if weights.scale else extra

    def _frozen_images(self, shown: Shown) -> Tensor:
        if self.frozen.images is not None:
            return self.frozen.images[shown.rows]
        with torch.no_grad(), disabled(self.model):
            return self.f(shown.seen)

    def _scaled(self, shown: Shown, names: Tensor, w: Tensor, f: Tensor) -> Tensor:
        """``[batch]``: how far the features are from those at a random part of the adapters' scale."""
        with torch.no_grad(), strength(self.model, float(torch.rand(()))):
            w_then, f_then = self.w(names), self.f(shown.seen)
        return away(f, f_then) + away(w, w_then).mean()


def described(learner: Learner) -> dict[str, Any]:
    """Which parts are kept, for the record."""
    return {"texts": learner.kept_texts is not None, "images": learner.keeps}
