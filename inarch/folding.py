"""``fold_run``: a run's adapter folded into its backbone, written as a plain model folder, and proved on images.

    grafted logits  =  merged logits  =  logits of the folder, loaded again without any adapter
The first equality is checked on a few images before anything is written, both on all of them after.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import inarch
from inarch import backbones
from inarch.backbones import Backbone
from inarch.data import Table
from inarch.errors import CannotFold, DataError
from inarch.evaluate import Rebuilt, forward, rebuild, table_logits
from inarch.export import export_native
from inarch.run import Run
from inarch.tasks.classification import read_data
from inarch.tasks.classify import Classifier, headline, score

TOLERANCE = {"fp64": 1e-9, "fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}  # of the largest logit
FEW = 16  # images to check before writing, and of random pixels where the data is out of reach


@dataclass(frozen=True)
class Folded:
    """``difference``: the largest of any logit, before to after; ``metric``: its name and both values, None on random pixels."""

    folder: Path
    difference: float
    images: int
    same: int  # images whose likeliest class did not change
    data: str
    metric: tuple[str, float, float] | None

    def __str__(self) -> str:
        said = (f"{self.folder}: largest difference of a logit {self.difference:.1e} on {self.images} {self.data}, "
                f"same class for {self.same} of {self.images}")
        return said if self.metric is None else f"{said}; {self.metric[0]} {self.metric[1]:.4f}, then {self.metric[2]:.4f}"


def fold_run(run: str | Path, out: str | Path, *, overwrite: bool = False, progress: Any = None) -> Folded:
    """Write the plain model to ``out``; ``CannotFold`` leaves nothing behind, ``progress(done, total)`` ticks."""
    found = Run(run)
    if found.recipe().generates:
        raise CannotFold(f"{run} generates text; only classifiers become plain folders: use inarch.load and inarch.merge on the model")
    rebuilt = rebuild(found.folder)
    table = own_test_table(rebuilt)
    few = None if table is None else table.pick(range(min(FEW, len(table))))
    before, first = _logits(rebuilt, table, progress), _logits(rebuilt, few)
    inarch.merge(rebuilt.net.model)
    _refuse_difference(first, _logits(rebuilt, few), rebuilt)
    folder = export_native(rebuilt.net.model, out, backbone_of(rebuilt), classes=rebuilt.card.classes, overwrite=overwrite)
    after = _logits(_plain(rebuilt, folder), table, progress)
    return Folded(folder, _apart(before, after), len(before), int((before.argmax(1) == after.argmax(1)).sum()),
                  "test images" if table is not None else "images of random pixels", _metric(rebuilt, table, before, after))


def own_test_table(rebuilt: Rebuilt) -> Table | None:
    """The run's own test part; None where the data is gone or not what it was."""
    card = rebuilt.card
    try:
        splits = read_data(rebuilt.recipe, rebuilt.run.locate(rebuilt.recipe.data, card.base), card.classes)
    except DataError:
        return None
    return splits.test if splits.sha256 == card.data["sha256"] else None


def _logits(rebuilt: Rebuilt, table: Table | None, progress: Any = None) -> np.ndarray:
    if table is not None:
        return table_logits(rebuilt, table, rebuilt.recipe.eval_batch_size, progress)
    return forward(rebuilt, random_pixels(rebuilt, FEW))


def random_pixels(rebuilt: Rebuilt, count: int) -> Tensor:
    """``[count, 3, side, side]``, the same each time, for a run whose images are out of reach."""
    side = rebuilt.card.view.size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def _refuse_difference(before: np.ndarray, after: np.ndarray, rebuilt: Rebuilt) -> None:
    allowed = TOLERANCE[rebuilt.recipe.precision] * max(1.0, float(np.abs(before).max()))
    if not _apart(before, after) <= allowed:
        raise CannotFold(f"{rebuilt.run}: folded logits differ by {_apart(before, after):.1e} where {allowed:.1e} is rounding; "
                         "nothing was written. This is a bug in inarch: keep the run and report it")


def _apart(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.abs(before - after).max())


def backbone_of(rebuilt: Rebuilt) -> Backbone:
    return Backbone(rebuilt.net.model, preprocess=rebuilt.card.view, **rebuilt.card.backbone)


def _plain(rebuilt: Rebuilt, folder: Path) -> Rebuilt:
    """The same run with the model of the folder in the place of its own."""
    model: nn.Module = backbones.load(str(folder.resolve())).model
    if rebuilt.recipe.precision == "fp64":
        model = model.double()
    return dataclasses.replace(rebuilt, net=Classifier(model, rebuilt.recipe.precision).eval())


def _metric(rebuilt: Rebuilt, table: Table | None, before: np.ndarray, after: np.ndarray) -> tuple[str, float, float] | None:
    if table is None:
        return None
    name, many = headline(rebuilt.card.multilabel), rebuilt.card.multilabel
    values = [score(logits, table.labels, rebuilt.card.classes, many)[name] for logits in (before, after)]
    return name, values[0], values[1]
