"""The families that ``inarch bench train`` knows, in the order of the page."""

from __future__ import annotations

from inarch.bench.subjects import Family
from inarch.bench.vision import VISION
from inarch.bench.vl import VL
from inarch.errors import ConfigError, nearest

FAMILIES: dict[str, Family] = {family.name: family for family in (VISION, VL)}


def family_named(name: str) -> Family:
    """Raises ``ConfigError`` with the nearest known one."""
    if name not in FAMILIES:
        raise ConfigError(f"bench: no family {name!r}; {nearest(name, FAMILIES)}")
    return FAMILIES[name]
