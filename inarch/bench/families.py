"""The families that ``inarch bench train`` knows, in the order of the page."""

from __future__ import annotations

from inarch.bench.clip import CLIP
from inarch.bench.subjects import Family
from inarch.bench.vision import VISION
from inarch.bench.vl import VL
from inarch.errors import ConfigError, nearest

FAMILIES: dict[str, Family] = {family.name: family for family in (VISION, VL, CLIP)}


def family_named(name: str, side: int | None = None) -> Family:
    """Raises ``ConfigError`` with the nearest known one, or where the family has no images of another ``side``."""
    if name not in FAMILIES:
        raise ConfigError(f"bench: no family {name!r}; {nearest(name, FAMILIES)}")
    found = FAMILIES[name]
    if side is None:
        return found
    if found.resized is None:
        raise ConfigError(f"bench: the family {name} is measured at its published size; leave out side={side}, or choose clip")
    return found.resized(side)
