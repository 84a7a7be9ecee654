"""count and sites: how many numbers train, and every place that can be adapted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from inarch import anatomy, roles
from inarch.container import Container, container_of
from inarch.errors import CannotGraft
from inarch.ports import Span


@dataclass(frozen=True)
class Count:
    """Integers. ``adapter``: the container's; ``thawed``: base parameters that train (``head`` of them in task heads).

    The literature prints both ``trainable`` (with the head) and ``without_head``; ``percent`` = 100 trainable / total. Ties count once.
    """

    adapter: int
    thawed: int
    head: int
    total: int

    @property
    def trainable(self) -> int:
        return self.adapter + self.thawed

    @property
    def without_head(self) -> int:
        return self.trainable - self.head

    @property
    def percent(self) -> float:
        return 100 * self.trainable / self.total

    def to_json(self) -> dict[str, float]:
        return {**asdict(self), "trainable": self.trainable, "without_head": self.without_head, "percent": self.percent}


def count(model: nn.Module) -> Count:
    """What the active adapters train on this model; ``total`` is the base and the active adapters."""
    adapters = [p for scion in container_of(model).active().values() for p in scion.trained().values()]
    base = roles.base_parameters(model)
    heads = tuple(path + "." for path in roles.head_paths(model))
    thawed = {name: p for name, p in base.items() if p.requires_grad}
    in_head = [p for name, p in thawed.items() if heads and name.startswith(heads)]
    adapter = numbers(adapters)
    return Count(adapter, numbers(thawed.values()), numbers(in_head), numbers(base.values()) + adapter)


def numbers(parameters) -> int:
    return sum(p.numel() for p in {id(p): p for p in parameters}.values())


@dataclass(frozen=True)
class SiteRow:
    """One line of the table of sites. ``rebuilt``: what enters is a norm's output, which a node can make again instead of keeping it."""

    tower: str
    layer: int
    span: str
    width: str
    enter: str
    leave: str
    readers: str
    folds: bool
    rebuilt: bool
    adapters: str


@dataclass(frozen=True)
class TowerRow:
    """How many numbers train in one tower, of the active adapters there and of the base, and how many of the base are frozen."""

    tower: str
    adapters: int
    base: int
    frozen: int


class SiteTable(list[SiteRow]):
    """Rows that print as a table; ``towers`` says what trains in each tower and what is frozen."""

    towers: tuple[TowerRow, ...] = ()

    def __str__(self) -> str:
        return f"{table_of(SiteRow, self)}\n\n{table_of(TowerRow, self.towers)}"


def table_of(kind: type, rows: Iterable[Any]) -> str:
    """Dataclass rows under the names of their fields, numbers with thousands set off."""
    shown = [[f"{v:,}" if type(v) is int else str(v) for v in asdict(row).values()] for row in rows]
    return columns([list(kind.__dataclass_fields__), *shown])  # type: ignore[attr-defined]


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Cells as text, every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def towers(model: nn.Module) -> tuple[TowerRow, ...]:
    """A row per tower of blocks, one for what lies outside of them where there is any, one for what adapters share between towers."""
    roots = {block.root and block.root + ".": block.tower for block in anatomy.blocks(model)}
    adapters, base, frozen = Counter[str](), Counter[str](), Counter[str]()
    for name, parameter in roles.base_parameters(model).items():
        home = roots.get(max((root for root in roots if name.startswith(root)), key=len, default="-"), "elsewhere")
        (base if parameter.requires_grad else frozen)[home] += parameter.numel()
    container = model._modules.get("inarch")
    for scion in container.active().values() if isinstance(container, Container) else ():
        homes = {stack.name: stack.tower for stack in scion.stacks}
        for name, parameter in scion.trained().items():
            adapters[homes.get(name.partition(".")[0], "shared")] += parameter.numel()
    known = [tower for tower in dict.fromkeys((*roots.values(), *frozen, *base, *adapters)) if tower in frozen | base | adapters]
    return tuple(TowerRow(tower, adapters[tower], base[tower], frozen[tower]) for tower in known)


def sites(model: nn.Module) -> SiteTable:
    """Every span and matrix of every block: where it begins and ends, who reads it, which active adapters sit there; what trains."""
    container = model._modules.get("inarch")
    joints = container.joints if isinstance(container, Container) else {}
    table = SiteTable()
    table.towers = towers(model)
    for block in anatomy.blocks(model):
        for name in anatomy.names(block.row):
            span = _offered(block, name)
            if span is not None:
                joint = joints.get((block.path, name))
                here = ", ".join(type(link.scion.method).__name__ for link in joint.active()) if joint else ""
                table.append(_row(block, span, here))
    return table


def _offered(block: anatomy.Block, name: str) -> Span | None:
    """The span, or None where this family offers no port for it."""
    try:
        return anatomy.span(block, name)
    except CannotGraft:
        return None


def _row(block: anatomy.Block, span: Span, adapters: str) -> SiteRow:
    w_in, w_out = anatomy.widths(block, span)
    width = str(w_in) if w_in == w_out else f"{w_in}->{w_out}"
    readers = " ".join(weight.path.removesuffix(".weight") for weight in span.readers)
    enter, leave = (f"{block.path}.{port}" if port.path else f"{block.path}{port}" for port in (span.enter, span.leave))
    return SiteRow(block.tower, block.layer, span.name, width, enter, leave, readers, not span.carries, span.rebuilt, adapters)
