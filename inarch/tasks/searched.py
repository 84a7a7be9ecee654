"""Images and captions that are to find each other, as a part to be scored; and any part scored twice, to see what was retained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from inarch.backbones.two_tower import TwoTower
from inarch.data.fewshot import CaptionTable
from inarch.errors import TrainingDiverged
from inarch.switching import disabled
from inarch.tasks.classify import scalars
from inarch.tasks.contrast import Pairs, recalls
from inarch.tasks.match import Matcher, Prompts
from inarch.tasks.named import NamedPart
from inarch.tasks.task import Part, Tick
from inarch.tasks.towers import features_of
from inarch.training.feed import ImageFeed

HEADLINE = "recall"


class Features(NamedTuple):
    """Normalised, of the images and of the distinct texts of a part."""

    images: Tensor
    texts: Tensor


@dataclass(frozen=True, eq=False)
class CaptionPart:
    """Images and captions to be found by each other."""

    name: str
    feed: ImageFeed
    table: CaptionTable
    batch: int

    @property
    def pairs(self) -> Pairs:
        return Pairs.of(self.table)

    def found(self, engine: Any, net: nn.Module, tick: Tick | None = None) -> Features:
        matcher: Matcher = net if isinstance(net, Matcher) else net.net  # type: ignore[assignment]  # what learns has it inside
        matcher.eval()
        texts = matcher.features(prompts(matcher.model, self.pairs.texts).to(engine.device))
        found = Features(features_of(self.feed, matcher, engine, self.batch, tick), texts.cpu())
        if not all(torch.isfinite(part).all() for part in found):
            raise TrainingDiverged(f"{self.name}: features are not finite; train again with a smaller lr, or in precision fp32")
        return found

    def metrics(self, found: Features) -> dict[str, Any]:
        counts = {"images": len(found.images), "texts": len(found.texts), "captions": len(self.table.captions)}
        return {"n": len(found.images), **counts, **recalls(*found, self.pairs.has)}

    def close(self) -> None:
        self.feed.close()


class Both(NamedTuple):
    """What the adapted model says, and what the frozen one said."""

    now: Any
    before: Any


@dataclass(frozen=True, eq=False)
class Retained:
    """A part scored twice: as the model is now, and with its adapters off (``frozen``); ``change`` is now minus frozen."""

    part: Part

    @property
    def name(self) -> str:
        return self.part.name

    def found(self, engine: Any, net: Any, tick: Tick | None = None) -> Both:
        now = self.part.found(engine, net, tick)
        with disabled(net.model):
            return Both(now, self.part.found(engine, net, tick))

    def metrics(self, found: Both) -> dict[str, Any]:
        now, before = (self.part.metrics(each) for each in found)
        keys = [key for key in scalars(now) if isinstance(now[key], float)]
        return now | {"frozen": {key: before[key] for key in keys}, "change": {key: now[key] - before[key] for key in keys}}

    def close(self) -> None:
        self.part.close()


def arrays(part: Part, both: Both) -> dict[str, np.ndarray]:
    """Features of images and texts with who belongs to whom, or logits with labels; of both models."""
    if isinstance(part, NamedPart):
        return {"logits": both.now, "frozen_logits": both.before, "labels": part.table.labels,
                "names": np.array(part.table.names, dtype=np.str_), "classes": np.array(part.classes, dtype=np.str_)}
    assert isinstance(part, CaptionPart)
    pairs = part.pairs
    kept = {"images": both.now.images, "texts": both.now.texts, "frozen_images": both.before.images, "frozen_texts": both.before.texts}
    return {key: value.float().numpy() for key, value in kept.items()} | {
        "captions": np.array(pairs.texts, dtype=np.str_), "names": np.array(part.table.images.names, dtype=np.str_),
        "text": pairs.text.numpy(), "image": pairs.image.numpy()}


def retention(numbers: dict[str, Any]) -> dict[str, Any]:
    """The headline now, of the frozen model, and the difference; fractions."""
    key = HEADLINE if HEADLINE in numbers else "accuracy"
    return {"metric": key, "now": numbers[key], "frozen": numbers["frozen"][key], "change": numbers["change"][key]} if numbers else {}


def prompts(model: TwoTower, texts: Sequence[str]) -> Prompts:
    """Captions as they are; ``ConfigError`` naming one that is too long for the text tower."""
    return Prompts(model.tokens([*texts]), 1)
