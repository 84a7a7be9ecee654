"""Few-shot learning with two towers as a task of the loop: some classes are learned, others are met at the end, by their names alone.

    learn        train, val and test images of the base classes (or of all)         before the first update
    hold back    the novel classes, and other data sets                              opened when nothing is learned any more
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from inarch import backbones
from inarch.backbones import Backbone
from inarch.backbones.two_tower import TwoTower
from inarch.data import Splits, Table, Transform
from inarch.data.fewshot import FewShot, Half
from inarch.errors import ConfigError, DataError
from inarch.recipe import Recipe
from inarch.reporting.shots import harmonic
from inarch.run import Card, Run
from inarch.tasks.classification import preprocessing
from inarch.tasks.classify import scalars
from inarch.tasks.match import Matcher, Said, prompts_of
from inarch.tasks.named import NamedPart, opened, transferred
from inarch.tasks.shots import Paced
from inarch.tasks.task import Sources, Start, Task, Tick
from inarch.tasks.towers import sources
from inarch.tasks.wording import refuse_absent, refuse_overwritten, templates
from inarch.training.feed import ImageFeed
from inarch.training.order import Order

BASE, NOVEL = "test", "novel"


class Matching(Task):
    """``learned`` is what may be seen; ``data`` opens the rest when it is asked to."""

    unit = "images"

    def __init__(self, recipe: Recipe, data: FewShot, backbone: Backbone, start: Start) -> None:
        self.recipe, self.data, self.backbone, self.start = recipe, data, backbone, start
        self.learned = data.learn()
        if self.learned.train is None:
            raise DataError(f"{data.source} has no training images of the classes to be learned")
        self.table: Table = self.learned.train
        self.view = preprocessing(recipe, backbone)
        self.templates = templates(recipe, data.dataset)
        model: TwoTower = backbone.model  # type: ignore[assignment]  # or Matcher refuses it
        prompts_of(model, self.learned.classes, self.templates)  # refuses what is too long
        refuse_overwritten(recipe, model, self.templates)
        refuse_absent(recipe, model, [start.locate(address) for address in recipe.transfer])
        self.final: dict[str, NamedPart] = {}

    @staticmethod
    def prepare(start: Start) -> Task:
        recipe = start.recipe
        if recipe.backbone.startswith("config:"):
            raise ConfigError(f"{recipe.backbone} has no tokenizer, so it can be counted and measured, not trained; use clip:NAME or "
                              "clip:FOLDER")
        data = opened(recipe, start.locate(recipe.data), start.tick)
        if recipe.selection == "val" and data.learn().val is None:
            raise ConfigError("selection='val', but the data has no validation part; set val_fraction, or selection='none'")
        if recipe.limit or recipe.fit != "train":
            raise ConfigError("limit and fit are not of a few-shot run: shots says how many images of a class are learned, from train; "
                              "leave them out")
        return Matching(recipe, data, _load(recipe, start.locate(recipe.backbone)), start)

    @staticmethod
    def load(recipe: Recipe, card: Card, address: str) -> Backbone:
        return _load(recipe, address)

    @staticmethod
    def net(model: nn.Module, recipe: Recipe) -> Matcher:
        return Matcher(model, recipe.precision)

    @staticmethod
    def ready(net: nn.Module, recipe: Recipe, card: Card) -> None:
        matcher: Matcher = net  # type: ignore[assignment]
        matcher.name(prompts_of(matcher.model, card.classes, tuple(card.data["templates"])))

    @staticmethod
    def again(start: Start, net: nn.Module, split: str, data: str | None, batch: int) -> NamedPart:
        recipe, card = start.recipe, start.stored
        assert card is not None  # a finished run has one
        own = opened(recipe, data or start.locate(recipe.data), start.tick, everything=data is not None)
        if data is None and own.learn().sha256 != card.data["sha256"]:
            raise DataError(f"{own.source} is not the data this run was trained on (sha256 {own.learn().sha256[:12]}, then "
                            f"{card.data['sha256'][:12]}); restore it, or score it on purpose with data={own.source!r}")
        half = own.held() if split == NOVEL else own.learn()
        table = None if half is None else half.test if split == NOVEL else {"train": half.train, "val": half.val, "test": half.test}[split]
        if half is None or table is None:
            raise DataError(f"{own.source} has no {split} part under protocol={own.protocol!r}")
        feed = ImageFeed(table, Transform(card.view), recipe.seed, 0)
        return NamedPart(split, feed, table, half.classes, templates(recipe, own.dataset), batch)

    # what the record says

    def card(self) -> dict[str, Any]:
        half = self.learned
        data = {"source": half.source, "sha256": half.sha256, **self._sizes(), "notes": [*half.notes], "templates": [*self.templates],
                "fewshot": {key: value for key, value in self.data.about.items() if key != "images"}}
        return {"classes": half.classes, "multilabel": False, "preprocess": self.view.to_json(), "data": data}

    def _sizes(self) -> dict[str, int]:
        parts = {"train": self.learned.train, "val": self.learned.val, "test": self.learned.test}
        return {part: 0 if table is None else len(table) for part, table in parts.items()}

    def facts(self) -> dict[str, Any]:
        return {"source": self.learned.source, "dataset": self.data.dataset, "sha256": self.learned.sha256,
                "listing_sha256": self.data.about["listing_sha256"], "classes": len(self.learned.classes), **self._sizes(),
                "protocol": self.recipe.protocol, "shots": self.recipe.shots, "templates": [*self.templates],
                "items_sha256": self.data.about["items_sha256"]}

    def about(self) -> str:
        sizes, half = self._sizes(), self.learned
        return (f"{sizes['train']} train, {sizes['val']} val, {sizes['test']} test images of {len(half.classes)} {half.name} classes; "
                f"{self.templates[0]!r}" + (f" and {len(self.templates) - 1} more" if len(self.templates) > 1 else ""))

    # the loop

    def order(self) -> Paced:
        recipe = self.recipe
        order = Order(len(self.table), recipe.batch_size, recipe.accumulate, recipe.seed)
        return Paced(order, recipe.epochs, recipe.least_updates, recipe.most_updates)

    def sources(self, engine: Any, net: nn.Module, tick: Tick | None) -> Sources:
        return sources(self, engine, net, tick)  # type: ignore[arg-type]

    def watched(self) -> NamedPart | None:
        """Validation images of the learned classes."""
        return None if self.learned.val is None else self._part("val", self.learned, self.learned.val)

    def parts(self) -> list[Any]:
        """Now, and not before, the novel classes and other data are opened."""
        found = [self.watched()]
        if self.recipe.test:
            found.append(self._part(BASE, self.learned, self.learned.test))
            held = self.data.held()
            found.append(None if held is None else self._part(NOVEL, held, held.test))
        self.final = {part.name: part for part in found if part is not None}
        for address in self.recipe.transfer if self.recipe.test else ():
            part = transferred(self.recipe, self.start.locate(address), self.view, {*self.final})
            self.final[part.name] = part
        return [*self.final.values()]

    def _part(self, name: str, half: Half, table: Table | None) -> NamedPart | None:
        if table is None:
            return None
        return NamedPart(name, self.plain(table), table, half.classes, self.templates, self.recipe.eval_batch_size)

    def plain(self, table: Table) -> ImageFeed:
        return ImageFeed(table, Transform(self.view), self.recipe.seed, self.recipe.workers)

    def names(self, rows: Sequence[int]) -> list[str]:
        return [self.table.names[i] for i in rows]

    def mass(self, rows: Tensor, epoch: int) -> float:
        return float(len(rows))

    def losses(self, output: Said, targets: Any) -> Tensor:  # type: ignore[override]
        return F.cross_entropy(output.logits, output.labels, reduction="none") + output.extra

    # what came out

    def headline(self, metrics: dict[str, Any]) -> float:
        return metrics["accuracy"]

    def scalars(self, metrics: dict[str, Any]) -> dict[str, float]:
        return scalars(metrics)

    def said(self, scalars: dict[str, Any]) -> list[str]:
        return [f"{key} {scalars[key]:.4f}" for key in ("accuracy", "loss") if key in scalars]

    def keep(self, run: Run, found: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
        parts = {name: (logits, self.final[name].table.labels, self.final[name].table.names) for name, logits in found.items()}
        run.write_predictions(parts)
        return {"fewshot": told(metrics, [name for name in self.final if name not in ("val", BASE, NOVEL)])}

    def report(self, run: Run) -> None:
        from inarch.report import write_report

        half = self.learned
        write_report(run.folder, splits=Splits(self.table, half.val, half.test, half.classes, half.sha256, half.source))


def told(metrics: dict[str, Any], others: Sequence[str]) -> dict[str, Any]:
    """``base``, ``novel`` and their harmonic mean; the accuracy on every other data set and their mean; fractions."""
    base, novel = ((metrics.get(part) or {}).get("accuracy") for part in (BASE, NOVEL))
    found: dict[str, Any] = {"base": base, "novel": novel, "harmonic": harmonic(base, novel)}
    scores = {name: metrics[name]["accuracy"] for name in others if metrics.get(name)}
    return found | {"transfer": scores, "transfer_mean": sum(scores.values()) / len(scores) if scores else None}


def _load(recipe: Recipe, address: str) -> Backbone:
    return backbones.load(address, image_size=recipe.image_size, seed=recipe.seed)
