"""Finished runs as ``inarch train`` leaves them, made of chosen numbers: no model is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inarch import metrics
from inarch.data import Splits, load_splits
from inarch.preprocess import Preprocess
from inarch.recipe import Recipe
from inarch.run import Card, Run

ARC = {"rank": 50, "spans": ["attn", "mlp"], "dropout": 0.1, "bias": True}


def result(**changes: Any) -> dict[str, Any]:
    """A ``result.json``; ``changes`` name a top-level key, or ``test`` (accuracy), ``lr``, ``data``, ``backbone`` for short."""
    accuracy, name = changes.pop("test", 0.75), changes.pop("data", "pets")
    lr, backbone, sha = changes.pop("lr", 0.01), changes.pop("backbone", "vit_tiny"), changes.pop("sha", "a" * 64)
    method, seed = changes.get("method", "arc"), changes.get("seed", 0)
    recipe = {"data": f"../shared/{name}.npz", "backbone": f"timm:{backbone}", "method": method, "seed": seed, "lr": lr,
              "epochs": 10, "image_size": 64, "fit": "train", "augment": "none", "out": f"runs/{seed}"}
    return {
        "format": 1, "command": ["inarch", "train", f"--seed={seed}"], "recipe": recipe, "method": method, "config": ARC,
        "backbone": {"address": f"timm:{backbone}", "image_size": 64, "library": "timm",
                     "source": {"name": backbone, "sha256": "b" * 64}},
        "data": {"source": f"../shared/{name}.npz", "sha256": sha, "classes": 3, "train": 80, "val": 20, "test": 40},
        "count": {"adapter": 5000, "thawed": 300, "head": 300, "total": 99000, "trainable": 5300, "without_head": 5000,
                  "percent": 5.3},
        "adapter_bytes": 22_000, "head_bytes": 1_200, "epochs": 10, "seconds": 20.0, "seed": seed, "selection": "none",
        "metrics": {"val": {"accuracy": 0.7}, "test": None if accuracy is None else {"accuracy": accuracy}},
        "versions": {"inarch": "0.1.0", "torch": "2.13.0"}, "commit": "c" * 40,
        "hardware": "x86_64 cpu, 1 process, 2 threads each", "finished": "2025-01-01T00:00:00+00:00",
    } | changes


def put(folder: Path, name: str, fields: Any) -> Path:
    """``fields`` as ``folder/name``."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(fields if isinstance(fields, str) else json.dumps(fields))
    return path


def dataset(path: Path, classes: Sequence[str], n: int = 12, part: str = "test") -> Splits:
    """``n`` images of noise per part, 8 x 8, as an ``.npz`` at ``path``; without a test part for ``part="val"``."""
    rng, arrays = np.random.default_rng(7), {}
    for name in ("train", "val", "test")[: 3 if part == "test" else 2]:
        arrays[f"x_{name}"] = rng.integers(0, 256, (n, 8, 8, 3), np.uint8)
        arrays[f"y_{name}"] = np.arange(n, dtype=np.int64) % len(classes)
    np.savez(path, classes=np.array(classes), **arrays)
    return load_splits(str(path))


def run_folder(folder: Path, splits: Splits, logits: np.ndarray, *, labels: np.ndarray | None = None, part: str = "test",
               lines: Sequence[dict[str, Any]] = (), **changes: Any) -> Run:
    """The folder of a run that gave these ``logits`` on ``part``. ``labels [n, classes]`` make it a task of several labels."""
    run, table = Run(folder), getattr(splits, part)
    several = labels is not None
    labels = table.labels if labels is None else labels
    recipe = Recipe.parse({"data": splits.source, "backbone": "mini-vit", "out": str(folder), "epochs": 2, "seed": 3})
    run.make()
    run.write_recipe(recipe)
    backbone = {"address": "mini-vit", "image_size": 64, "library": "transformers",
                "source": {"name": "mini-vit", "licence": "Apache-2.0", "sha256": "b" * 64, "sets_seen": []}}
    fields = result(seed=3) | {"backbone": backbone, "recipe": recipe.model_dump(mode="json"), "config": ARC} | changes
    fields["data"] |= {"source": splits.source, "sha256": splits.sha256}
    measure = metrics.multilabel if several else metrics.classification
    fields["metrics"] = {part: measure(logits, labels, splits.classes)}
    data = fields["data"] | {"notes": ["two images are alike"]}
    run.write_card(Card(base=".", classes=splits.classes, multilabel=several, preprocess=Preprocess(size=64).to_json(),
                        backbone=backbone, fingerprint={}, data=data, count=fields["count"], processes=1,
                        started="2025-01-01T00:00:00+00:00", versions={}))
    for one in lines:
        run.log(one)
    run.write_predictions({part: (logits, labels, table.names)})
    run.write_result(fields)
    return run
