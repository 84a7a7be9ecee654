"""What a recipe becomes before the first update: a task with checked data, a grafted model, and the names of what will train."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from inarch.errors import CannotGraft, ConfigError, DataError
from inarch.fingerprint import fingerprint
from inarch.planting import Planting, planting
from inarch.provenance import now, versions
from inarch.recipe import Recipe
from inarch.run import Card, relative
from inarch.switching import rebuild
from inarch.tasks import task_of
from inarch.tasks.task import Start, Task
from inarch.training.recompute import recompute
from inarch.width import narrowed, widened

HEADED = frozenset({"linear", "full"})  # methods that train the head themselves


@dataclass(frozen=True, eq=False)
class Job:
    """One run, ready to train."""

    recipe: Recipe
    task: Task
    model: nn.Module
    card: Card

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def prepare(start: Start) -> Job:
    """Read the data, load the backbone, graft the method."""
    task = task_of(start.recipe).prepare(start)
    identity = fingerprint(task.backbone.model)
    model = grafted(start.recipe, task.backbone.model)
    return Job(start.recipe, task, model, _card(start, task, identity, model))


def grafted(recipe: Recipe, model: nn.Module) -> nn.Module:
    """The model with the recipe's method on it, drawn from the recipe's seed; refuses when anything else would train."""
    model = widened(model, recipe)
    ours = planting(recipe.method_config())
    thaw = tuple(role for role in recipe.thaw if not (role == "head" and recipe.method.lower() in HEADED))
    ours.plant(model, thaw, recipe.seed)
    _assert_trained(model, ours)
    narrowed(model, recipe)
    if not recipe.rebuild:
        rebuild(model, False)
    if recipe.recompute:
        recompute(model)
    return model


def _assert_trained(model: nn.Module, ours: Planting) -> None:
    """What requires a gradient is the method's own and what was thawed: no more (a forgotten freeze) and no less."""
    wanted = ours.trained(model)
    found = {name for name, p in model.named_parameters() if p.requires_grad}
    if wanted != found or (ours.method.trains and not found):
        odd = ", ".join(sorted(wanted ^ found)[:10]) or "nothing"
        raise CannotGraft(f"the tensors that would train are not those of the method and its thawed roles; they differ in: {odd}")


def _card(start: Start, task: Task, identity: dict[str, str], model: nn.Module) -> Card:
    backbone, counted = task.backbone, planting(start.recipe.method_config()).count(model).to_json()
    return Card(
        base=relative(start.run.folder), **task.card(),
        backbone={"address": backbone.address, "image_size": backbone.image_size, "library": backbone.library,
                  "source": backbone.source},
        fingerprint=identity, count=counted, processes=start.engine.num_processes, started=now(), versions=versions(),
    )


def refuse_changes(stored: Card, found: Card) -> None:
    """A resumed run must meet what it met before: the same images, classes, backbone and number of processes."""
    pairs = {
        "data (sha256)": (stored.data["sha256"], found.data["sha256"]),
        "data of stored features (sha256)": (stored.features_sha, found.features_sha),
        "classes": (stored.classes, found.classes),
        "backbone (fingerprint)": (stored.fingerprint["float32"], found.fingerprint["float32"]),
        "preprocessing": (stored.view, found.view),
        "processes": (stored.processes, found.processes),
    }
    changed = [f"{name}: {old} -> {new}" for name, (old, new) in pairs.items() if old != new]
    if changed:
        error = DataError if changed[0].startswith("data") else ConfigError
        raise error(f"cannot resume: {'; '.join(changed)}; restore what was there, or start a new run with another --out")
