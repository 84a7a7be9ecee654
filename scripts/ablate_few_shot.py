"""Does the ring help? Ablations of our AdaRing on a stand-in for CLIP, base-to-novel on three image sets, three seeds.

    python scripts/align_stand_in.py --data ../shared/data --text MINILM/model --out runs/stand-in
    python scripts/ablate_few_shot.py --data ../shared/data --backbone runs/stand-in --workers 8 --device cuda

Three rates per entry (entries of recipe "mma" have MMA's one), chosen on validation images of fruits71's base classes alone and used
for all sets; then seeds 1, 2, 3, scored after the last update. At least 300 updates of 16 images, 36 names compared in each. Finished
runs are kept, so that a stopped study goes on; what cannot be trained is reported, not dropped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from stand_in.sources import REPORTED, read

from inarch.seal import sealed

SEEDS = (1, 2, 3)
CHOOSER = "fruits71"
LAYERS = "-6:"  # as many as the text tower has
OURS = ("1e-3", "3e-3", "1e-2")
KEEP = {"keep_text": 8.0, "keep_image": 2.0, "keep_logits": 0.5}
LOOSE = dict.fromkeys(KEEP, 0.0)


@dataclass(frozen=True)
class Entry:
    """One row: its name, what it tells, its recipe fields, and the rates to try; none: the recipe's own."""

    name: str
    question: str
    fields: dict[str, Any]
    rates: tuple[str, ...] = OURS


def ring(name: str, question: str, rates: tuple[str, ...] = OURS, **more: Any) -> Entry:
    chosen = {"layers": LAYERS} | more.pop("set", {})
    return Entry(name, question, {"method": "adaring", "set": chosen, **more}, rates)


def other(name: str, method: str, rates: tuple[str, ...], set: dict[str, Any], **more: Any) -> Entry:
    return Entry(name, "other methods", {"method": method, "set": set, **more}, rates)


CLIP_LORA = {"rank": 2, "targets": ["q", "k", "v"], "alpha": 1.0, "dropout": 0.25, "scaling": "sqrt"}
DENSE = {"layers": LAYERS, "scale": 0.1, "gradient_trick": False}
AS_MMA = {"layers": LAYERS, "ranks": [5], "init": "mma", "bias": True, "scale": 0.001, "dropout": 0.0}
PARITY = {"recipe": "mma", "least_updates": 300}
ENTRIES = (
    Entry("zero-shot", "other methods", {"method": "frozen"}, ()),
    ring("adaring", "the default: ranks 1, 2, 4, probed gates, all losses"),
    ring("adaring-joint", "gates", probe="off"),
    ring("adaring-uniform", "gates", probe="off", set={"gate": "uniform"}),
    ring("adaring-plain", "losses", **LOOSE),
    ring("adaring-light", "losses", keep_text=1.0, keep_image=0.25, keep_logits=0.5),
    ring("adaring-r5", "single or mixed ranks", probe="off", set={"ranks": [5]}),
    ring("adaring-r134", "single or mixed ranks", set={"ranks": [1, 3, 4]}),
    ring("adaring-r4", "ring or train", probe="off", set={"ranks": [4]}),
    ring("train-r15", "ring or train", probe="off", set={"ranks": [15], "form": "train"}),
    ring("adaring-apart", "towers", set={"share_towers": "never"}),
    Entry("parity-mma", "ring or dense, MMA's recipe", {"method": "mma", "set": {"layers": LAYERS}, **PARITY}, ()),
    Entry("parity-ring-r5", "ring or dense, MMA's recipe", {"method": "adaring", "set": AS_MMA, **PARITY}, ()),
    Entry("dense", "ring or dense, our recipe", {"method": "mma", "set": DENSE, **KEEP}, OURS),
    other("clip-lora", "lora", ("2e-4", "1e-3", "5e-3"), CLIP_LORA, weight_decay=1e-2),
    other("clip-lora-kept", "lora", ("2e-4", "1e-3", "5e-3"), CLIP_LORA, weight_decay=1e-2, **KEEP),
    other("arc-kept", "arc", ("1e-3", "5e-3", "2e-2"), {"rank": 16, "layers": LAYERS}, **KEEP),
    other("clip-adapter", "clipadapter", ("1e-3", "1e-2", "3e-2"), {}),
    other("coop", "context", ("2e-3", "1e-2", "5e-2"), {"length": 4, "init": "template"}),
)


@dataclass(frozen=True)
class Job:
    """One run: where its folder and its result go."""

    folder: Path
    target: Path
    recipe: dict[str, Any] = field(repr=False)


