"""Generation from image and text as a task of the loop: one run on one data set of one's own, or on several published tasks at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from inarch import backbones, files, scoring
from inarch.backbones import Backbone
from inarch.data.pairs import PROTOCOLS, Pairs, check_tokens, read_pairs
from inarch.errors import ConfigError, DataError, nearest
from inarch.recipe import Recipe
from inarch.run import Card, Run
from inarch.tasks.answers import Asked, TextPart, mean_points, points, text_of
from inarch.tasks.generate import Generator, losses
from inarch.tasks.stores import store_card, store_of, tower_of
from inarch.tasks.task import Sources, Start, Task, Tick
from inarch.tasks.texts import Corpus, choices, corpus
from inarch.training.mixed import Mixed, Share, batch_size
from inarch.training.order import some
from inarch.training.texts import TextFeed

if TYPE_CHECKING:
    from inarch.features import FeatureStore

PARTS = ("train", "val", "test")
Tasks = dict[str, Pairs]


class Generation(Task):
    """``pairs`` by task, as read; ``store`` has the features of their images, ``tower`` made them, where that is known."""

    unit = "examples"

    def __init__(self, recipe: Recipe, pairs: Tasks, store: FeatureStore, backbone: Backbone, tower: str = "") -> None:
        self.recipe, self.pairs, self.store, self.backbone = recipe, pairs, store, backbone
        self.seen = store_card(store, tower)
        self.tokenizer = tokenizer_of(backbone)
        self.notes = [*_checked(pairs, self.tokenizer)]
        trained = [corpus(self.tokenizer, task.protocol, fitted(recipe, task), told=True) for task in pairs.values()]
        self.feed = self._feed(trained)
        self.final: dict[str, TextPart] = {}

    @staticmethod
    def prepare(start: Start) -> Task:
        recipe = start.recipe
        if recipe.backbone.startswith("config:"):
            raise no_tokenizer(recipe.backbone)
        pairs = read_tasks(recipe, start.locate(recipe.data), start.tick)
        for task, found in pairs.items():
            if recipe.selection == "val" and "val" not in found.parts:
                raise ConfigError(f"selection='val', but {task} has no validation part; set val_fraction, or selection='none'")
        store = store_of(start, pairs)
        backbone = _load(recipe, store.width, start.locate(recipe.backbone))
        return Generation(recipe, pairs, store, backbone, recipe.tower or ("" if store.origin.get("tower") else tower_of(start)))

    @staticmethod
    def load(recipe: Recipe, card: Card, address: str) -> Backbone:
        return _load(recipe, card.data["features"]["width"], address)

    @staticmethod
    def net(model: nn.Module, recipe: Recipe) -> Generator:
        return Generator(model, recipe.precision)

    @staticmethod
    def again(start: Start, net: nn.Module, split: str, data: str | None, batch: int) -> TextPart:
        recipe, card = start.recipe, start.stored
        address = data or start.locate(recipe.data)
        pairs = read_tasks(recipe, address, start.tick)
        if data is None and card is not None and data_sha(pairs) != card.data["sha256"]:
            raise DataError(f"{address} is not the data this run was trained on (sha256 {data_sha(pairs)[:12]}, then "
                            f"{card.data['sha256'][:12]}); restore it, or score it on purpose with data={address!r}")
        there = {task: found for task, found in pairs.items() if split in found.parts}
        if not there:
            parts = dict.fromkeys(part for found in pairs.values() for part in found.parts)
            raise DataError(f"{address} has no {split} part; found: {', '.join(parts)}")
        store = store_of(start, there, (split,))
        tokenizer = net.model.tokenizer  # type: ignore[union-attr]
        return TextPart(split, tuple(_asked(recipe, tokenizer, found, split, store) for found in there.values()), batch)

    # what the record says

    def card(self) -> dict[str, Any]:
        sizes = self._sizes()
        notes = [f"{task}: {note}" for task, found in self.pairs.items() for note in found.notes] + self.notes
        tasks = {task: {"protocol": dataclasses.asdict(found.protocol), "sha256": found.sha256, "source": found.source,
                        **{part: len(examples) for part, examples in found.parts.items()}} for task, found in self.pairs.items()}
        data = {"source": self.recipe.data, "sha256": data_sha(self.pairs), **sizes, "notes": notes, "tasks": tasks,
                "features": self.seen}
        return {"classes": (), "multilabel": False, "preprocess": {}, "data": data}

    def _sizes(self) -> dict[str, int]:
        return {part: sum(len(found.parts.get(part, ())) for found in self.pairs.values()) for part in PARTS}

    def facts(self) -> dict[str, Any]:
        return {"source": self.recipe.data, "sha256": data_sha(self.pairs), **self._sizes(), "train": len(self.feed),
                "tasks": {task: {"sha256": found.sha256} for task, found in self.pairs.items()},
                "features": {key: self.seen[key] for key in ("sha256", "tower", "width", "tokens")}}

    def about(self) -> str:
        sizes = self._sizes()
        return (f"{sizes['train']} train, {sizes['val']} val, {sizes['test']} test examples of {', '.join(self.pairs)}; "
                f"{self.store.tokens} x {self.store.width} features per image")

    # the loop

    def order(self) -> Mixed:
        recipe, table = self.recipe, self.feed.table
        shares = tuple(
            Share(found.protocol.name, int(first), len(found), batch_size(recipe.batch_size, found.protocol.share))
            for found, first in zip(table.corpora, table.first, strict=False))
        return Mixed(shares, recipe.accumulate, recipe.seed, recipe.data_order == "published")

    def sources(self, engine: Any, net: nn.Module, tick: Tick | None) -> Sources:
        return Sources(net, self.feed, self._part("val", self.recipe.watch, quick=True))

    def parts(self) -> list[Any]:
        wanted = [part for part in ("val", "test") if part == "val" or self.recipe.test]
        self.final = {name: part for name in wanted if (part := self._part(name)) is not None}
        return [*self.final.values()]

    def _part(self, name: str, most: int = 0, quick: bool = False) -> TextPart | None:
        if name == "val" and self.recipe.fit != "train":
            return None
        there = [found for found in self.pairs.values() if found.parts.get(name)]
        asked = tuple(_asked(self.recipe, self.tokenizer, found, name, self.store, most) for found in there)
        return TextPart(name, asked, self.recipe.eval_batch_size, quick) if asked else None

    def _feed(self, corpora: Sequence[Corpus]) -> TextFeed:
        return TextFeed(corpora, self.store, self.tokenizer.pad_token_id, self.recipe.seed, self.recipe.workers)

    def names(self, rows: Sequence[int]) -> list[str]:
        return self.feed.table.names(rows)

    def mass(self, rows: Tensor, epoch: int) -> float:
        return self.feed.mass(rows.tolist(), epoch)

    def losses(self, output: Tensor, targets: Any) -> Tensor:
        return losses(output, targets)

    # what came out

    def headline(self, metrics: dict[str, Any]) -> float:
        value = metrics.get("mean") if len(self.pairs) > 1 else points(*self._only(metrics))
        return float("-inf") if value is None else value

    def _only(self, metrics: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        (found,) = self.pairs.values()
        return found.protocol.metric, metrics

    def scalars(self, metrics: dict[str, Any]) -> dict[str, Any]:
        found = {key: value for key, value in metrics.items() if isinstance(value, int | float) and not isinstance(value, bool)}
        return found | {task: self.scalars(metrics[task]) for task in self.pairs if isinstance(metrics.get(task), dict)}

    def said(self, scalars: dict[str, Any]) -> list[str]:
        keys = {task: scoring.headline(found.protocol.metric) for task, found in self.pairs.items()}
        if len(keys) == 1:
            return [f"{key} {scalars[key]:.4f}" for key in keys.values() if key in scalars]
        each = [f"{task} {scalars[task][key]:.4f}" for task, key in keys.items() if key in scalars.get(task, {})]
        return each + ([f"mean {scalars['mean']:.2f}"] if "mean" in scalars else [])

    def keep(self, run: Run, found: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
        for name, said in found.items():
            files.write(run.answers(name), text_of(self.final[name].lines(said)))
        return told(self.pairs, metrics)

    def report(self, run: Run) -> None:
        from inarch.report import write_report

        write_report(run.folder, images={image: source for found in self.pairs.values() for image, source in found.images.items()})


def read_tasks(recipe: Recipe, address: str, tick: Tick | None) -> Tasks:
    """Every task of the recipe, or the one of one's own file, with the beams that the recipe asks for."""
    for task in recipe.tasks:
        if task not in PROTOCOLS:
            raise ConfigError(f"tasks names {task!r}; {nearest(task, PROTOCOLS)}")
    wanted = sorted(recipe.tasks, key=[*PROTOCOLS].index) or [""]  # the released code loads them in this order, too
    found = [read_pairs(address, task, limit={"train": recipe.limit} if recipe.limit else None, val_fraction=recipe.val_fraction,
                        test_fraction=recipe.test_fraction, seed=recipe.drawn_by(), progress=tick) for task in wanted]
    return {pairs.protocol.name: pairs for pairs in found}


