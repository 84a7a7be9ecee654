"""What a few-shot run is fed with: pixels or what the frozen blocks say of them, the frozen model's features, gates found by the probe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inarch import files
from inarch.data import Transform
from inarch.errors import Corrupt
from inarch.switching import disabled
from inarch.tasks import probing
from inarch.tasks.learner import Frozen, Learner
from inarch.tasks.match import Matcher, Weights, prompts_of
from inarch.tasks.shots import KeptFeed, ShotFeed
from inarch.tasks.task import Feed, Sources, Tick
from inarch.training.feed import ImageFeed
from inarch.training.score import collect

if TYPE_CHECKING:
    from inarch.tasks.matching import Matching

CAP = 2 << 30  # bytes of kept activations
GATES = "gates.safetensors"


def sources(task: Matching, engine: Any, net: Matcher, tick: Tick | None) -> Sources:
    """The learner and its feed; with ``probe="gates"`` the gates are found first, or read where a resumed run found them before."""
    recipe, model = task.recipe, net.model
    learner = _learner(task, net, engine)
    feed, still = _feed(task, learner, engine, tick)
    learner.frozen = _frozen(task, net, learner, still, engine, tick)
    if recipe.probe == "gates":
        _gates(task, learner, feed, engine, tick)
    assert isinstance(model, nn.Module)
    return Sources(learner, feed, task.watched())


def weights_of(recipe: Any) -> Weights:
    return Weights(recipe.keep_text, recipe.keep_image, recipe.keep_logits, recipe.keep_scale)


def _learner(task: Matching, net: Matcher, engine: Any) -> Learner:
    recipe = task.recipe
    prompts = prompts_of(net.model, task.learned.classes, task.templates).to(engine.device)
    learner = Learner(net, prompts, weights_of(recipe), Frozen(), recipe.names_per_update, side=task.view.size)
    if recipe.cache_features and not recipe.backbone_noise and not learner.text.fresh:
        learner.kept_texts = _kept_texts(learner)
    return learner


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


def _feed(task: Matching, learner: Learner, engine: Any, tick: Tick | None) -> tuple[Feed, bool]:
    """The feed, and whether an image is the same in every epoch."""
    recipe = task.recipe
    images = ImageFeed(task.table, Transform(task.view, recipe.augment), recipe.seed, recipe.workers)
    still = recipe.augment == "none" and not recipe.backbone_noise
    if not (still and recipe.cache_features) or learner.vision.fresh:
        return ShotFeed(images), still
    model = learner.model

    def record(pixels: Tensor) -> Tensor:
        whole = pixels.double() if recipe.precision == "fp64" else pixels
        with learner.net.casting(pixels.device):
            return learner.vision.record(lambda: model.make.image(model.stock, whole))

    first = record(next(iter(images.batches([[0]])))[0].to(engine.device))
    if first.nbytes * len(task.table) > CAP:
        return ShotFeed(images), still
    kept = collect(engine, images, recipe.eval_batch_size, record, tick)
    images.close()
    learner.keeps = True
    return KeptFeed(task.table, kept), still


def _frozen(task: Matching, net: Matcher, learner: Learner, still: bool, engine: Any, tick: Tick | None) -> Frozen:
    """w0 of every name; f0 of every image where it is the same in every epoch."""
    weights = learner.weights
    with disabled(net.model):
        names = net.features(learner.prompts) if weights.text or weights.logits else None
        if not (still and weights.of_images):
            return Frozen(names)
        with net.naming(learner.prompts):
            net.eval()
            images = collect(engine, task.plain(task.table), task.recipe.eval_batch_size, _features(net), tick)
    return Frozen(names, images.to(engine.device))


def _features(net: Matcher) -> Any:
    def features(pixels: Tensor) -> Tensor:
        with net.casting(pixels.device):
            found = net.model.images(pixels.double() if net.precision == "fp64" else pixels)
        return nn.functional.normalize(found.float() if found.dtype in (torch.bfloat16, torch.float16) else found, dim=-1)

    return features


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
