"""bench save: a checkpoint of a training run (what trains and its moments), as the loop saves it, over an epoch of 1000 images.

    share = median seconds of a save / (1000 images * median seconds of a training step / images of a step)

ARC of rank 50 and a head on ViT-B/16. Files are written and synced in a folder beside the measurements, on the disk that runs use;
an epoch is so many steps as were measured, extrapolated.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from inarch.bench.machine import circumstances
from inarch.bench.results import FORMAT
from inarch.bench.timing import Trainer, summary, threads
from inarch.bench.vision import VISION
from inarch.errors import ConfigError
from inarch.training.generations import Generations
from inarch.training.state import State, snapshot

EPOCH = 1000  # images
GOAL = 0.01  # of an epoch, at most
STEPS = 3  # after one that is dropped
KEEP = 2


def bench_save(*, repeats: int = 30, images: int = 8, n_threads: int = 1, model: str = "b", folder: Path = Path(),
               tick: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
    """Measure; returns plain JSON."""
    if repeats < 1 or images < 1 or model not in VISION.sizes:
        raise ConfigError(f"bench save: repeats={repeats}, images={images}, model={model!r}; expected at least 1, 1 and one of "
                          f"{', '.join(VISION.sizes)}")
    about = circumstances()
    net = VISION.subjects["arc"].prepare(VISION.base(VISION.sizes[model].address))
    with threads(n_threads):
        trainer = Trainer(net, lambda: VISION.loss(net, data))
        data = VISION.batch(images)
        steps = [_timed(trainer, tick, "step") for _ in range(STEPS + 1)][1:]
        with tempfile.TemporaryDirectory(dir=folder) as place:
            saver = Saver(net, trainer, Generations(Path(place), KEEP))
            saves = [_timed(saver, tick, "save") for _ in range(repeats + 1)][1:]
            size = sum(path.stat().st_size for path in max(Path(place).glob("gen-*")).iterdir())
    epoch = EPOCH / images * statistics.median(steps)
    share = statistics.median(saves) / epoch
    return {"format": FORMAT, "kind": "save", "settings": {"model": VISION.sizes[model].title, "images": images, "steps": STEPS,
            "repeats": repeats, "threads": n_threads, "keep": KEEP, "goal": GOAL}, **about,
            "bytes": size, "step_seconds": summary(steps), "images_per_second": images / statistics.median(steps),
            "save_seconds": summary(saves), "epoch_seconds": epoch, "share_of_epoch": share, "met": share <= GOAL}


class Saver:
    """Writes the next checkpoint of a model and its optimizer."""

    def __init__(self, net: nn.Module, trainer: Trainer, generations: Generations) -> None:
        self.trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
        self.optimiser, self.generations = trainer.optimiser, generations

    def __call__(self) -> None:
        assert self.optimiser is not None
        self.generations.save(*snapshot(State(), self.trained, self.optimiser, None))


def _timed(work: Callable[[], Any], tick: Callable[[str], None], what: str) -> float:
    """Seconds by the clock: a save waits for the disk."""
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    tick(what)
    return seconds
