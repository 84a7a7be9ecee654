"""Images to be told apart by the names of their classes: a part of one's own data, or of other data that a run never learned."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from torch import nn

from inarch.data import Table, Transform
from inarch.data.fewshot import FewShot, read_fewshot
from inarch.errors import DataError
from inarch.preprocess import Preprocess
from inarch.recipe import Recipe
from inarch.tasks.classify import score
from inarch.tasks.match import Matcher, prompts_of
from inarch.tasks.task import Feed, Tick
from inarch.tasks.wording import templates
from inarch.training import score as scoring
from inarch.training.feed import ImageFeed


@dataclass(frozen=True, eq=False)
class NamedPart:
    """Images to be told apart by the names of their classes."""

    name: str
    feed: Feed
    table: Table
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    batch: int

    def found(self, engine: Any, net: nn.Module, tick: Tick | None = None) -> np.ndarray:
        matcher: Matcher = net if isinstance(net, Matcher) else net.net  # type: ignore[assignment]  # what learns has it inside
        matcher.eval()
        with matcher.naming(prompts_of(matcher.model, self.classes, self.templates)):
            return scoring.logits(engine, matcher, self.feed, self.batch, self.name, self.table.names, tick)

    def metrics(self, found: np.ndarray) -> dict[str, Any]:
        return score(found, self.table.labels, self.classes, False)

    def close(self) -> None:
        self.feed.close()


def transferred(recipe: Recipe, address: str, view: Preprocess, taken: set[str]) -> NamedPart:
    """The test images of other data, to be told apart by all its class names; named after it, numbered where that name is taken."""
    other = opened(recipe, address, None, everything=True)
    half = other.learn()
    if half.test is None:
        raise DataError(f"transfer: {other.source} has no test images")
    name = next(name for k in count(1) if (name := other.dataset + (f"-{k}" if k > 1 else "")) not in taken)
    feed = ImageFeed(half.test, Transform(view), recipe.seed, recipe.workers)
    return NamedPart(name, feed, half.test, half.classes, templates(recipe, other.dataset), recipe.eval_batch_size)


def opened(recipe: Recipe, address: str, tick: Tick | None, everything: bool = False) -> FewShot:
    """The recipe's data, or with ``everything`` other data with all its classes."""
    return read_fewshot(address, shots=recipe.shots, seed=recipe.seed, protocol="all" if everything else recipe.protocol,  # type: ignore[arg-type]
                        on_bad_image=recipe.on_bad_image, val_fraction=recipe.val_fraction, test_fraction=recipe.test_fraction or 0.2,
                        progress=tick)
