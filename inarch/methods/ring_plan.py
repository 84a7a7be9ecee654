"""Who shares which cores of AdaRing: stacks by tower and width, slices by position, owners by depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inarch.errors import CannotGraft
from inarch.methods.ring_bank import Unit
from inarch.ports import Stack

Share = Literal["equal depth", "required", "never"]
EVERYBODY = "all"


@dataclass(frozen=True)
class Place:
    """Of one stack: its ``unit``, the slices ``at``, ``blocks`` of them per site; ``rows``: its sites' rows among the unit's ``layers``.

    ``wide_in``: the blocks stand side by side in the input (``d x 4d``), else below each other in the output.
    """

    unit: str
    at: slice
    blocks: int
    rows: tuple[int, ...]
    layers: int
    wide_in: bool


def planned(stacks: list[Stack], share: Share) -> tuple[list[Unit], dict[str, Place]]:
    """The units, and where every stack finds its slices; raises ``CannotGraft`` for towers that cannot share what they must."""
    groups: dict[tuple[str, int], list[Stack]] = {}
    for stack in stacks:
        groups.setdefault((stack.tower, min(stack.width_in, stack.width_out)), []).append(stack)
    places: dict[str, Place] = {}
    sizes: dict[str, int] = {}
    for (tower, dim), group in groups.items():
        sizes[f"{tower}_{dim}"] = _placed(f"{tower}_{dim}", dim, group, places)
    owner = _common(groups, sizes, share)
    units = [Unit(f"{tower}_{dim}", dim, sizes[f"{tower}_{dim}"], owner or f"{tower}_{dim}") for tower, dim in groups]
    return units, places


def _placed(unit: str, dim: int, group: list[Stack], places: dict[str, Place]) -> int:
    """Writes the place of every stack of a unit; returns how many slices the unit has."""
    layers = sorted({site.layer for stack in group for site in stack.sites})
    first = 0
    for stack in group:
        blocks, odd = divmod(max(stack.width_in, stack.width_out), dim)
        if odd:
            raise CannotGraft(f"AdaRing: {stack.name} is {stack.width_out} x {stack.width_in}, which is not whole blocks of {dim} x {dim}; "
                              "choose other targets")
        end = first + blocks * stack.depth
        rows = tuple(layers.index(site.layer) for site in stack.sites)
        places[stack.name] = Place(unit, slice(first, end), blocks, rows, len(layers), stack.width_in > stack.width_out)
        first = end
    return first


def _common(groups: dict[tuple[str, int], list[Stack]], sizes: dict[str, int], share: Share) -> str | None:
    """The owner that all units have in common, if they share."""
    towers = {tower for tower, _ in groups}
    if share == "required" and len(towers) == 1:
        raise CannotGraft(f"AdaRing: share_towers='required', but only the tower {towers.pop()!r} is adapted; leave it out")
    if share == "never" or len(towers) == 1:
        return None
    equal = len(set(sizes.values())) == 1 and len(towers) == len(groups)
    if share == "required" and not equal:
        found = ", ".join(f"{unit}: {size}" for unit, size in sizes.items())
        raise CannotGraft(f"AdaRing: share_towers='required', but the towers have different numbers of slices ({found}); choose layers of "
                          "equal depth in all towers, or share_towers='equal depth' or 'never'")
    return EVERYBODY if equal else None
