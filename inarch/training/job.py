"""What a recipe becomes before the first update: checked data, a grafted model, and the names of what will train."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from inarch import backbones, container
from inarch.backbones import Backbone
from inarch.counting import count
from inarch.data import Splits, Table, Transform, load_splits
from inarch.errors import CannotGraft, ConfigError, DataError
from inarch.fingerprint import fingerprint
from inarch.grafting import graft
from inarch.preprocess import Preprocess
from inarch.provenance import now, versions
from inarch.recipe import Recipe
from inarch.run import Card, Run, relative

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STATISTICS = {"imagenet": IMAGENET, "half": ((0.5,) * 3, (0.5,) * 3), "none": ((0.0,) * 3, (1.0,) * 3)}
HEADED = frozenset({"linear", "full"})  # methods that train the head themselves
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Job:
    """One run, ready to train on ``table``, to be watched on ``val`` (None: there is nothing to watch on)."""

    recipe: Recipe
    splits: Splits
    table: Table
    model: nn.Module
    view: Preprocess
    card: Card

    @property
    def val(self) -> Table | None:
        return self.splits.val if self.recipe.fit == "train" else None

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def transform(self, augment: Literal["none", "flip", "fgvc"] = "none") -> Transform:
        return Transform(self.view, augment)


def prepare(recipe: Recipe, run: Run, processes: int = 1, stored: Card | None = None, progress: Progress | None = None) -> Job:
    """Read the data, load the backbone, graft the method. ``stored``: the card of the run to resume."""
    splits = read_data(recipe, recipe.data if stored is None else run.locate(recipe.data, stored.base), progress=progress)
    if recipe.selection == "val" and splits.val is None:
        raise ConfigError("selection='val', but the data has no validation part; set val_fraction, or selection='none'")
    if recipe.sampling == "balanced" and splits.multilabel:
        raise ConfigError("sampling='balanced', but the data has several labels per image; use class_weights='balanced'")
    address = recipe.backbone if stored is None else run.locate(recipe.backbone, stored.base)
    backbone = backbones.load(address, classes=len(splits.classes), image_size=recipe.image_size, seed=recipe.seed,
                              head_init=recipe.head_init)
    identity = fingerprint(backbone.model)
    model = grafted(recipe, backbone.model)
    card = _card(recipe, run, splits, backbone, identity, model, processes)
    return Job(recipe, splits, splits.fit_table(recipe.fit), model, preprocessing(recipe, backbone), card)


def read_data(recipe: Recipe, address: str, classes: tuple[str, ...] | None = None, progress: Progress | None = None) -> Splits:
    """The splits that the recipe's data options make of ``address``."""
    return load_splits(address, val_fraction=recipe.val_fraction, test_fraction=recipe.test_fraction, seed=recipe.seed,
                       image_column=recipe.image_column or None, label_column=recipe.label_column or None,
                       multilabel=recipe.multilabel, on_bad_image=recipe.on_bad_image, classes=classes, progress=progress)


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


def grafted(recipe: Recipe, model: nn.Module) -> nn.Module:
    """The model with the recipe's method on it, drawn from the recipe's seed; refuses when anything else would train."""
    if recipe.precision == "fp64":
        model = model.double()
    method = recipe.method_config()
    thaw = tuple(role for role in recipe.thaw if not (role == "head" and recipe.method.lower() in HEADED))
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(recipe.seed)
        graft(model, method, thaw=thaw)
    _assert_trained(model)
    return model


def _assert_trained(model: nn.Module) -> None:
    """What requires a gradient is the container's and what was thawed: no more (a forgotten freeze) and no less."""
    scion = container.container_of(model).scion("default")
    owned = {id(p) for p in scion.trained().values()}
    wanted = {name for name, p in model.named_parameters() if id(p) in owned} | set(scion.thawed)
    found = {name for name, p in model.named_parameters() if p.requires_grad}
    if wanted != found or not found:
        odd = ", ".join(sorted(wanted ^ found)[:10]) or "nothing"
        raise CannotGraft(f"the tensors that would train are not those of the method and its thawed roles; they differ in: {odd}")


def _card(
    recipe: Recipe, run: Run, splits: Splits, backbone: Backbone, identity: dict[str, str], model: nn.Module, processes: int
) -> Card:
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    sizes = {part: len(table) if table is not None else 0 for part, table in parts.items()}
    notes = [*splits.notes, *(str(problem) for problem in splits.skipped)]
    return Card(
        base=relative(run.folder), classes=splits.classes, multilabel=splits.multilabel,
        preprocess=preprocessing(recipe, backbone).to_json(),
        backbone={"address": backbone.address, "image_size": backbone.image_size, "library": backbone.library,
                  "source": backbone.source},
        fingerprint=identity, data={"source": splits.source, "sha256": splits.sha256, **sizes, "notes": notes},
        count=count(model).to_json(), processes=processes, started=now(), versions=versions(),
    )


def refuse_changes(stored: Card, found: Card) -> None:
    """A resumed run must meet what it met before: the same images, classes, backbone and number of processes."""
    pairs = {
        "data (sha256)": (stored.data["sha256"], found.data["sha256"]),
        "classes": (stored.classes, found.classes),
        "backbone (fingerprint)": (stored.fingerprint["float32"], found.fingerprint["float32"]),
        "preprocessing": (stored.view, found.view),
        "processes": (stored.processes, found.processes),
    }
    changed = [f"{name}: {old} -> {new}" for name, (old, new) in pairs.items() if old != new]
    if changed:
        error = DataError if changed[0].startswith("data") else ConfigError
        raise error(f"cannot resume: {'; '.join(changed)}; restore what was there, or start a new run with another --out")
