"""Make PEFT know a method: its type in the closed enumeration ``PeftType``, its configuration, its tuner, its prefix.

``PeftType`` is an Enum, which Python closes to new members. ``member`` adds one the way the class body would have, by the four tables
that CPython 3.11 to 3.13 keep (names, members, values, and the class attribute); a test checks every way to look it up.
"""

from __future__ import annotations

import enum
from typing import Any

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType

from inarch.adapter import Method


def member(kinds: Any, name: str) -> enum.Enum:
    """``kinds.NAME`` with the value ``"NAME"``; the one that is there already, if there is one."""
    if name in kinds.__members__:
        return kinds[name]
    new = str.__new__(kinds, name)
    new._name_ = new._value_ = name
    new._sort_order_ = len(kinds.__members__)
    new.__objclass__ = kinds
    type.__setattr__(kinds, name, new)
    kinds._member_names_.append(name)
    kinds._member_map_[name] = kinds._value2member_map_[name] = new
    if hasattr(kinds, "_hashable_values_"):  # 3.13 on: what ``value in PeftType`` asks
        kinds._hashable_values_.append(name)
    return new


def kind_of(method: type[Method]) -> enum.Enum:
    """``PeftType.ARC`` of ``ARC``."""
    return member(PeftType, method.__name__.upper())


def prefix_of(method: type[Method]) -> str:
    """``arc_``: how the names of its tensors begin."""
    return f"{method.__name__.lower()}_"


def register(method: type[Method], config: type, tuner: type) -> None:
    """Once per process; a second time changes nothing."""
    kind = kind_of(method)
    PEFT_TYPE_TO_CONFIG_MAPPING[kind] = config  # type: ignore[index]
    PEFT_TYPE_TO_TUNER_MAPPING[kind] = tuner  # type: ignore[index]
    PEFT_TYPE_TO_PREFIX_MAPPING[kind] = prefix_of(method)  # type: ignore[index]
