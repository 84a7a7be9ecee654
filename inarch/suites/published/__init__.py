"""Published values as data, each with its source and with what became of it here: reproduced, differs, or not run here.

    published("vtab-1k", "arc")         its rows, one per backbone and source         provenance("arc").kind     golden
A method that is a reconstruction has no row: numbers of its paper stand under the paper's name, ``method = ""``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from inarch.errors import ConfigError, nearest
from inarch.methods.registry import METHODS, SETTINGS, root
from inarch.suites.strict import known, typed
from inarch.toml import read_toml

Status = Literal["reproduced", "differs", "not run here"]
Kind = Literal["golden", "formula", "reconstruction"]
HERE = Path(__file__).parent
ELSEWHERE: Status = "not run here"
PAGE = {"unit": str, "digits": int, "cells": list, "note": str, "row": list}
ROW = {"method": str, "label": str, "backbone": str, "source": str, "trained": str, "note": str, "values": dict, "here": dict}
RUN = {"status": str, "commit": str, "seeds": list, "range": list}
COLUMNS = ("natural", "specialised", "structured", "mean of tasks", "mean of groups", "harmonic mean", "ten other sets",
           "four shifted ImageNets")  # beside the tasks of the suite


@dataclass(frozen=True)
class Here:
    """What this library's run of a published cell gave: lowest and highest of its seeds, and the commit they ran at."""

    status: Status
    commit: str
    seeds: tuple[int, ...]
    range: tuple[float, float]


@dataclass(frozen=True)
class Row:
    """One published row. ``values``: by task or average, one number, or two as ``cells`` of its table names them."""

    method: str  # ours, by name; "" where this library has none, or only a reconstruction
    label: str
    backbone: str
    source: str
    values: Mapping[str, tuple[float, ...]]
    trained: str = ""
    note: str = ""
    here: Mapping[str, Here] = field(default_factory=lambda: MappingProxyType({}))

    def status(self, column: str) -> Status:
        return self.here[column].status if column in self.here else ELSEWHERE


@dataclass(frozen=True)
class Table:
    """All published rows of a suite; ``cells`` names the two numbers of a cell that has two."""

    suite: str
    unit: str
    digits: int
    note: str
    rows: tuple[Row, ...]
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """What a method of this library was checked against."""

    kind: Kind
    against: str


def published(suite: str, method: str = "") -> tuple[Row, ...]:
    """The published rows of ``suite``, all of them or those of a method; none where nothing is known of it."""
    rows = table(suite).rows
    return tuple(row for row in rows if row.method == method) if method else rows


def provenance(method: str) -> Provenance:
    """Of a method, by its name or one of the literature's (``fact-tk``); ``ConfigError`` with the nearest name."""
    word = root(method)
    if word not in _provenances():
        raise ConfigError(f"no provenance of method {method!r}; {nearest(method, [*METHODS, *SETTINGS])}")
    return _provenances()[word]


def suites() -> list[str]:
    """The suites with published values."""
    return sorted(file.stem for file in HERE.glob("*.toml") if file.stem != "provenance")


@lru_cache
def table(suite: str) -> Table:
    """The table of a suite; ``ConfigError`` where there is none, or naming the row and key that is wrong."""
    if suite not in suites():
        raise ConfigError(f"no published values for suite {suite!r}; {nearest(suite, suites())}")
    return read_table(HERE / f"{suite}.toml")


def read_table(file: Path) -> Table:
    fields = read_toml(file)
    typed(str(file), fields, PAGE)
    cells = tuple(fields.get("cells", ()))
    rows = tuple(_row(f"{file}: row {i}", row, len(cells)) for i, row in enumerate(fields.get("row", []), start=1))
    return Table(file.stem, fields["unit"], fields["digits"], fields["note"].strip(), rows, cells)


def _row(where: str, fields: Any, cells: int) -> Row:
    typed(where, fields, ROW)
    for key in ("method", "label", "backbone", "source", "values"):
        if key not in fields:
            raise ConfigError(f"{where}: {key} is missing; a published row says whose number it is and where it stands")
    if fields["method"] and provenance(fields["method"]).kind == "reconstruction":
        raise ConfigError(f"{where}: {fields['method']} is a reconstruction here; its paper's numbers stand with method = \"\" alone")
    values = {column: _numbers(f"{where}: values.{column}", value, cells) for column, value in fields["values"].items()}
    here = {column: _here(f"{where}: here.{column}", run, values) for column, run in fields.get("here", {}).items()}
    words = {key: fields[key] for key in ("method", "label", "backbone", "source", "trained", "note") if key in fields}
    return Row(**words, values=MappingProxyType(values), here=MappingProxyType(here))


def _numbers(where: str, value: Any, cells: int) -> tuple[float, ...]:
    numbers = tuple(value) if isinstance(value, list) else (value,)
    if len(numbers) not in {1, cells} or not all(type(number) in (int, float) for number in numbers):
        raise ConfigError(f"{where} is {value!r}; expected a number{f' or a list of {cells}' if cells else ''}")
    return numbers


def _here(where: str, fields: Any, values: Mapping[str, Any]) -> Here:
    typed(where, fields, RUN)
    known(where, [where.rpartition("here.")[2]], values)
    if fields.get("status") not in get_args(Status)[:2] or not all(fields.get(key) for key in ("commit", "seeds")):
        raise ConfigError(f"{where} is {fields!r}; expected status 'reproduced' or 'differs' with commit, seeds and range")
    low, high = fields.get("range", [1, 0])
    if low > high:
        raise ConfigError(f"{where}: range is {fields.get('range')!r}; expected [lowest, highest] over the seeds")
    return Here(fields["status"], fields["commit"], tuple(fields["seeds"]), (low, high))


@lru_cache
def _provenances() -> dict[str, Provenance]:
    file = HERE / "provenance.toml"
    tables = read_toml(file)
    known(str(file), tables, METHODS)
    for name, fields in tables.items():
        typed(f"{file}: {name}", fields, {"kind": str, "against": str})
        if fields.get("kind") not in get_args(Kind) or not fields.get("against"):
            raise ConfigError(f"{file}: {name} is {fields!r}; expected kind {', '.join(get_args(Kind))} and against")
    return {name: Provenance(**fields) for name, fields in tables.items()}


__all__ = ["COLUMNS", "Here", "Provenance", "Row", "Table", "provenance", "published", "read_table", "suites", "table"]
