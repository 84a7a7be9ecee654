"""What generation costs per token: CPU seconds of the process as a ratio to the floor, and how often adapters are called.

    per token = (t(long) - t(short)) / (long - short)       cached greedy generation of ``long`` and of ``short`` tokens for one batch,
                                                            so that encoding and the first step's cross-attention cancel
    calls     = of every stack's adapters in one generation of ``long`` tokens: exact
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from inarch.adapter import defines
from inarch.bench.subjects import Family
from inarch.bench.timing import race, ratio
from inarch.container import container_of

SHORT, LONG = 4, 24


@dataclass(frozen=True)
class Call:
    """One gesture of an adapter, counted."""

    gesture: Callable[..., Any]
    key: str
    calls: Counter[str]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls[self.key] += 1
        return self.gesture(*args, **kwargs)


@contextmanager
def counted(model: nn.Module) -> Iterator[Counter[str]]:
    """How often the adapters of each stack edit something, from here to the end of the block."""
    calls: Counter[str] = Counter()
    adapters = [item for scion in container_of(model).active().values() for item in scion.adapters().items()]
    watched = [(key, adapter, g) for key, adapter in adapters for g in ("before", "after") if defines(adapter, g)]
    for key, adapter, gesture in watched:
        adapter.__dict__[gesture] = Call(getattr(adapter, gesture), key, calls)
    try:
        yield calls
    finally:
        for _, adapter, gesture in watched:
            del adapter.__dict__[gesture]


def told(family: Family, ready: dict[str, nn.Module], examples: int, repeats: int, tick: Callable[[str], None]) -> dict[str, Any]:
    """Per method: seconds per token, their ratio to the floor's, calls."""
    data = family.batch(examples)
    for model in ready.values():
        model.eval()
    seconds = race({name: Teller(family, model, data) for name, model in ready.items()}, repeats, tick)
    return {name: {"seconds_per_token": statistics.median(seconds[name]), "token_ratio": asdict(ratio(seconds[name], seconds["floor"])),
                   **_calls(family, model)} for name, model in ready.items()}


@dataclass(frozen=True)
class Teller:
    """Two generations; returns the seconds of one more token."""

    family: Family
    model: nn.Module
    data: tuple[Any, ...]

    def __call__(self) -> float:
        return (self._seconds(LONG) - self._seconds(SHORT)) / (LONG - SHORT)

    def _seconds(self, tokens: int) -> float:
        began = time.process_time()
        self.family.tell(self.model, self.data, tokens)  # type: ignore[misc]
        return time.process_time() - began


def _calls(family: Family, model: nn.Module) -> dict[str, Any]:
    found = []
    for tokens in (SHORT, LONG):
        with counted(model) as calls:
            family.tell(model, family.batch(1), tokens)  # type: ignore[misc]
        found.append(dict(calls))
    short, long = found
    return {"calls": long, "calls_per_token": (sum(long.values()) - sum(short.values())) / (LONG - SHORT)}
