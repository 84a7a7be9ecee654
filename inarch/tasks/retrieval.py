"""Contrastive adaptation on images with captions of one's own, as a task of the loop, and what the frozen model could do before.

    learn     pairs of an image and a caption, each compared with all others of its batch      score     recall@1, 5, 10 both ways
    retain    the same recalls, and the accuracy on other data by class names, of the frozen model
One process only: with several, a batch would be cut into parts that are not compared with each other.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from inarch import backbones, files
from inarch.backbones import Backbone
from inarch.backbones.two_tower import TwoTower
from inarch.data import Table, Transform
from inarch.data.fewshot import Captions, CaptionTable, read_captions
from inarch.data.fewshot.check import kind_at
from inarch.errors import ConfigError, DataError
from inarch.methods import Context
from inarch.recipe import Recipe
from inarch.run import Card, Run
from inarch.tasks.classification import preprocessing
from inarch.tasks.classify import scalars
from inarch.tasks.contrast import Paired, PairFeed, PairLearner, Pairs, contrastive
from inarch.tasks.match import Matcher
from inarch.tasks.named import transferred
from inarch.tasks.searched import HEADLINE, Both, CaptionPart, Retained, arrays, prompts, retention
from inarch.tasks.shots import Paced
from inarch.tasks.task import Sources, Start, Task, Tick
from inarch.tasks.towers import frozen, kept_images, learner_of
from inarch.tasks.wording import refuse_absent, templates
from inarch.training.feed import ImageFeed
from inarch.training.order import Order, some


class Retrieval(Task):
    """``captions`` as read; ``pairs`` are what is learned from."""

    unit = "pairs"

    def __init__(self, recipe: Recipe, captions: Captions, backbone: Backbone, start: Start) -> None:
        self.recipe, self.captions, self.backbone, self.start = recipe, captions, backbone, start
        self.table: Table = captions.train.images
        whole = len(captions.train.captions)
        self.pairs = Pairs.of(captions.train, some(whole, recipe.limit, recipe.seed) if recipe.limit else None)
        self.view = preprocessing(recipe, backbone)
        model: TwoTower = backbone.model  # type: ignore[assignment]
        for table in filter(None, (captions.train, captions.val, captions.test)):
            prompts(model, table.captions)  # refuses what is too long
        refuse_absent(recipe, model, [start.locate(address) for address in recipe.transfer])
        self.final: dict[str, Retained] = {}

    @staticmethod
    def prepare(start: Start) -> Task:
        recipe = start.recipe
        refused(recipe, start.engine.num_processes)
        captions = opened(recipe, start.locate(recipe.data), start.tick)
        if recipe.selection == "val" and captions.val is None:
            raise ConfigError("selection='val', but the data has no validation part; set val_fraction, or selection='none'")
        return Retrieval(recipe, captions, _load(recipe, start.locate(recipe.backbone)), start)

    @staticmethod
    def load(recipe: Recipe, card: Card, address: str) -> Backbone:
        return _load(recipe, address)

    @staticmethod
    def net(model: nn.Module, recipe: Recipe) -> Matcher:
        return Matcher(model, recipe.precision)

    @staticmethod
    def again(start: Start, net: nn.Module, split: str, data: str | None, batch: int) -> Retained:
        """Other data with captions is searched, other data with classes is told apart by their names."""
        recipe, card = start.recipe, start.stored
        assert card is not None  # a finished run has one
        if data is not None and kind_at(data) != "captions" and not data.endswith((".jsonl", ".ndjson")):
            return Retained(transferred(recipe, data, card.view, set()))
        captions = opened(recipe, data or start.locate(recipe.data), start.tick)
        if data is None and captions.sha256 != card.data["sha256"]:
            raise DataError(f"{captions.source} is not the data this run was trained on (sha256 {captions.sha256[:12]}, then "
                            f"{card.data['sha256'][:12]}); restore it, or score it on purpose with data={captions.source!r}")
        table = {"train": captions.train, "val": captions.val, "test": captions.test}[split]
        if table is None:
            raise DataError(f"{captions.source} has no {split} part; set its fraction, or name the parts in a column split")
        return Retained(CaptionPart(split, ImageFeed(table.images, Transform(card.view), recipe.seed, 0), table, batch))

    # what the record says

    def card(self) -> dict[str, Any]:
        found = self.captions
        data = {"source": found.source, "sha256": found.sha256, **self._sizes(), "notes": [*found.notes],
                "templates": [*templates(self.recipe, "")] if "coop" not in self.recipe.templates else ["a photo of a {}."],
                "captions": len(self.pairs.text), "texts": len(self.pairs.texts)}
        return {"classes": (), "multilabel": False, "preprocess": self.view.to_json(), "data": data}

    def _sizes(self) -> dict[str, int]:
        parts = {"train": self.captions.train, "val": self.captions.val, "test": self.captions.test}
        return {part: 0 if table is None else len(table.images) for part, table in parts.items()}

    def facts(self) -> dict[str, Any]:
        return {"source": self.captions.source, "sha256": self.captions.sha256, "classes": 0, **self._sizes(),
                "captions": len(self.pairs.text), "texts": len(self.pairs.texts)}

    def about(self) -> str:
        sizes = self._sizes()
        return (f"{sizes['train']} train, {sizes['val']} val, {sizes['test']} test images; {len(self.pairs.text)} captions to learn from, "
                f"{len(self.pairs.texts)} of them different")

    # the loop

    def order(self) -> Paced:
        recipe = self.recipe
        order = Order(len(self.pairs.text), recipe.batch_size, recipe.accumulate, recipe.seed)
        return Paced(order, recipe.epochs, recipe.least_updates, recipe.most_updates)

    def sources(self, engine: Any, net: nn.Module, tick: Tick | None) -> Sources:
        matcher: Matcher = net  # type: ignore[assignment]
        learner = learner_of(self, matcher, prompts(matcher.model, self.pairs.texts), engine)
        kept = kept_images(self, learner, engine, tick)
        learner.frozen = frozen(self, matcher, learner, engine, tick)
        every = self.table.pick(self.pairs.image.numpy())
        table = Table(every.sources, self.pairs.text.numpy(), every.names, max_pixels=every.max_pixels)
        images = ImageFeed(table, Transform(self.view, self.recipe.augment), self.recipe.seed, self.recipe.workers)
        val = None if self.captions.val is None else self._part("val", self.captions.val)
        return Sources(PairLearner(learner, self.pairs.has.to(engine.device)), PairFeed(self.pairs, images, kept), val)

    def parts(self) -> list[Any]:
        tables = {"val": self.captions.val, "test": self.captions.test if self.recipe.test else None}
        self.final = {name: Retained(self._part(name, table)) for name, table in tables.items() if table is not None}
        for address in self.recipe.transfer if self.recipe.test else ():
            part = transferred(self.recipe, self.start.locate(address), self.view, {*self.final})
            self.final[part.name] = Retained(part)
        return [*self.final.values()]

    def _part(self, name: str, table: CaptionTable) -> CaptionPart:
        return CaptionPart(name, self.plain(table.images), table, self.recipe.eval_batch_size)

    def plain(self, table: Table) -> ImageFeed:
        return ImageFeed(table, Transform(self.view), self.recipe.seed, self.recipe.workers)

    def names(self, rows: Sequence[int]) -> list[str]:
        return [f"{self.table.names[self.pairs.image[i]]} with {self.pairs.texts[self.pairs.text[i]]!r}" for i in rows]

    def mass(self, rows: Tensor, epoch: int) -> float:
        return float(len(rows))

    def losses(self, output: Paired, targets: Any) -> Tensor:  # type: ignore[override]
        return contrastive(output.logits, output.right) + output.extra

    # what came out

    def headline(self, metrics: dict[str, Any]) -> float:
        return metrics[HEADLINE]

    def scalars(self, metrics: dict[str, Any]) -> dict[str, float]:
        return scalars(metrics)

    def said(self, scalars: dict[str, Any]) -> list[str]:
        return [f"{key} {scalars[key]:.4f}" for key in ("image_to_text@1", "text_to_image@1", HEADLINE, "accuracy") if key in scalars]

    def keep(self, run: Run, found: dict[str, Both], metrics: dict[str, Any]) -> dict[str, Any]:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **{f"{name}_{key}": value for name, both in found.items()
                                                           for key, value in arrays(self.final[name].part, both).items()})
        files.write(run.predictions, buffer.getvalue())
        return {"retrieval": {name: retention(numbers) for name, numbers in metrics.items()}}

    def report(self, run: Run) -> None:
        from inarch.report import write_report

        write_report(run.folder)


def refused(recipe: Recipe, processes: int) -> None:
    """What has no meaning here is not ignored."""
    if processes > 1:
        raise ConfigError(f"protocol='retrieval' runs in one process, not {processes}: pairs are compared within a batch, and would not be "
                          "with those of other processes; start it without accelerate launch")
    if recipe.backbone.startswith("config:"):
        raise ConfigError(f"{recipe.backbone} has no tokenizer, so it can be counted and measured, not trained; use clip:NAME or "
                          "clip:FOLDER")
    if isinstance(recipe.method_config(), Context):
        raise ConfigError("context vectors stand before a class name, and a caption has no place for them; use another method")
    if recipe.fit != "train" or recipe.on_bad_image != "refuse":
        raise ConfigError("fit and on_bad_image are not of protocol='retrieval', which learns the train part and refuses bad images; "
                          "leave them out")
    if recipe.batch_size < 2:
        raise ConfigError("batch_size=1: a pair is compared with the others of its batch; use 2 or more")


def opened(recipe: Recipe, address: str, tick: Tick | None) -> Captions:
    return read_captions(address, val_fraction=recipe.val_fraction, test_fraction=recipe.test_fraction or 0.2, progress=tick,
                         image_column=recipe.image_column or None, caption_column=recipe.label_column or None)


def _load(recipe: Recipe, address: str) -> Backbone:
    return backbones.load(address, image_size=recipe.image_size, seed=recipe.seed)