def fitted(recipe: Recipe, pairs: Pairs) -> tuple[Any, ...]:
    """The examples that are trained on."""
    return pairs.parts["train"] + (pairs.parts.get("val", ()) if recipe.fit == "train+val" else ())


def data_sha(tasks: Tasks) -> str:
    """Of everything that decides the examples; of one task its own."""
    each = {task: found.sha256 for task, found in tasks.items()}
    return next(iter(each.values())) if len(each) == 1 else files.sha256(files.canonical(each))


def told(tasks: Tasks, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What is reported of each task: its test part where that could be scored, else its validation part; and their mean."""
    names = {task: found.protocol.metric for task, found in tasks.items()}
    chosen: dict[str, Any] = {}
    reported: dict[str, Any] = {}
    for task, metric in names.items():
        key = scoring.headline(metric)
        parts = {part: scores if len(tasks) == 1 else scores.get(task) for part, scores in metrics.items()}
        part = next((part for part in ("test", "val") if key in (parts.get(part) or {})), None)
        chosen[task] = {"metric": metric, "headline": key, "part": part}
        reported |= {task: parts[part]} if part else {}
    return {"tasks": chosen, "mean": mean_points(names, reported) if len(reported) == len(names) else None}


def tokenizer_of(backbone: Backbone) -> Any:
    tokenizer = getattr(backbone.model, "tokenizer", None)
    if tokenizer is None:
        raise no_tokenizer(backbone.address)
    return tokenizer


def no_tokenizer(address: str) -> ConfigError:
    return ConfigError(f"{address} has no tokenizer, so it can be counted and measured, not trained; use vl:NAME or vl:FOLDER")


def _checked(tasks: Tasks, tokenizer: Any) -> list[str]:
    """What the tokenizer cuts or cannot write: refused where nothing could be learned, noted elsewhere."""
    reports = {task: check_tokens(found, tokenizer) for task, found in tasks.items()}
    problems = [f"{task}: {problem}" for task, report in reports.items() for problem in report.problems]
    if problems:
        raise DataError(f"{len(problems)} problem(s) between the data and the tokenizer of the backbone:\n  " + "\n  ".join(problems))
    return [f"{task}: {warning}" for task, report in reports.items() for warning in report.warnings]


def _load(recipe: Recipe, width: int, address: str) -> Backbone:
    return backbones.load(address, seed=recipe.seed, feature_width=width, visual_tokens=recipe.visual_tokens)


def _asked(recipe: Recipe, tokenizer: Any, pairs: Pairs, part: str, store: FeatureStore, most: int = 0) -> Asked:
    protocol, examples = pairs.protocol, pairs.parts[part]
    if most:
        examples = tuple(examples[i] for i in some(len(examples), most, recipe.seed, protocol.name, part))
    found = corpus(tokenizer, protocol, examples)
    feed = TextFeed([found], store, tokenizer.pad_token_id, recipe.seed, recipe.workers)
    compared = choices(tokenizer, protocol) if protocol.decode == "choice" else None
    return Asked(found, feed, recipe.beams or protocol.beams, compared)
