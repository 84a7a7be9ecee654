"""What a net says to every row of a table, each exactly once, whatever the number of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inarch.errors import TrainingDiverged
from inarch.tasks.task import Feed, Tick
from inarch.training.machine import gathered
from inarch.training.order import Chunks


@dataclass(frozen=True)
class Alone:
    """The part of accelerate's engine that scoring needs, where there is one process and nothing is trained."""

    device: torch.device
    num_processes: int = 1
    process_index: int = 0


def collect(engine: Any, feed: Feed, batch: int, compute: Callable[[Any], Tensor], tick: Tick | None = None) -> Tensor:
    """``compute`` of every row of the feed's table, ``[n, ...]`` on the CPU, in order."""
    return torch.cat(list(collected(engine, feed, batch, compute, tick)))


@torch.no_grad()
def collected(engine: Any, feed: Feed, batch: int, compute: Callable[[Any], Tensor], tick: Tick | None = None) -> Iterator[Tensor]:
    """The same, batch by batch."""
    n, done = len(feed), 0
    for inputs, _ in feed.batches(Chunks(n, batch, engine.process_index, engine.num_processes)):
        piece = gathered(engine, compute(inputs.to(engine.device)))[: min(batch, n - done)]
        done += len(piece)
        yield piece.cpu()
        if tick is not None:
            tick(done, n)


def logits(
    engine: Any, net: nn.Module, feed: Feed, batch: int, where: str, names: Sequence[str], tick: Tick | None = None
) -> np.ndarray:
    """The net's logits in evaluation mode; ``TrainingDiverged`` when one is not finite."""
    net.eval()
    found = collect(engine, feed, batch, net, tick).numpy()
    bad = np.flatnonzero(~np.isfinite(found).all(1))
    if len(bad):
        raise TrainingDiverged(f"{where}: the logits of {len(bad)} of {len(found)} images are not finite (first: "
                               f"{names[bad[0]]}); train again with a smaller lr, or in precision fp32")
    return found
