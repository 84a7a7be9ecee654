"""Equal budgets: the largest size, or else the most of the upper layers, with which a method trains no more numbers than allowed.

    n(size, layers) <= budget        n: trained numbers without the head, counted on a model of shapes alone, growing with both
The size is the field that the method itself names (``Method.size``); a method without one, or too large at its least, keeps the last
k layers of every tower.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache

from inarch.adapter import Method
from inarch.errors import ConfigError

LEAST = 64  # the least size that a method allows is looked for up to here
GAP = 3  # sizes in a row that a method may refuse, such as those that a number of groups does not divide
Numbers = Callable[[Method], int]


@dataclass(frozen=True)
class Fitted:
    """A method within its budget, what it trains there without the head, and the fields that were set for it."""

    method: Method
    numbers: int
    change: str = ""


def fitted(method: Method, budget: int, numbers: Numbers, depth: int, fixed: Collection[str] = ()) -> Fitted:
    """``method`` changed so that it trains as much as it can within ``budget``; raises ``ConfigError`` where it cannot at all.

    ``numbers`` counts, and raises ``ConfigError`` where a size cannot be placed; ``depth``: blocks of the deepest tower; ``fixed``:
    fields that stay as they are, because a user has set them.
    """
    if method.size and method.size not in fixed:
        if found := _grown(method, budget, numbers, "layers" not in fixed):
            return found
        method = next((small for n in range(1, LEAST) if (small := _tried(method.resized, n)) is not None), method)
    least = numbers(method)
    if least <= budget:
        return Fitted(method, least)

    def above(k: int) -> Method:
        return dataclasses.replace(method, layers=f"-{k}:")

    if "layers" not in fixed and (found := _largest(above, budget, numbers, depth - 1)):
        return dataclasses.replace(found, change=", ".join(filter(None, (_size(method), f"layers={found.method.layers}"))))
    one = _counted(above, 1, numbers)
    raise ConfigError(f"{type(method).__name__} trains at least {least if one is None else min(one, least):,} numbers on this backbone, "
                      f"the budget is {budget:,}; raise the budget, or leave the method out")


def _grown(method: Method, budget: int, numbers: Numbers, free: bool) -> Fitted | None:
    """The largest size within the budget; where the method takes no larger one and leaves layers out, those too."""
    found = _largest(method.resized, budget, numbers, budget)
    if found is None:
        return None
    found = dataclasses.replace(found, change=_size(found.method))
    if not free or method.layers is None or _counted(method.resized, getattr(found.method, method.size) + 1, numbers) is not None:
        return found
    every = _largest(dataclasses.replace(method, layers=None).resized, budget, numbers, budget)
    more = every is not None and every.numbers > found.numbers
    return dataclasses.replace(every, change=f"{_size(every.method)}, all layers") if every is not None and more else found


def _size(method: Method) -> str:
    return f"{method.size}={getattr(method, method.size)}" if method.size else ""


def _tried(make: Callable[[int], Method], n: int) -> Method | None:
    try:
        return make(n)
    except ConfigError:
        return None


def _counted(make: Callable[[int], Method], n: int, numbers: Numbers) -> int | None:
    """None where the method or the backbone refuses this ``n``."""
    try:
        return numbers(make(n))
    except ConfigError:
        return None


def _largest(make: Callable[[int], Method], budget: int, numbers: Numbers, most: int) -> Fitted | None:
    """The largest n from 1 to ``most`` within the budget: doubled until it is too large or refused, then closed in on.

    A size that is refused between two that are not is passed over by up to ``GAP`` steps down.
    """
    counted = cache(lambda n: _counted(make, n, numbers))
    low, top = 0, 1
    while top <= most and ((n := counted(top)) is not None or not low) and (n is None or n <= budget):
        low, top = (low if n is None else top), 2 * top
    top, turn = min(top, most + 1), 0
    while top - low > 1:
        at, turn = _between(low, top, counted, budget, halve=turn % 3 == 2), turn + 1
        found = next((n for n in range(at, max(low, at - GAP - 1), -1) if counted(n) is not None), None)
        if found is None or (counted(found) or 0) > budget:
            top = at if found is None else found
        else:
            low = found
    while low > 1 and counted(low // 2) == counted(low):  # a size beyond which nothing more trains
        low //= 2
    return Fitted(make(low), counted(low) or 0) if low else None


def _between(low: int, top: int, counted: Callable[[int], int | None], budget: int, halve: bool) -> int:
    """The middle, or where the straight line from ``low`` to ``top`` meets the budget, where both are points of it."""
    ends = (counted(low) if low else None), (None if halve else counted(top))
    if ends[0] is None or ends[1] is None or ends[1] <= ends[0]:
        return (low + top) // 2
    return min(max(low + 1, low + (budget - ends[0]) * (top - low) // (ends[1] - ends[0])), top - 1)
