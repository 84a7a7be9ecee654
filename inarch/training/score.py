"""Logits of every image of a table, each exactly once, whatever the number of processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inarch.errors import TrainingDiverged
from inarch.training.feed import Feed, chunks
from inarch.training.machine import gathered

Tick = Callable[[int, int], None]


@torch.no_grad()
def collect(engine: Any, feed: Feed, batch: int, compute: Callable[[Tensor], Tensor], tick: Tick | None = None) -> Tensor:
    """``compute`` of every row of the feed's table, ``[n, ...]`` on the CPU, in order."""
    n, done, pieces = len(feed.table), 0, []
    for inputs, _ in feed.batches(chunks(n, batch, engine.process_index, engine.num_processes)):
        piece = gathered(engine, compute(inputs.to(engine.device)))[: min(batch, n - done)]
        pieces.append(piece.cpu())
        done += len(piece)
        if tick is not None:
            tick(done, n)
    return torch.cat(pieces)


def logits(engine: Any, net: nn.Module, feed: Feed, batch: int, where: str, tick: Tick | None = None) -> np.ndarray:
    """The net's logits in evaluation mode; ``TrainingDiverged`` when one is not finite."""
    net.eval()
    found = collect(engine, feed, batch, net, tick).numpy()
    bad = np.flatnonzero(~np.isfinite(found).all(1))
    if len(bad):
        raise TrainingDiverged(f"{where}: the logits of {len(bad)} of {len(found)} images are not finite (first: "
                               f"{feed.table.names[bad[0]]}); train again with a smaller lr, or in precision fp32")
    return found
