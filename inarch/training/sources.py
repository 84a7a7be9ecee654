"""What is trained, and what feeds it: the whole model on images, or its lone linear head on features computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from inarch.data import Table
from inarch.tasks.classify import Classifier
from inarch.training.features import lone_head, tapped
from inarch.training.feed import FeatureFeed, Feed, ImageFeed
from inarch.training.job import Job
from inarch.training.score import Tick, collect


@dataclass(frozen=True, eq=False)
class Sources:
    """``net`` learns from ``feed`` and is watched on ``val`` (None: there is nothing to watch on)."""

    net: nn.Module
    feed: Feed
    val: Feed | None


def plain(job: Job, table: Table) -> ImageFeed:
    """The images of a table without augmentation."""
    return ImageFeed(table, job.transform(), job.recipe.seed, job.recipe.workers)


def sources(engine: Any, job: Job, classifier: Classifier, tick: Tick | None = None) -> Sources:
    """Features where that is exact and asked for, images otherwise."""
    recipe = job.recipe
    val = None if job.val is None else plain(job, job.val)
    quiet = recipe.augment == "none" and not recipe.backbone_noise
    head = lone_head(job.model) if recipe.cache_features and quiet else None
    if head is not None:
        feed = features(engine, classifier, head, plain(job, job.table), recipe.eval_batch_size, tick)
        watched = features(engine, classifier, head, val, recipe.eval_batch_size, tick) if val and feed else None
        if feed is not None and (watched is not None) == (val is not None):
            return Sources(Classifier(head, recipe.precision), feed, watched)
    return Sources(classifier, ImageFeed(job.table, job.transform(recipe.augment), recipe.seed, recipe.workers), val)


def features(
    engine: Any, classifier: Classifier, head: nn.Linear, feed: ImageFeed, batch: int, tick: Tick | None
) -> FeatureFeed | None:
    """The head's input for every image; None where the head's output is not the whole of the logits."""
    exact: list[bool] = []

    def compute(pixels: Tensor) -> Tensor:
        found, whole = tapped(classifier, head, pixels)
        exact.append(whole)
        return found

    classifier.eval()
    try:
        found = collect(engine, feed, batch, compute, tick)
    finally:
        feed.close()
    return FeatureFeed(feed.table, found) if all(exact) else None
