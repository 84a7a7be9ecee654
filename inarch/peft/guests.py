"""PEFT's own methods as methods of ours: ``peft:lora``, ``peft:oft``, whatever its registry holds.

A kind is found in the registry and its fields in the dataclass of its configuration, so that a kind of tomorrow needs no line here.
PEFT makes, names and saves the layers (``inarch/peft/planted.py``); where they sit is said by role, as for every method:
    targets    matrices q k v qkv o fc1 fc2, or norms; left out: those that PEFT's own table names for the kind, else q and v
    layers, towers    as ever; ``target_modules`` takes PEFT's own words instead
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from peft.config import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from inarch import anatomy, ports, roles
from inarch.adapter import Built, Method, each_once
from inarch.errors import CannotGraft, ConfigError, nearest
from inarch.grafting import plan
from inarch.peft.configs import RoleConfig
from inarch.peft.fields import fields_of
from inarch.ports import Stack

NORMS = "norms"
T5 = {"q": "q", "k": "k", "v": "v", "o": "o", "wi": "fc1", "wi_0": "fc1", "wi_1": "fc1", "wo": "fc2"}  # PEFT's words for it -> roles
FEEDFORWARD = ("k", "v", "fc2")  # what a kind that tells feed-forward matrices apart rescales (IA3, arXiv 2205.05638)


class Size:
    """``Guest.size``: the field that makes a kind larger, found when somebody asks."""

    def __get__(self, one: Any, kind: type[Guest]) -> str:
        from inarch.peft.offers import size_of

        return size_of(kind)


@dataclass(frozen=True, kw_only=True, repr=False)
class Guest(Method):
    """A kind of PEFT's registry, with the fields of its configuration; ``named`` makes one class for each kind."""

    targets: tuple[str, ...] | None = None

    kind: ClassVar[Any]  # the member of PeftType
    size = Size()  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targets is not None:
            each_once(type(self).__name__, "targets", self.targets, "matrix names such as 'q', 'v', 'fc1', or 'norms'")
        if "target_modules" in self.own and self.own["target_modules"] is not None and self.targets is not None:
            raise ConfigError(f"{type(self).__name__}: targets and target_modules say the same thing; give one of them")

    def __repr__(self) -> str:
        told = [f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(told)})"

    @property
    def identity_at_start(self) -> bool:
        return False  # PEFT's to say, and it says it nowhere

    @property
    def own(self) -> dict[str, Any]:
        """The fields that are PEFT's."""
        ours = {f.name for f in dataclasses.fields(Guest)}
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ours}

    @property
    def chosen(self) -> tuple[str, ...]:
        """The targets, those of the kind where none are given."""
        return usual_targets(type(self)) if self.targets is None else self.targets

    def wanted(self) -> tuple[str, ...]:
        return tuple(name for name in self.chosen if name != NORMS)

    def build(self, stacks: list[Stack]) -> Built:
        raise CannotGraft(f"{type(self).__name__} is PEFT's own: `inarch train --method {type(self).__name__}` runs it; in Python, "
                          "inarch.planting.planting(method).plant(model, ('head',), seed=0) or peft.get_peft_model")

    def places(self, model: nn.Module) -> dict[str, str]:
        """Path of every module to adapt -> its role, in order of depth; ``CannotGraft`` where the model's rows offer none."""
        sites = [site for stack in plan(model, self) for site in stack.sites]
        wide = sorted({site.span.name for site in sites if site.span.linear is None})
        if wide:
            raise CannotGraft(f"{type(self).__name__} wraps one matrix at a time; targets={wide}: expected names such as q, v, fc1")
        found = {f"{site.block}.{site.span.linear.module}": site.span.name for site in sites if site.span.linear}
        return found | (dict.fromkeys(self._norms(model), NORMS) if NORMS in self.chosen else {})

    def config(self, model: nn.Module) -> PeftConfig:
        """PEFT's configuration for this model; ``ConfigError`` with PEFT's reason."""
        if self.own.get("target_modules") is not None:
            return self.configured({})
        places = self.places(model)
        inner = [path for path, role in places.items() if role == "fc2"]
        return self.configured({"target_modules": meant(model, places), "feedforward_modules": inner})

    def configured(self, places: dict[str, Any]) -> PeftConfig:
        """PEFT's configuration with these fields and ``places``, as far as the kind knows them."""
        kind: Any = PEFT_TYPE_TO_CONFIG_MAPPING[self.kind]
        known = {f.name for f in dataclasses.fields(kind)}
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in self.own.items()}
        fields |= {name: value for name, value in {**places, "progressbar": False}.items() if name in known}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return kind(**fields)
        except (ValueError, TypeError, ImportError) as problem:
            raise ConfigError(f"{type(self).__name__}: {one_line(problem)}") from None

    def _norms(self, model: nn.Module) -> list[str]:
        """Norms of the chosen layers; with neither layers nor towers chosen, also those outside of the blocks that do not train anyway."""
        names = [name for name in roles.resolve(model, (NORMS,)) if name not in roles.always(model)]
        owners = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
        if self.layers is None and self.towers is None:
            return owners
        blocks = [b for b in anatomy.blocks(model) if b.row.matrices and (self.towers is None or b.tower in self.towers)]
        depths = Counter(block.tower for block in blocks)
        chosen = {tower: set(ports.select(self.layers, depth)) for tower, depth in depths.items()}
        inside = tuple(f"{block.path}." for block in blocks if block.layer in chosen[block.tower])
        return [path for path in owners if path.startswith(inside)]


