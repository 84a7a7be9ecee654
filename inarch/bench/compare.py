"""bench compare: a whole comparison as ``inarch compare`` runs it, and how much of it is no training.

    six methods within one budget x three seeds        1,000 images to learn from, 1,000 to be tested on, ViT-Ti at 128 px, ten epochs

The recipe is that of the suite ``local``, with one learning rate and so without trials. Images are noise and weights are random, made in
a temporary folder: what a run costs depends on neither. On the CPU, workers as memory allows; a run counts from its job to its result.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inarch.bench.machine import circumstances
from inarch.bench.results import FORMAT
from inarch.bench.timing import summary
from inarch.errors import ConfigError, InarchError
from inarch.study import Wish
from inarch.study.entry import NOTHING, Entry
from inarch.study.runner import Worked, worked
from inarch.study.spent import beside
from inarch.suites import SuiteTask, load_suite

METHODS = ("arc", "adaring", "vlpet", "lora", "adaptformer", "fact-tt")
BACKBONE = "vit_tiny_patch16_224"
BUDGET = 25_008  # numbers without the head: ARC of rank 50
CLASSES, SIDE, DRAWN = 10, 128, 64  # DRAWN: pixels of an image as it is stored
IMAGES = {"train": 800, "val": 200, "test": 1000}
RATE = 0.01
GOALS = {"seconds": 3600.0, "beside": 0.05}  # of the comparison; of its runs, the share that is no training


def bench_compare(*, repeats: int = 3, methods: Sequence[str] = METHODS, images: Mapping[str, int] = IMAGES,
                  changes: Mapping[str, Any] = NOTHING, console: Any = None) -> dict[str, Any]:
    """Measure; returns plain JSON. ``repeats``: seeds; ``changes``: of the recipe. Raises ``InarchError`` where a run failed."""
    if repeats < 1:
        raise ConfigError(f"bench compare: repeats={repeats}; expected at least 1 seed")
    about = circumstances()
    with tempfile.TemporaryDirectory() as place:
        found = worked(_wish(Path(place), repeats, tuple(methods), images, changes), console)
        _refuse_failures(found)
    recipe, spent = found.wish.suite.recipe, found.spent
    reached = {"seconds": spent.wall, "beside": spent.beside}
    return {
        "format": FORMAT, "kind": "compare", **about,
        "settings": {"model": BACKBONE, "side": recipe["image_size"], "images": images["train"] + images["val"], "test": images["test"],
                     "classes": CLASSES, "epochs": recipe["epochs"], "threads": recipe["threads"], "seeds": repeats, "budget": BUDGET},
        "goals": GOALS, **reached, "met": {goal: reached[goal] <= most for goal, most in GOALS.items()},
        "methods": {entry.name: _row(found, entry) for entry in found.taking.entries},
    }


def _wish(place: Path, seeds: int, methods: tuple[str, ...], images: Mapping[str, int], changes: Mapping[str, Any]) -> Wish:
    np.savez(place / "noise.npz", **_noise(images))
    local = load_suite("local")
    suite = dataclasses.replace(
        local, name="bench", title="Bench", backbone=f"timm:{BACKBONE}@{_weights(place)}", tasks=(SuiteTask("noise", "noise.npz"),),
        recipe={**local.recipe, "image_size": SIDE, "device": "cpu", **changes}, rates={"default": (RATE,)})
    return Wish(suite, place, methods, place / "runs", budget=BUDGET, seeds=tuple(range(seeds)), trials=1)


def _noise(images: Mapping[str, int]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {key: value for part, n in images.items() for key, value in (
        (f"x_{part}", rng.integers(0, 256, (n, DRAWN, DRAWN, 3), np.uint8)), (f"y_{part}", np.arange(n) % CLASSES))}


def _weights(place: Path) -> Path:
    import timm
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        values = timm.create_model(BACKBONE).state_dict()
    save_file(values, place / "weights.safetensors")
    return place / "weights.safetensors"


def _refuse_failures(found: Worked) -> None:
    """What was left out or failed would make the others look cheap."""
    lost = [*found.taking.left_out, *(f"{name}, seed {seed}: {state}" for (_, name), cell in found.agenda.cells.items()
                                     for seed, state in cell.seeds.items() if state is not True)]
    if lost:
        raise InarchError(f"bench compare: {len(lost)} of what was to be run did not finish; the first: {lost[0]}")


def _row(found: Worked, entry: Entry) -> dict[str, Any]:
    runs = [run for run in found.spent.runs if run.method == entry.name]
    return {"numbers": entry.numbers, "change": entry.change, "run_seconds": summary([run.seconds for run in runs]),
            "beside": beside(runs), "epoch_seconds": statistics.median(run.training for run in runs) / found.wish.suite.recipe["epochs"]}
