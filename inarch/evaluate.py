"""``evaluate``: the numbers of a finished run, from its folder alone: backbone, adapter, classes and preprocessing as trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from inarch.data import ImageSet, Table, Transform
from inarch.errors import ConfigError, Incomplete, Mismatch, nearest
from inarch.planting import planting
from inarch.recipe import Recipe
from inarch.run import Card, Run
from inarch.tasks import task_of
from inarch.tasks.task import Start
from inarch.training.score import Alone
from inarch.width import narrowed, widened

PARTS = ("train", "val", "test", "novel")


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """A trained model as it stood at the end of its run, in evaluation mode; ``net`` is what the run trained and scored."""

    run: Run
    recipe: Recipe
    card: Card
    net: Any
    device: torch.device


def device_named(name: str) -> torch.device:
    """``auto`` is the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not usable.get(name.partition(":")[0]):
        here = ", ".join(known for known, there in usable.items() if there)
        raise ConfigError(f"device={name!r} is not usable here; expected auto, {here}")
    return torch.device(name)


def rebuild(run: str | Path, device: str = "cpu") -> Rebuilt:
    """Backbone, adapter and head of a run folder; refuses an unfinished run, a damaged file, another backbone."""
    found = Run(run)
    recipe, card, where = found.recipe(), found.card(), device_named(device)
    if not found.adapter.is_dir():
        raise Incomplete(f"{run} has no adapter yet; finish it by `inarch train --resume {run}`")
    kind = task_of(recipe)
    backbone = kind.load(recipe, card, found.locate(recipe.backbone, card.base))
    model = widened(backbone.model, recipe)
    extra = planting(recipe.method_config()).load(model, found.adapter, recipe.seed)
    if (extra.get("classes"), extra.get("preprocess")) != ([*card.classes], card.preprocess):
        raise Mismatch(f"{found.adapter} and {found.card_file} disagree on classes or preprocessing; restore the run folder")
    narrowed(model, recipe)
    net = kind.net(model, recipe).to(where).eval()
    kind.ready(net, recipe, card)
    return Rebuilt(found, recipe, card, net, where)


def evaluate(run: str | Path, split: Literal["train", "val", "test", "novel"] = "test", *, data: str | None = None, device: str = "auto",
             batch_size: int | None = None, progress: Any = None) -> dict[str, Any]:
    """Metrics of a run on a part of its own data, or of other ``data`` of the same kind; ``progress(done, total)`` ticks.

    Raises ``DataError`` when the run's data is not what it was, or has no such part.
    """
    if split not in PARTS:
        raise ConfigError(f"split={split!r}; {nearest(split, PARTS)}")
    rebuilt = rebuild(run, device)
    engine, recipe = Alone(rebuilt.device), rebuilt.recipe
    start = Start(recipe, rebuilt.run, engine, rebuilt.card)
    if split == "novel" and recipe.kind != "match":
        raise ConfigError("split='novel' is of a few-shot run with held-back classes; this run has train, val and test")
    part = task_of(recipe).again(start, rebuilt.net, split, data, batch_size or recipe.eval_batch_size)
    try:
        return part.metrics(part.found(engine, rebuilt.net, progress))
    finally:
        part.close()


def table_logits(rebuilt: Rebuilt, table: Table, batch_size: int, progress: Any = None) -> np.ndarray:
    """``[n, classes]``, in batches of ``batch_size`` in the table's order, each image read when it is needed."""
    images = ImageSet(table, Transform(rebuilt.card.view), rebuilt.recipe.seed)
    pieces = []
    for start in range(0, len(table), batch_size):
        rows = range(start, min(start + batch_size, len(table)))
        pieces.append(forward(rebuilt, torch.stack([images[i][0] for i in rows])))
        if progress is not None:
            progress(rows.stop, len(table))
    return np.concatenate(pieces)


@torch.no_grad()
def forward(rebuilt: Rebuilt, pixels: torch.Tensor) -> np.ndarray:
    """Logits of one batch."""
    return rebuilt.net(pixels.to(rebuilt.device)).cpu().numpy()


__all__ = ["Rebuilt", "evaluate", "rebuild"]
