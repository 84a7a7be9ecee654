"""The probe: how much of each adapter should be used, learned on base classes that its other numbers do not see.

    pseudo-base   ceil(3/4 n) of the n base classes, drawn by the seed, at least two left      pseudo-novel   the rest
    odd steps     theta <- theta - grad_theta [CE + extra]   on pseudo-base images among pseudo-base names,   gates constant
    even steps    alpha <- alpha - grad_alpha CE             on pseudo-novel images among pseudo-novel names, theta constant
Afterwards theta is as it was before, and the gates stay as they are. First-order; no novel class, image or name is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.container import container_of
from inarch.errors import ConfigError, TrainingDiverged
from inarch.switching import hold
from inarch.tasks.learner import Learner
from inarch.tasks.match import Said, Shown
from inarch.tasks.task import Feed, Tick
from inarch.training.optimizer import BETAS, adamw
from inarch.training.order import keyed, permutation

SHARE = 0.75
LEAST = 4  # base classes: two to learn from, two to choose by
EPOCH = 1 << 20  # augmentations of the probe are drawn under epochs that no fit has


@dataclass(frozen=True, eq=False)
class Halves:
    """Pseudo-base and pseudo-novel classes, sorted."""

    base: Tensor
    novel: Tensor


def pseudo(classes: int, seed: int) -> Halves:
    """Of the base classes; ``ConfigError`` where there are too few to hold some back."""
    if classes < LEAST:
        raise ConfigError(f"probe='gates': {classes} base classes are too few to hold two back; it needs {LEAST}, or set probe='off'")
    drawn = permutation(classes, seed, "probe")
    kept = min(math.ceil(SHARE * classes), classes - 2)
    return Halves(drawn[:kept].sort().values, drawn[kept:].sort().values)


@dataclass(eq=False)
class Probe:
    """``gates`` are chosen by the pseudo-novel classes, ``cores`` learned on the pseudo-base ones; by their names in the adapter."""

    learner: Learner
    gates: dict[str, nn.Parameter]
    cores: dict[str, nn.Parameter]

    @staticmethod
    def of(learner: Learner) -> Probe:
        """Of the active adapter; ``ConfigError`` where its method has nothing that a probe could choose."""
        (scion,) = container_of(learner.model).active().values()
        every = scion.trained()
        gates = {name: p for name, p in every.items() if {*name.split(".")} & {*scion.method.probed}}
        if not gates:
            raise ConfigError(f"probe='gates': {scion.method} has no gates to learn; set probe='off'")
        base = {name: p for name, p in learner.model.named_parameters() if p.requires_grad and not name.startswith("inarch.")}
        return Probe(learner, gates, {name: p for name, p in every.items() if name not in gates} | base)

    def core_gradient(self, shown: Shown, halves: Halves) -> tuple[Tensor, list[Tensor | None]]:
        said = self._said(shown, halves.base)
        loss = (F.cross_entropy(said.logits, said.labels, reduction="none") + said.extra).mean()
        return loss, list(torch.autograd.grad(loss, [*self.cores.values()], allow_unused=True))

    def gate_gradient(self, shown: Shown, halves: Halves) -> tuple[Tensor, list[Tensor | None]]:
        said = self._said(shown, halves.novel)
        loss = F.cross_entropy(said.logits, said.labels)
        return loss, list(torch.autograd.grad(loss, [*self.gates.values()], allow_unused=True))

    def _said(self, shown: Shown, among: Tensor) -> Said:
        self.learner.among = among.to(shown.labels.device)
        try:
            return self.learner(shown)
        finally:
            self.learner.among = None


def run(learner: Learner, feed: Feed, labels: Tensor, recipe: Any, steps: int, engine: Any, tick: Tick | None = None) -> dict[str, Tensor]:
    """Learn the gates in ``steps`` steps, put everything else back, hold the gates; returns them."""
    probe, halves = Probe.of(learner), pseudo(len(learner.prompts), recipe.seed)
    before = {name: p.detach().clone() for name, p in probe.cores.items()}
    learner.eval()
    container_of(learner.model).train()  # adapters learn as in the fit, whatever was scored before
    core = adamw(probe.cores.values(), lr=recipe.lr, betas=BETAS, weight_decay=recipe.weight_decay)
    method = next(iter(container_of(learner.model).active().values())).method
    pace = max((pace for word, pace in method.paces.items() if word in method.probed), default=1.0)
    gate = adamw(probe.gates.values(), lr=recipe.lr * pace, betas=BETAS, weight_decay=0.0)
    shown = _stream(feed, labels, halves, recipe, steps)
    for step in range(steps):
        torch.manual_seed(keyed(recipe.seed, "probe", step))
        on_cores = step % 2 == 0
        gradient, owned, optimizer = (probe.core_gradient, probe.cores, core) if on_cores else (probe.gate_gradient, probe.gates, gate)
        _step(step, *gradient(next(shown).to(engine.device), halves), owned, optimizer, recipe.clip)
        if tick is not None:
            tick(step + 1, steps)
    with torch.no_grad():
        for name, parameter in probe.cores.items():
            parameter.copy_(before[name])
            parameter.grad = None
    return fixed(learner, {name: p.detach().clone() for name, p in probe.gates.items()}, engine)


def _step(step: int, loss: Tensor, gradients: list[Tensor | None], owned: dict[str, nn.Parameter], optimizer: Any, clip: float) -> None:
    if not torch.isfinite(loss):
        raise TrainingDiverged(f"probe, step {step + 1}: the loss is {float(loss.detach())}; use a smaller lr, or probe='off'")
    for parameter, gradient in zip(owned.values(), gradients, strict=True):
        parameter.grad = gradient
    nn.utils.clip_grad_norm_(owned.values(), clip or math.inf)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def fixed(learner: Learner, gates: dict[str, Tensor], engine: Any) -> dict[str, Tensor]:
    """Put these gates in, the main process's in all, and hold them."""
    (scion,) = container_of(learner.model).active().values()
    if engine.num_processes > 1:
        from accelerate.utils import broadcast

        gates = {name: broadcast(value.to(engine.device)) for name, value in gates.items()}
    trained = scion.trained()
    with torch.no_grad():
        for name, value in gates.items():
            trained[name].copy_(value)
            trained[name].grad = None
    hold(learner.model, gates)
    return gates


def _stream(feed: Feed, labels: Tensor, halves: Halves, recipe: Any, steps: int) -> Iterator[Shown]:
    """Batches of pseudo-base and pseudo-novel rows in turn, pass after pass over each."""
    rows = [torch.nonzero(torch.isin(labels, half)).flatten() for half in (halves.base, halves.novel)]
    for number in range(steps):
        cuts = [half[permutation(len(half), recipe.seed, "probe rows", k, number)].split(recipe.batch_size) for k, half in enumerate(rows)]
        pairs = max(map(len, cuts))
        turns = [cut[i % len(cut)].tolist() for i in range(pairs) for cut in cuts]
        for batch in feed.batches(turns, EPOCH + number):
            yield batch.inputs
