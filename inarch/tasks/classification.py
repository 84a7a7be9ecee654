"""Classification as a task of the loop: tables of images, a head of classes, logits that are kept and scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from inarch import backbones
from inarch.backbones import Backbone
from inarch.data import Splits, Table, Transform, load_splits
from inarch.data.fewshot import is_fewshot
from inarch.errors import ConfigError, DataError
from inarch.preprocess import Preprocess
from inarch.recipe import Recipe
from inarch.run import Card, Run
from inarch.tasks.classify import Classifier, draw_weights, headline, objective, score
from inarch.tasks.named import opened
from inarch.tasks.task import Feed, Sources, Start, Task, Tick
from inarch.training import score as scoring
from inarch.training.feed import ImageFeed
from inarch.training.frozen import Shelf, start
from inarch.training.order import Order, some
from inarch.training.shelf import Folder, Memory

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STATISTICS = {"imagenet": IMAGENET, "half": ((0.5,) * 3, (0.5,) * 3), "none": ((0.0,) * 3, (1.0,) * 3)}
WATCHED = ("accuracy", "mAP", "loss")


@dataclass(frozen=True, eq=False)
class ImagePart:
    """Images with labels, to be scored."""

    name: str
    feed: Feed
    table: Table
    classes: tuple[str, ...]
    batch: int

    def found(self, engine: Any, net: nn.Module, tick: Tick | None = None) -> np.ndarray:
        return scoring.logits(engine, net, self.feed, self.batch, self.name, self.table.names, tick)

    def metrics(self, found: np.ndarray) -> dict[str, Any]:
        return score(found, self.table.labels, self.classes, self.table.multilabel)

    def close(self) -> None:
        self.feed.close()


class Classification(Task):
    """``splits`` as read; ``table`` is what is fitted on."""

    unit = "images"

    def __init__(self, recipe: Recipe, splits: Splits, backbone: Backbone) -> None:
        self.recipe, self.splits, self.backbone = recipe, splits, backbone
        whole = splits.fit_table(recipe.fit)
        self.table = whole if not recipe.limit else whole.pick(some(len(whole), recipe.limit, recipe.seed))
        self.view = preprocessing(recipe, backbone)
        self.labels = torch.from_numpy(self.table.labels)
        self.objective = objective(self.table, len(splits.classes), recipe.class_weights == "balanced")

    @staticmethod
    def prepare(start: Start) -> Task:
        recipe = start.recipe
        splits = read_data(recipe, start.locate(recipe.data), progress=start.tick)
        if recipe.selection == "val" and splits.val is None:
            raise ConfigError("selection='val', but the data has no validation part; set val_fraction, or selection='none'")
        if recipe.sampling == "balanced" and splits.multilabel:
            raise ConfigError("sampling='balanced', but the data has several labels per image; use class_weights='balanced'")
        return Classification(recipe, splits, _load(recipe, len(splits.classes), start.locate(recipe.backbone)))

    @staticmethod
    def load(recipe: Recipe, card: Card, address: str) -> Backbone:
        return _load(recipe, len(card.classes), address)

    @staticmethod
    def net(model: nn.Module, recipe: Recipe) -> Classifier:
        return Classifier(model, recipe.precision)

    @staticmethod
    def again(start: Start, net: nn.Module, split: str, data: str | None, batch: int) -> ImagePart:
        recipe, card = start.recipe, start.stored
        assert card is not None  # a finished run has one
        address = data or start.locate(recipe.data)
        splits = read_data(recipe, address, card.classes)
        if data is None and splits.sha256 != card.data["sha256"]:
            raise DataError(f"{address} is not the data this run was trained on (sha256 {splits.sha256[:12]}, then "
                            f"{card.data['sha256'][:12]}); restore it, or score it on purpose with data={address!r}")
        table = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
        if table is None or not len(table):
            there = [part for part in ("train", "val", "test") if getattr(splits, part) is not None]
            raise DataError(f"{address} has no {split} part; found: {', '.join(there)}")
        return ImagePart(split, ImageFeed(table, Transform(card.view), recipe.seed, 0), table, card.classes, batch)

    def card(self) -> dict[str, Any]:
        splits = self.splits
        parts = {"train": splits.train, "val": splits.val, "test": splits.test}
        sizes = {part: len(table) if table is not None else 0 for part, table in parts.items()}
        notes = [*splits.notes, *(str(problem) for problem in splits.skipped)]
        return {"classes": splits.classes, "multilabel": splits.multilabel, "preprocess": self.view.to_json(),
                "data": {"source": splits.source, "sha256": splits.sha256, **sizes, "notes": notes}}

    def facts(self) -> dict[str, Any]:
        sizes = {part: 0 if table is None else len(table) for part, table in (("val", self.splits.val), ("test", self.splits.test))}
        return {"source": self.splits.source, "sha256": self.splits.sha256, "classes": len(self.splits.classes),
                "train": len(self.table), **sizes}

    def about(self) -> str:
        data = self.card()["data"]
        return f"{data['train']} train, {data['val']} val, {data['test']} test images of {len(self.splits.classes)} classes"

    # the loop

    def order(self) -> Order:
        recipe = self.recipe
        draw = draw_weights(self.table, len(self.splits.classes)) if recipe.sampling == "balanced" else None
        return Order(len(self.table), recipe.batch_size, recipe.accumulate, recipe.seed, draw)

    def sources(self, engine: Any, net: nn.Module, tick: Tick | None) -> Sources:
        """Rows of what is frozen where that is exact and asked for, images otherwise; with a folder for them, rows or a refusal."""
        recipe, val = self.recipe, self._val
        feed = ImageFeed(self.table, self.transform(recipe.augment), recipe.seed, recipe.workers)
        watched = None if val is None else self._plain(val)
        if recipe.cache_features:
            head = partial(self.net, recipe=recipe)
            try:
                found = start(engine, net, head, feed, watched, self._shelf(net), noise=recipe.backbone_noise, tick=tick)
                return Sources(found.net, found.feed, None if val is None else self._part("val", val, found.val), found.note)
            except ConfigError as reason:
                if recipe.cache_folder:
                    raise ConfigError(f"cache_folder={recipe.cache_folder!r}: {reason}; or leave cache_folder out") from None
        return Sources(net, feed, None if val is None else self._part("val", val, watched))

    def _shelf(self, net: nn.Module) -> Shelf:
        recipe = self.recipe
        if not recipe.cache_folder:
            return Memory(recipe.batch_size, recipe.cache_dtype)
        about = {"data": self.splits.sha256, "precision": recipe.precision}
        return Folder(Path(recipe.cache_folder).expanduser(), recipe.batch_size, about, net.model, recipe.cache_dtype)  # type: ignore[arg-type]

    def parts(self) -> list[Any]:
        test = self.splits.test if self.recipe.test else None
        tables = (("val", self._val), ("test", test))
        return [self._part(name, table, self._plain(table)) for name, table in tables if table is not None]

    @property
    def _val(self) -> Table | None:
        return self.splits.val if self.recipe.fit == "train" else None

    def _part(self, name: str, table: Table, feed: Any) -> ImagePart:
        return ImagePart(name, feed, table, self.splits.classes, self.recipe.eval_batch_size)

    def _plain(self, table: Table) -> ImageFeed:
        return ImageFeed(table, self.transform(), self.recipe.seed, self.recipe.workers)

    def transform(self, augment: Literal["none", "flip", "fgvc", "clip"] = "none") -> Transform:
        return Transform(self.view, augment)

    def names(self, rows: Sequence[int]) -> list[str]:
        return [self.table.names[i] for i in rows]

    def mass(self, rows: Tensor, epoch: int) -> float:
        return self.objective.mass(self.labels[rows])

    def losses(self, output: Tensor, targets: Tensor) -> Tensor:
        return self.objective.losses(output, targets)

    # what came out

    def headline(self, metrics: dict[str, Any]) -> float:
        return metrics[headline(self.splits.multilabel)]

    def scalars(self, metrics: dict[str, Any]) -> dict[str, float]:
        return {key: value for key, value in metrics.items() if isinstance(value, int | float) and not isinstance(value, bool)}

    def said(self, scalars: dict[str, Any]) -> list[str]:
        return [f"{key} {scalars[key]:.4f}" for key in (*WATCHED[:2], "macro_f1", "loss") if scalars.get(key) is not None]

    def keep(self, run: Run, found: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
        tables = {part: table for part, table in (("val", self.splits.val), ("test", self.splits.test)) if table is not None}
        run.write_predictions({part: (logits, tables[part].labels, tables[part].names) for part, logits in found.items()})
        return {}

    def report(self, run: Run) -> None:
        from inarch.report import write_report

        write_report(run.folder, splits=self.splits)


def read_data(recipe: Recipe, address: str, classes: tuple[str, ...] | None = None, progress: Tick | None = None) -> Splits:
    """The splits that the recipe's data options make of ``address``; of few-shot data the shots of the classes to be learned."""
    if is_fewshot(address):
        return _few(recipe, address, classes, progress)
    return load_splits(address, val_fraction=recipe.val_fraction, test_fraction=recipe.test_fraction, seed=recipe.drawn_by(),
                       image_column=recipe.image_column or None, label_column=recipe.label_column or None,
                       multilabel=recipe.multilabel, on_bad_image=recipe.on_bad_image, classes=classes, progress=progress)


def _few(recipe: Recipe, address: str, classes: tuple[str, ...] | None, progress: Tick | None) -> Splits:
    half = opened(recipe, address, progress).learn()
    if half.train is None or classes not in (None, half.classes):
        raise DataError(f"{address}: {len(half.classes)} classes, which are not those of this run" if half.train is not None else
                        f"{address} has no training images of the classes to be learned")
    return Splits(half.train, half.val, half.test, half.classes, half.sha256, half.source, notes=half.notes)


def _load(recipe: Recipe, classes: int, address: str) -> Backbone:
    return backbones.load(address, classes=classes, image_size=recipe.image_size, seed=recipe.seed, head_init=recipe.head_init)


def preprocessing(recipe: Recipe, backbone: Backbone) -> Preprocess:
    """The backbone's own, at its image size, with what the recipe overrides."""
    view = backbone.preprocess
    if view.size != backbone.image_size:
        view = view.resized(backbone.image_size)
    if recipe.resize != "backbone":
        view = dataclasses.replace(view, fit=recipe.resize, resize=None if recipe.resize == "squash" else view.resize)
    if recipe.normalise != "backbone":
        mean, std = STATISTICS[recipe.normalise]
        view = dataclasses.replace(view, mean=mean, std=std)
    return view
