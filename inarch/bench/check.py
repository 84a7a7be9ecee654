"""bench check: how many images per second and core are looked at before training: opened, decoded whole, hashed twice.

    rate = images / CPU seconds of the process, all its threads together

Generated JPEGs of smooth noise in a temporary folder, read from the page cache; sizes interleaved, the first repeat dropped.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inarch.bench.machine import circumstances
from inarch.bench.results import FORMAT
from inarch.bench.timing import race, summary
from inarch.data import check
from inarch.errors import ConfigError

SIZES = {"64 x 64": (64, 64), "96 x 96": (96, 96), "500 x 375": (500, 375)}
SMALL = 128  # pixels: the goal is about images whose longer side is at most this
GOAL = 500  # small JPEGs per second and core
QUALITY = 90


@dataclass(frozen=True)
class Checking:
    """Checks the folder; returns images per CPU second and per second. Raises ``ConfigError`` unless all of them were good."""

    folder: Path
    images: int

    def __call__(self) -> tuple[float, float]:
        began, before = time.perf_counter(), time.process_time()
        report = check(self.folder)
        cpu, wall = time.process_time() - before, time.perf_counter() - began
        if report.problems or report.counts["train"] != self.images:
            raise ConfigError(f"bench check: {len(report.problems)} problems in pictures made here; expected none")
        return self.images / cpu, self.images / wall


def bench_check(*, images: int = 400, repeats: int = 5, tick: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
    """Measure; returns plain JSON."""
    if images < 2 or repeats < 1:
        raise ConfigError(f"bench: images={images}, repeats={repeats}; expected at least 2 and 1")
    with tempfile.TemporaryDirectory() as place:
        rivals = {name: Checking(_drawn(Path(place) / name, size, images), images) for name, size in SIZES.items()}
        rates = race(rivals, repeats, tick)
        rows = {name: _row(rivals[name].folder, SIZES[name], rates[name]) for name in SIZES}
    return {"format": FORMAT, "kind": "check", "settings": {"images": images, "repeats": repeats, "quality": QUALITY, "goal": GOAL},
            **circumstances(), "sizes": rows}


def _drawn(root: Path, size: tuple[int, int], images: int) -> Path:
    """Two class folders of different pictures."""
    rng = np.random.default_rng(0)
    width, height = size
    for i in range(images):
        coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        folder = root / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=QUALITY)
    return root


def _row(folder: Path, size: tuple[int, int], rates: list[tuple[float, float]]) -> dict[str, Any]:
    files = list(folder.rglob("*.jpg"))
    cpu, wall = summary([rate for rate, _ in rates]), summary([rate for _, rate in rates])
    met = {"met": cpu["median"] >= GOAL} if max(size) <= SMALL else {}
    return {"bytes_per_image": round(sum(file.stat().st_size for file in files) / len(files)), "per_cpu_second": cpu,
            "per_second": wall, **met}
