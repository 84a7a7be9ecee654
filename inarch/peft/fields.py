"""The fields of one of PEFT's configurations as fields of a method: plain values, each of its kind, PEFT's defaults.

What only objects can say (an ``EvaConfig``), what a run says already (which biases and modules train, at which layers) and what PEFT
keeps for its own books is left out; everything else is found in the dataclass, whatever the version.
"""

from __future__ import annotations

import dataclasses
import enum
from functools import reduce
from operator import or_
from typing import Any, Literal, get_args, get_origin, get_type_hints

from peft.config import PeftConfig

PLAIN = (bool, int, float, str, type(None))
SAID_ELSEWHERE = {  # a field that a run has by another name -> that name
    "bias": "thaw", "modules_to_save": "thaw", "layers_to_transform": "layers", "layers_pattern": "layers", "progressbar": "",
    "feedforward_modules": "feedforward",
}
BOOKS = frozenset(f.name for f in dataclasses.fields(PeftConfig))


def fields_of(config: type[PeftConfig], taken: frozenset[str]) -> list[tuple[str, Any, Any]]:
    """``(name, hint, default)`` of every field that plain values can fill; ``taken``: names that mean something else in a method."""
    hints = get_type_hints(config)
    found = []
    for field in dataclasses.fields(config):
        default = _default(field)
        hint = plain_hint(hints[field.name], default)
        if hint is not None and field.name not in {*BOOKS, *SAID_ELSEWHERE, *taken}:
            found.append((field.name, hint, dataclasses.field(default=default)))
    return found


def _default(field: dataclasses.Field) -> Any:
    value = field.default_factory() if callable(field.default_factory) else field.default
    if isinstance(value, enum.Enum):
        value = value.value
    return tuple(value) if isinstance(value, list) else None if value is dataclasses.MISSING else value


def plain_hint(hint: Any, default: Any) -> Any:
    """The plain values among what PEFT allows, as one hint that admits the default; None where there are none but None itself."""
    options = {*_options(hint), type(default)} & {*PLAIN, tuple[str, ...], tuple[int, ...]}
    if options <= {type(None)} or not isinstance(default, (*PLAIN, tuple)):
        return None
    return reduce(or_, sorted(options, key=str))


def _options(hint: Any) -> list[Any]:
    """``bool | Literal["gaussian"] | list[str]`` as ``[bool, str, tuple[str, ...]]``."""
    if get_origin(hint) is Literal:
        return [type(choice) for choice in get_args(hint)]
    if get_origin(hint) is list:
        return [tuple[get_args(hint)[0], ...]]  # type: ignore[misc]
    if get_args(hint) and get_origin(hint) is not dict:
        return [option for inner in get_args(hint) for option in _options(inner)]
    return [hint]


def numbers_of(fields: list[dataclasses.Field]) -> list[str]:
    """Names of the whole numbers that are one or more by default, in PEFT's order."""
    return [f.name for f in fields if type(f.default) is int and f.default > 0]


__all__ = ["fields_of", "numbers_of", "plain_hint"]
