"""Entrants of a comparison: methods by name, each at the size that its budget allows, and those that cannot take part, with the reason."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from inarch import anatomy, backbones
from inarch.adapter import Method
from inarch.errors import ConfigError, MissingExtra
from inarch.methods import adopt, configured
from inarch.methods.registry import METHODS, SETTINGS, known
from inarch.planting import planting
from inarch.recipe_rules import kind_of
from inarch.roles import head_paths
from inarch.study.budget import fitted

ALL = "all"
APART = frozenset(("frozen", "fullrank"))  # a model as it comes and an instrument of analysis are named or left out
PRESET = frozenset(setting.method for setting in SETTINGS.values()) & METHODS.keys()  # these take part by their settings of the literature
Fields = Mapping[str, Mapping[str, Any]]
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Entry:
    """``fields``: all of the method's, as a recipe's ``set`` takes them; ``change``: those that the budget has set."""

    name: str
    fields: Mapping[str, Any]
    numbers: int
    change: str


@dataclass(frozen=True)
class Entrants:
    """Those that take part, and for everybody else that was asked for why not."""

    entries: tuple[Entry, ...]
    left_out: tuple[str, ...]


class Stock:
    """A backbone as shapes alone, to count on."""

    def __init__(self, address: str, image_size: int | None = None) -> None:
        self.address, self.image_size = address, image_size

    @cached_property
    def model(self) -> Any:
        classes = 2 if kind_of(self.address) == "classify" else None  # the head is not counted
        return backbones.load(self.address, classes=classes, image_size=self.image_size, device="meta", pretrained=False).model

    @cached_property
    def depth(self) -> int:
        return max((block.layer + 1 for block in anatomy.blocks(self.model)), default=1)

    def numbers(self, method: Method) -> int:
        """What the method trains without the head; raises ``CannotGraft`` where it cannot be placed."""
        model, hands = copy.deepcopy(self.model), planting(method)
        hands.plant(model, ("head",) if head_paths(model) else (), seed=0)
        return hands.count(model).without_head


def entrants(names: Sequence[str], stock: Stock, budget: int | None, settings: Fields, usual: Fields = NOTHING) -> Entrants:
    """``names`` of methods, ``all`` for every one that the backbone takes; raises ``ConfigError`` where none is left.

    ``settings``: fields that a user has set, by method; the budget leaves them as they are. ``usual``: those of the suite, which it
    may change. Without a budget a method that is named and refuses is an error, otherwise it is left out, with its reason.
    """
    for name in settings.keys() - {*names} if ALL not in names else ():
        raise ConfigError(f"settings for {name!r}, which does not take part; the methods are {', '.join(names)}")
    guests, left_out = invited(stock) if ALL in names else ({}, [])
    entries = []
    for name in dict.fromkeys([*(name for name in names if name != ALL), *((*every(), *guests) if ALL in names else ())]):
        adopt(name)
        try:
            own = {**guests.get(name, NOTHING), **usual.get(name, NOTHING)}
            entries.append(_entry(name, stock, budget, settings.get(name, NOTHING), own))
        except ConfigError as problem:
            if name in names and budget is None:
                raise
            left_out.append(f"{name} takes no part: {problem}")
    if not entries:
        raise ConfigError("no method is left to compare: " + "; ".join(left_out))
    return Entrants(tuple(entries), tuple(left_out))


def every() -> list[str]:
    """Names of all our methods that a comparison of everything takes, and of those that other packages declare."""
    return [name for name in known() if name not in APART | PRESET]


def invited(stock: Stock) -> tuple[dict[str, Mapping[str, Any]], list[str]]:
    """PEFT's methods that the backbone takes, each with the fields that had to leave their default for it, and why the others do not."""
    try:
        from inarch.peft.offers import offered

        offers = offered(stock.model)
    except MissingExtra as problem:
        return {}, [f"PEFT's methods take no part: {problem}"]
    return ({offer.name: offer.fields for offer in offers if not offer.reason},
            [f"{offer.name} takes no part: {offer.reason}" for offer in offers if offer.reason])


def _entry(name: str, stock: Stock, budget: int | None, fields: Mapping[str, Any], usual: Mapping[str, Any]) -> Entry:
    method = configured(name, {**usual, **fields})
    if budget is None:
        return Entry(name, method.fields(), stock.numbers(method), "")
    found = fitted(method, budget, stock.numbers, stock.depth, fixed=fields.keys())
    return Entry(name, found.method.fields(), found.numbers, found.change)

