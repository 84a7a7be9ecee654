"""What a few-shot run is fed with: pixels or what the frozen blocks say of them, the frozen model's features, gates found by the probe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from inarch import files
from inarch.data import Table, Transform
from inarch.errors import Corrupt
from inarch.preprocess import Preprocess
from inarch.recipe import Recipe
from inarch.switching import disabled
from inarch.tasks import probing
from inarch.tasks.learner import Frozen, Learner
from inarch.tasks.match import Matcher, Prompts, Weights, prompts_of
from inarch.tasks.shots import KeptFeed, ShotFeed
from inarch.tasks.task import Feed, Sources, Tick
from inarch.training.feed import ImageFeed
from inarch.training.score import collect

if TYPE_CHECKING:
    from inarch.tasks.matching import Matching

CAP = 2 << 30  # bytes of kept activations
GATES = "gates.safetensors"


class Towered(Protocol):
    """What a task of two towers has: ``table`` are the images that it learns from, each once."""

    recipe: Recipe
    table: Table
    view: Preprocess

    def plain(self, table: Table) -> ImageFeed: ...


def sources(task: Matching, engine: Any, net: Matcher, tick: Tick | None) -> Sources:
    """The learner and its feed; with ``probe="gates"`` the gates are found first, or read where a resumed run found them before."""
    recipe, table = task.recipe, task.table
    learner = learner_of(task, net, prompts_of(net.model, task.learned.classes, task.templates), engine)
    kept = kept_images(task, learner, engine, tick)
    images = ImageFeed(table, Transform(task.view, recipe.augment), recipe.seed, recipe.workers)
    feed: Feed = ShotFeed(images) if kept is None else KeptFeed(table, kept)
    learner.frozen = frozen(task, net, learner, engine, tick)
    if recipe.probe == "gates":
        _gates(task, learner, feed, engine, tick)
    return Sources(learner, feed, task.watched())


def weights_of(recipe: Any) -> Weights:
    return Weights(recipe.keep_text, recipe.keep_image, recipe.keep_logits, recipe.keep_scale)


def learner_of(task: Towered, net: Matcher, prompts: Prompts, engine: Any) -> Learner:
    """With what the text tower's frozen blocks say of the prompts, where that is exact and fits."""
    recipe = task.recipe
    learner = Learner(net, prompts.to(engine.device), weights_of(recipe), Frozen(), recipe.names_per_update, side=task.view.size)
    if recipe.cache_features and not recipe.backbone_noise and not learner.text.fresh:
        learner.kept_texts = _kept_texts(learner)
    return learner


def still(recipe: Recipe) -> bool:
    """Whether an image is the same in every epoch."""
    return recipe.augment == "none" and not recipe.backbone_noise


@torch.no_grad()
def _kept_texts(learner: Learner) -> Tensor | None:
    """What the text tower's frozen blocks say of every prompt, where that fits."""
    model, tokens = learner.model, learner.prompts.tokens
    pieces: list[Tensor] = []
    for rows in torch.arange(len(tokens.ids), device=tokens.ids.device).split(64):
        some = tokens.rows(rows)
        with learner.net.casting(rows.device):
            pieces.append(learner.text.record(lambda some=some: model.make.text(model.stock, some.ids, some.mask)))  # type: ignore[misc]
        if pieces[0][0].nbytes * len(tokens.ids) > CAP:
            return None
    return torch.cat(pieces)


def kept_images(task: Towered, learner: Learner, engine: Any, tick: Tick | None) -> Tensor | None:
    """What the image tower's frozen blocks say of every image, where that is exact, asked for, and fits; the learner knows of it then."""
    recipe, model = task.recipe, learner.model
    if not (still(recipe) and recipe.cache_features) or learner.vision.fresh:
        return None

    def record(pixels: Tensor) -> Tensor:
        with learner.net.casting(pixels.device):
            return learner.vision.record(lambda: model.make.image(model.stock, learner.net.wide(pixels)))

    images = task.plain(task.table)
    try:
        first = record(next(iter(images.batches([[0]])))[0].to(engine.device))
        if first.nbytes * len(task.table) > CAP:
            return None
        kept = collect(engine, images, recipe.eval_batch_size, record, tick)
    finally:
        images.close()
    learner.keeps = True
    return kept


def frozen(task: Towered, net: Matcher, learner: Learner, engine: Any, tick: Tick | None) -> Frozen:
    """w0 of every name; f0 of every image where it is the same in every epoch."""
    weights = learner.weights
    with disabled(net.model):
        names = net.features(learner.prompts) if weights.text or weights.logits else None
        if not (still(task.recipe) and weights.of_images):
            return Frozen(names)
        net.eval()
        images = features_of(task.plain(task.table), net, engine, task.recipe.eval_batch_size, tick)
    return Frozen(names, images.to(engine.device))


def features_of(feed: ImageFeed, net: Matcher, engine: Any, batch: int, tick: Tick | None) -> Tensor:
    """f ``[n, d]`` of every image, as the model is now."""
    return collect(engine, feed, batch, net.seen, tick)


def _gates(task: Matching, learner: Learner, feed: Feed, engine: Any, tick: Tick | None) -> None:
    place = task.start.run.folder / GATES
    if place.is_file():
        probing.fixed(learner, _read(place, probing.Probe.of(learner).gates), engine)
        return
    order = task.order()
    steps = max(round(task.recipe.probe_share * order.updates * task.recipe.epochs), 2)
    gates = probing.run(learner, feed, torch.from_numpy(task.table.labels), task.recipe, steps, engine, tick)
    if engine.is_main_process:
        files.write(place, files.tensor_bytes({name: value.cpu().contiguous() for name, value in gates.items()}))


def _read(place: Path, wanted: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Gates that an earlier part of this run found."""
    data = files.read(place)
    files.check_tensors(files.header(data, place), {name: list(p.shape) for name, p in wanted.items()}, place)
    found = files.tensors(data, place)
    if any(not torch.isfinite(value).all() for value in found.values()):
        raise Corrupt(f"{place}: holds numbers that are not finite; train again with another --out")
    return {name: value.to(wanted[name]) for name, value in found.items()}
