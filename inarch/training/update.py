"""One update: forward and backward over a window of micro-batches, a check, a clip, a step of the optimizer.

    g = grad  sum_i l_i / mass        over all examples i of the window, whatever their split into passes and processes
Nothing is written to a parameter before loss and gradient are known to be finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inarch.errors import TrainingDiverged
from inarch.tasks.task import Batch
from inarch.training import machine
from inarch.training.job import Job
from inarch.training.kept import Kept, counted
from inarch.training.optimizer import optimizer
from inarch.training.order import Shards, Window, keyed
from inarch.training.schedule import Rate

Fetch = Callable[[], Batch]  # this process's next shard
BACK_OFFS = 25  # fp16: halvings in a row before the scale itself is beside the point (2^16 / 2^25 < 1e-2)


@dataclass(frozen=True)
class Outcome:
    """Of one update: the sum of weighted losses, their mass, images seen.

    ``skipped``: nothing was changed, because fp16 overflowed and its scale backed off, or for what ``nonfinite`` says.
    """

    loss: float
    mass: float
    images: int
    skipped: bool = False
    nonfinite: str = ""


class Updater:
    """Makes updates on ``net``; ``trained`` are its parameters by name."""

    def __init__(self, engine: Any, net: nn.Module, job: Job, shards: Shards, schedule: Rate) -> None:
        self.engine, self.job, self.task, self.shards, self.schedule = engine, job, job.task, shards, schedule
        self.trained = job.trained
        recipe = job.recipe
        self.net, self.optimizer = machine.prepared(engine, net, optimizer(self.trained, recipe, job.model))
        self.in_a_row, self.spare = 0, recipe.skip_nonfinite
        self.kept: Kept | None = None  # of the first forward here

    @property
    def moments(self) -> torch.optim.Optimizer:
        """The optimizer itself, without accelerate's wrapping."""
        return self.optimizer.optimizer

    def __call__(self, number: int, window: Window, fetch: Fetch) -> Outcome:
        """Update ``number``; ``TrainingDiverged`` before anything is changed when loss or gradient is not finite and none is spare."""
        for group in self.moments.param_groups:
            group["lr"] = self.schedule(number) * group["pace"]
        rows = torch.cat(list(window))
        mass = self.task.mass(rows, self.shards.epoch)
        lost: list[int] = []
        loss = sum(self._backward(number, k, window, fetch, mass, lost) for k in range(len(window)))
        (loss,) = machine.total(self.engine, loss)
        norm = self._clipped()
        overflowed = self.engine.scaler is not None and math.isfinite(loss) and not math.isfinite(norm)
        if not overflowed and not (math.isfinite(loss) and math.isfinite(norm)):
            return self._passed_over(len(rows), self._complaint(number, loss, rows, lost))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._count(number, overflowed)
        return Outcome(loss, mass, len(rows), overflowed)

    def _backward(self, number: int, k: int, window: Window, fetch: Fetch, mass: float, lost: list[int]) -> float:
        """One backward pass on this process's part of micro-batch k; returns the sum of its weighted losses."""
        inputs, targets = fetch().to(self.engine.device)
        torch.manual_seed(keyed(self.job.recipe.seed, "noise", number, k, self.engine.process_index))
        with machine.summed_gradients(self.engine, self.net, last=k == len(window) - 1):
            with self._counting(len(inputs)):
                losses = self.task.losses(self.net(inputs), targets)
            if not self.shards.has(window[k]):
                losses = losses * 0  # a borrowed row: it keeps this process in step and counts for nothing
            # DDP takes the mean over processes, the window wants the sum
            self.engine.backward(losses.sum() * (self.engine.num_processes / mass))
        bad = torch.nonzero(~torch.isfinite(losses.detach())).flatten().tolist()
        lost += self.shards.mine(window[k])[bad].tolist() if self.shards.has(window[k]) else []
        return float(losses.detach().double().sum())

    @contextmanager
    def _counting(self, examples: int) -> Iterator[None]:
        """The first forward also tells what it keeps."""
        if self.kept is not None:
            yield
            return
        with counted(self.net) as self.kept:
            yield
        self.kept.examples = examples

    def _clipped(self) -> float:
        """The global norm of the gradient, which is scaled down to ``clip`` where it is larger."""
        self.engine.unscale_gradients(self.optimizer)
        limit = self.job.recipe.clip or math.inf
        norm = nn.utils.get_total_norm([p.grad for p in self.trained.values() if p.grad is not None])
        if torch.isfinite(norm):  # scaling by NaN would hide which tensor it came from
            nn.utils.clip_grads_with_norm_(self.trained.values(), limit, norm)
        return float(norm)

    def _count(self, number: int, overflowed: bool) -> None:
        self.in_a_row = self.in_a_row + 1 if overflowed else 0
        if self.in_a_row > BACK_OFFS:
            raise TrainingDiverged(f"update {number + 1}: the fp16 gradient overflowed {self.in_a_row} times in a row; "
                                   "use precision='bf16' or 'fp32'")

    def _passed_over(self, images: int, complaint: str) -> Outcome:
        """Drop the gradient: values and moments stay as they are, to the bit. As often as the recipe says, then the run ends."""
        if self.spare <= 0:
            raise TrainingDiverged(f"{complaint}, or use a smaller lr")
        self.spare -= 1
        if self.engine.scaler is not None:
            self.engine.scaler.update()  # it has unscaled this gradient, and will not unscale two
        self.optimizer.zero_grad(set_to_none=True)
        return Outcome(0.0, 0.0, images, skipped=True, nonfinite=complaint)

    def _complaint(self, number: int, loss: float, rows: Tensor, lost: list[int]) -> str:
        lost = sorted({int(i) for part in self._everyones(lost) for i in part})
        names = self.task.names(lost or rows.tolist())
        bad = [name for name, p in self.trained.items() if p.grad is not None and not torch.isfinite(p.grad).all()]
        what = f"loss {loss}" if not math.isfinite(loss) else f"gradient of {', '.join(bad[:3])}"
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        whose = "from" if lost else "somewhere in"
        return (f"update {number + 1} (lr {self.schedule(number):.3g}): {what} is not finite, {whose} {shown}; "
                f"the values after update {number} are kept: look at these {self.task.unit}")

    def _everyones(self, lost: list[int]) -> list[list[int]]:
        if self.engine.num_processes == 1:
            return [lost]
        from accelerate.utils import gather_object

        return gather_object([lost])
