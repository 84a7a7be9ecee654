"""Where the workers of a comparison compute: a core each, as many as a run has threads, or where there are GPUs a GPU each.

    CUDA_VISIBLE_DEVICES of worker k = the (k mod n)-th of the n GPUs that this process sees
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from inarch.evaluate import device_named


@dataclass(frozen=True)
class Seats:
    """``count`` of them, ``each`` of so many of a ``kind``; ``gpus``: the names that these have in ``CUDA_VISIBLE_DEVICES``, none where
    nothing is to be chosen."""

    kind: str
    count: int
    gpus: tuple[str, ...] = ()
    each: int = 1

    def __str__(self) -> str:
        there = self.count * self.each
        return f"{there} {self.kind}{'s' * (there > 1)}" + (f", {self.each} for each" if self.each > 1 else "")

    def free(self, taken: Sequence[str | None]) -> str | None:
        """The GPU that the fewest have; None where there is none to choose."""
        return min(self.gpus, key=taken.count, default=None)


def seats(device: str, threads: int = 1) -> Seats:
    """Of this machine, for runs on ``device`` and with ``threads`` (0: all) as a recipe says them.

    Raises ``ConfigError`` where the device is not usable here.
    """
    where = device_named(device)
    if where.type == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        each = min(threads or cores, cores)
        return Seats("core", cores // each, each=each)
    if where.type != "cuda" or where.index is not None:
        return Seats("device", 1)
    gpus = _visible()
    return Seats("GPU", len(gpus), gpus)


def _visible() -> tuple[str, ...]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    count = torch.cuda.device_count()
    return tuple(filter(None, map(str.strip, named.split(","))))[:count] if named else tuple(map(str, range(count)))
