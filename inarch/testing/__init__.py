"""For whoever writes a method: ``check_method(Shift)`` tries it under every law on tiny models of three families, in seconds.

    from inarch.testing import check_method
    def test_shift():
        check_method(Shift, rank=4)

The same laws judge the methods of this package, on more models. They are about the plumbing; that the maths is the paper's needs a
test of its own against a plain loop. Nothing but transformers is needed, no test runner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from inarch.adapter import Method
from inarch.errors import ConfigError
from inarch.methods import method_named, name_of
from inarch.testing import laws
from inarch.testing.laws import LawBroken, hold
from inarch.testing.stocks import STOCKS, Stock

LAWS: tuple[Callable[[Stock, Method], object], ...] = (
    laws.identity, laws.gradient, laws.taken_off, laws.disabled, laws.saved, laws.copies, laws.merged, laws.once, laws.names, laws.counts,
)


def check_method(kind: type[Method], *, stocks: Sequence[Stock] = STOCKS, **settings: Any) -> dict[str, str]:
    """Every law on ``kind(**settings)`` on each of ``stocks``; returns stock -> what was found there.

    A stock that ``graft`` refuses is passed over with its reason, unless every one is. Raises ``LawBroken``, an ``AssertionError``,
    that names the stock, the law and what is wrong.
    """
    method = kind(**settings)
    _configuration(kind, method)
    found = {stock.name: _on(stock, method) for stock in stocks}
    refused = [f"{name}: {what}" for name, what in found.items() if what.startswith("refused")]
    hold(len(refused) < len(found), f"{method} can be grafted on none of the stocks, so no law was tried; {'; '.join(refused)}")
    return found


def _configuration(kind: type[Method], method: Method) -> None:
    """A configuration survives its file, refuses an unknown key, and its class is found again by name."""
    hold(kind.parse(method.fields()) == method, f"{method}: parse(fields()) is another configuration: {kind.parse(method.fields())}")
    hold(method_named(name_of(kind)) is kind, f"{kind.__name__}: its name {name_of(kind)!r} finds another class")
    try:
        kind.parse({"no such key": 1})
    except ConfigError:
        return
    raise LawBroken(f"{kind.__name__}: an unknown key is taken")


def _on(stock: Stock, method: Method) -> str:
    reason = laws.refusal(stock, method)
    if reason is not None:
        return f"refused: {reason}"
    results = {}
    for law in LAWS:
        try:
            results[law] = law(stock, method)
        except Exception as problem:  # a method of somebody else may raise anything
            broken = f"{method} on {stock.name}, law {law.__name__!r} ({law.__doc__})"
            raise LawBroken(f"{broken}: {type(problem).__name__}: {problem}") from problem
    return "passed and folds" if results[laws.merged] else "passed, does not fold"


__all__ = ["LAWS", "STOCKS", "LawBroken", "Stock", "check_method"]
