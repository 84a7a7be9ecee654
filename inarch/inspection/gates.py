"""Gate maps: the granularity-controlled matrix s G of every layer, as a forward on real examples shows it (VL-PET, Fig. 3).

    large [B, N, d]      middleX [B, N, 1]      middleY [d]      small [B, 1, 1]
A value of 1 leaves the sub-layer's output as it is, 0 shuts it off. ``rows`` keeps what can vary by place: one number per token
(mean over channels), per channel, or per example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inarch.adapter import Adapter
from inarch.container import container_of
from inarch.errors import ConfigError
from inarch.methods.vlpet import Gated

AXES = {"large": "token", "middleX": "token", "middleY": "channel", "small": "example"}  # what a row runs over


@dataclass(frozen=True, eq=False)
class GateView:
    """One layer's s G: its mean, least, largest and spread over all that it multiplies, and its row along ``axis``."""

    stack: str
    layer: int
    axis: str
    row: Tensor
    mean: float
    low: float
    high: float
    std: float

    def to_json(self) -> dict[str, Any]:
        return {"stack": self.stack, "layer": self.layer, "axis": self.axis, "mean": self.mean, "min": self.low, "max": self.high,
                "std": self.std, "row": self.row.tolist()}


@dataclass(eq=False)
class Tap:
    """A forward hook on one stack's gate; keeps the last values of each site."""

    adapter: Gated
    seen: dict[int, Tensor]

    def __call__(self, gate: nn.Module, args: tuple, output: Tensor) -> None:
        self.seen[args[2]] = self.adapter.scale * output.detach()


@contextmanager
def tapped(adapters: dict[str, Adapter]) -> Iterator[dict[str, dict[int, Tensor]]]:
    """While open, every forward leaves the gates it used, by stack and site."""
    gated = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, Gated) and adapter.gate is not None}
    seen: dict[str, dict[int, Tensor]] = {name: {} for name in gated}
    handles = [a.gate.register_forward_hook(Tap(a, seen[name])) for name, a in gated.items()]  # type: ignore[union-attr]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def gate_maps(model: nn.Module, forward: Callable[[nn.Module], Any]) -> list[GateView]:
    """The gates of the one active adapter in ``forward(model)``; raises ``ConfigError`` where it has none."""
    active = list(container_of(model).active().values())
    scion = active[0] if len(active) == 1 else None
    kind = getattr(scion.method, "gate", "none") if scion else "none"
    if scion is None or kind not in AXES:
        what = type(scion.method).__name__ if scion else f"{len(active)} active adapters"
        raise ConfigError(f"gate maps need one active VL-PET adapter with a gate; found {what}")
    with tapped(scion.adapters()) as seen:
        forward(model)
    layers = {stack.name: [site.layer for site in stack.sites] for stack in scion.stacks}
    return [_view(name, layers[name][i], AXES[kind], values) for name, sites in seen.items() for i, values in sorted(sites.items())]


class _Enough(Exception):
    """One batch has been seen."""


def gates_of_run(run: str | Path, batch: int = 16) -> list[GateView]:
    """The gates on the first ``batch`` validation examples of a run (test, where it has no validation part)."""
    from inarch.evaluate import rebuild
    from inarch.tasks import task_of
    from inarch.tasks.task import Start
    from inarch.training.score import Alone

    rebuilt = rebuild(run)
    engine, split = Alone(rebuilt.device), "val" if rebuilt.card.data["val"] else "test"
    part = task_of(rebuilt.recipe).again(Start(rebuilt.recipe, rebuilt.run, engine, rebuilt.card), rebuilt.net, split, None, batch)

    def stop(done: int, total: int) -> None:
        raise _Enough

    def once(model: nn.Module) -> None:
        with suppress(_Enough):
            part.found(engine, rebuilt.net, stop)

    try:
        return gate_maps(rebuilt.net.model, once)
    finally:
        part.close()


def _view(stack: str, layer: int, axis: str, values: Tensor) -> GateView:
    flat = values.double()
    row = {"token": lambda: flat[0].mean(-1), "channel": lambda: flat, "example": lambda: flat.flatten()}[axis]()
    return GateView(stack, layer, axis, row.cpu(), float(flat.mean()), float(flat.min()), float(flat.max()), float(flat.std(correction=0)))


def table(views: list[GateView]) -> list[tuple[str, ...]]:
    """Lines of the printed table, its head first."""
    head = ("stack", "layer", "mean", "min", "max", "std")
    return [head] + [(v.stack, str(v.layer), *(f"{x:.3f}" for x in (v.mean, v.low, v.high, v.std))) for v in views]
