"""``evaluate``: the numbers of a finished run, from its folder alone: backbone, adapter, classes and preprocessing as trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import inarch
from inarch import backbones
from inarch.data import ImageSet, Table, Transform
from inarch.errors import ConfigError, DataError, Incomplete, Mismatch, nearest
from inarch.recipe import Recipe
from inarch.run import Card, Run
from inarch.tasks.classify import Classifier, score
from inarch.training.job import read_data

PARTS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """A trained model as it stood at the end of its run, in evaluation mode."""

    run: Run
    recipe: Recipe
    card: Card
    classifier: Classifier
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
    backbone = backbones.load(found.locate(recipe.backbone, card.base), classes=len(card.classes), image_size=recipe.image_size,
                              seed=recipe.seed, head_init=recipe.head_init)
    model = backbone.model.double() if recipe.precision == "fp64" else backbone.model
    extra = inarch.load(model, found.adapter)
    if (extra.get("classes"), extra.get("preprocess")) != ([*card.classes], card.preprocess):
        raise Mismatch(f"{found.adapter} and {found.card_file} disagree on classes or preprocessing; restore the run folder")
    return Rebuilt(found, recipe, card, Classifier(model, recipe.precision).to(where).eval(), where)


def evaluate(run: str | Path, split: Literal["train", "val", "test"] = "test", *, data: str | None = None, device: str = "auto",
             batch_size: int | None = None, progress: Any = None) -> dict[str, Any]:
    """Metrics of a run on a part of its own data, or of other ``data`` with the same classes; ``progress(done, total)`` ticks.

    Raises ``DataError`` when the run's data is not what it was, or has no such part.
    """
    if split not in PARTS:
        raise ConfigError(f"split={split!r}; {nearest(split, PARTS)}")
    rebuilt = rebuild(run, device)
    table = _table(rebuilt, split, data)
    logits = table_logits(rebuilt, table, batch_size or rebuilt.recipe.eval_batch_size, progress)
    return score(logits, table.labels, rebuilt.card.classes, rebuilt.card.multilabel)


def _table(rebuilt: Rebuilt, split: str, data: str | None) -> Table:
    card = rebuilt.card
    address = data or rebuilt.run.locate(rebuilt.recipe.data, card.base)
    splits = read_data(rebuilt.recipe, address, card.classes)
    if data is None and splits.sha256 != card.data["sha256"]:
        raise DataError(f"{address} is not the data this run was trained on (sha256 {splits.sha256[:12]}, then "
                        f"{card.data['sha256'][:12]}); restore it, or score it on purpose with data={address!r}")
    table = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
    if table is None or not len(table):
        there = [part for part in PARTS if getattr(splits, part) is not None]
        raise DataError(f"{address} has no {split} part; found: {', '.join(there)}")
    return table


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
    return rebuilt.classifier(pixels.to(rebuilt.device)).cpu().numpy()


__all__ = ["Rebuilt", "evaluate", "rebuild"]