def main() -> None:
    asked = arguments()
    began = time.monotonic()
    for source in REPORTED:
        write_set(source, asked.data, asked.out)
    entries = [entry for entry in ENTRIES if asked.only is None or entry.name in asked.only]
    trials = [trial(asked, entry, rate) for entry in entries if len(entry.rates) > 1 for rate in entry.rates]
    work(trials, asked, began)
    jobs = [seeded(asked, entry, source, seed, chosen(asked, entry)) for seed in SEEDS for source in REPORTED for entry in entries]
    work(jobs, asked, began)


def write_set(source: str, data: Path, out: Path) -> None:
    """The set in the layout of few-shot arrays, its base classes marked."""
    target = out / "data" / f"{source}.npz"
    if target.exists():
        return
    found = read(source, data)
    target.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{axis}_{part}": values for part, pair in found.parts.items() for axis, values in zip("xy", pair, strict=True)}
    np.savez(target.with_suffix(".part.npz"), classes=np.array(found.names), is_base=found.base, **arrays)
    target.with_suffix(".part.npz").replace(target)


def common(asked: argparse.Namespace, source: str) -> dict[str, Any]:
    return {"data": str(asked.out / "data" / f"{source}.npz"), "backbone": f"clip:{asked.backbone}", "epochs": 10, "least_updates": 300,
            "names_per_update": 36, "augment": "none", "evaluate_every": 10, "device": asked.device, "threads": 1, "report": False,
            "tensorboard": False, "checkpoint_every": 3600.0, "val_fraction": 0.1}


def trial(asked: argparse.Namespace, entry: Entry, rate: str) -> Job:
    name = f"{entry.name}-lr{rate}"
    fields = common(asked, CHOOSER) | entry.fields | {"lr": float(rate), "seed": 42, "test": False}
    return Job(asked.out / "try" / name, asked.results.with_name(f"{asked.results.name}-trials") / f"{name}.json", fields)


def chosen(asked: argparse.Namespace, entry: Entry) -> dict[str, Any]:
    """The rate of the better trial; the smaller where both are as good."""
    if len(entry.rates) < 2:
        return {}
    scores = {}
    for rate in entry.rates:
        path = trial(asked, entry, rate).target
        scores[rate] = json.loads(path.read_text())["metrics"]["val"]["accuracy"] if path.exists() else -1.0
    return {"lr": float(max(entry.rates, key=lambda rate: (scores[rate], -float(rate))))}


def seeded(asked: argparse.Namespace, entry: Entry, source: str, seed: int, rate: dict[str, Any]) -> Job:
    fields = common(asked, source) | entry.fields | rate | {"seed": seed}
    name = f"{entry.name}-seed{seed}"
    return Job(asked.out / source / name, asked.results / source / f"{name}.json", fields)


def work(jobs: list[Job], asked: argparse.Namespace, began: float) -> None:
    """What is missing, in worker processes, until the time is up."""
    todo = [job for job in jobs if not job.target.exists()]
    done = 0
    with multiprocessing.get_context("spawn").Pool(asked.workers) as pool:
        for job, problem in pool.imap_unordered(one, [(job, asked.minutes * 60 - (time.monotonic() - began)) for job in todo]):
            done += 1
            print(f"{time.monotonic() - began:6.0f} s  {done}/{len(todo)}  {job.target.stem} {problem}", flush=True)


def one(given: tuple[Job, float]) -> tuple[Job, str]:
    """Train one job; what went wrong as a line."""
    job, left = given
    from inarch.errors import InarchError
    from inarch.recipe import Recipe
    from inarch.train import train

    global DEADLINE
    DEADLINE = DEADLINE or time.monotonic() + left
    if time.monotonic() > DEADLINE:
        return job, "left for later"
    shutil.rmtree(job.folder, ignore_errors=True)  # begun, not finished
    try:
        train(Recipe.parse({**job.recipe, "out": str(job.folder)}))
    except InarchError as problem:
        return job, f"failed: {problem}"
    keep(json.loads((job.folder / "result.json").read_text()), job.target)
    return job, ""


def keep(result: dict[str, Any], target: Path) -> None:
    """The result without what 450 classes make of it: confusions and numbers per class."""
    for scores in result["metrics"].values():
        for name in ("confusion", "per_class"):
            scores.pop(name, None)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(sealed(result), indent=1, sort_keys=True) + "\n")


DEADLINE = 0.0  # of this worker, from its first job on


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--backbone", type=Path, default=Path("runs/stand-in"))
    parser.add_argument("--out", type=Path, default=Path("runs/fewshot"))
    parser.add_argument("--results", type=Path, default=Path("results/fewshot"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no run after so many")
    parser.add_argument("--only", nargs="+", help="names of entries")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