def meant(model: nn.Module, paths: Collection[str]) -> list[str] | str:
    """The paths as PEFT is to understand them: it takes a name for every path that ends alike, where there is one a pattern says which."""
    ends = tuple(f".{path}" for path in paths)
    alike = any(name.endswith(ends) for name, _ in model.named_modules() if name not in paths)
    return "|".join(map(re.escape, paths)) if alike else list(paths)


def named(word: str) -> type[Guest]:
    """The method of a kind by its name in PEFT's registry, in any case; raises ``ConfigError`` with the nearest known one."""
    found = {kind.value.lower(): kind for kind in kinds()}
    if word.lower() not in found:
        raise ConfigError(f"no method 'peft:{word}'; {nearest(word.lower(), found)}")
    return _guest(found[word.lower()])


@cache
def _guest(kind: Any) -> type[Guest]:
    taken = frozenset({*dir(Guest), *(f.name for f in dataclasses.fields(Guest))})
    own = fields_of(PEFT_TYPE_TO_CONFIG_MAPPING[kind], taken)
    made: type[Guest] = dataclasses.make_dataclass(
        kind.value.lower(), own, bases=(Guest,), namespace={"kind": kind}, frozen=True, kw_only=True, repr=False)
    made.__module__, made.__name__, made.__doc__ = "peft", f"peft:{kind.value.lower()}", PEFT_TYPE_TO_CONFIG_MAPPING[kind].__doc__
    return made


def kinds() -> list[Any]:
    """PEFT's own kinds, in the order of its registry; those that the bridge has put there are ours."""
    return [kind for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items() if not issubclass(config, RoleConfig)]


def usual_targets(guest: type[Guest]) -> tuple[str, ...]:
    """Where PEFT itself puts the kind: its table's words for T5, which are roles, or norms where it names norms."""
    tuner, config = PEFT_TYPE_TO_TUNER_MAPPING[guest.kind], PEFT_TYPE_TO_CONFIG_MAPPING[guest.kind]
    if "feedforward_modules" in {f.name for f in dataclasses.fields(config)}:
        return FEEDFORWARD
    table: Any = getattr(tuner, "target_module_mapping", None) or {}
    words = [word for row in table.values() if not isinstance(row, str) for word in row]
    if words and 2 * sum("norm" in word.lower() or word.startswith("ln") for word in words) > len(words):
        return (NORMS,)
    return tuple(dict.fromkeys(T5[word] for word in table.get("t5", ()) if word in T5)) or ("q", "v")


def refuse_whole(guest: Guest) -> None:
    """A kind whose wrapper computes the forward (prompts, task ids, a loss of its own) has no place: here the backbone is called."""
    tuner = PEFT_TYPE_TO_TUNER_MAPPING[guest.kind]
    if not issubclass(tuner, BaseTuner) or tuner.forward is not BaseTuner.forward:
        raise CannotGraft(f"{type(guest).__name__} works in the forward of PEFT's {tuner.__name__}, not in layers alone, and here the "
                          "backbone itself is called; use peft.get_peft_model")


def one_line(problem: Exception) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


__all__ = ["Guest", "kinds", "named", "one_line", "refuse_whole", "usual_targets"]
