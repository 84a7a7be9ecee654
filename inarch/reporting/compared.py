"""The page of a comparison: what stands in it, in the order in which it should be read."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from inarch.errors import ConfigError
from inarch.recipe import Recipe
from inarch.reporting import contests, failures, honesty, pareto
from inarch.reporting.contests import Contest
from inarch.reporting.page import Block, Code, Folded, Page, Table, Tile
from inarch.reporting.results import Result
from inarch.reporting.rows import GONE, Row, percent
from inarch.toml import to_toml

if TYPE_CHECKING:
    from inarch.compare import Comparison

Sections = tuple[tuple[str, tuple[Block, ...]], ...]


def page(found: Comparison, title: str = "", plots: bool = True) -> Page:
    """``title``: of the page; what was compared where there is none. ``plots``: they take most of the time."""
    listing = found.listing
    sections: list[tuple[str, tuple[Block, ...]]] = [
        ("Methods and data sets", _matrix(found)),
        ("Before comparing", tuple(found.notes)),
        ("Runs", (Table(tuple(listing.titles), tuple(map(tuple, listing.lines)), tuple(listing.right)),)),
        ("What accuracy costs", tuple(pareto.blocks(found.rows)) if plots else ()),
        ("Are they different?", _tests(found)),
        ("Failed", _failed(found)),
        ("Not used", tuple(found.problems)),
        ("Where the methods come from", _origins(found)),
        ("Trials", _trials(found)),
        ("Every run", tuple(_runs(found))),
    ]
    lead = f"{listing.caption}. {_integrity(found)}"
    return Page(title or _title(found), lead, _tiles(found), tuple((name, blocks) for name, blocks in sections if blocks))


def _title(found: Comparison) -> str:
    methods, sets = len({row.first.method for row in found.rows}), sorted({row.data for row in found.rows})
    if not found.rows:
        return "Runs compared: none finished"
    where = ", ".join(sets) if len(sets) < 4 else f"{len(sets)} data sets"
    return f"{methods} method{'s' * (methods != 1)} on {where}"


def _tiles(found: Comparison) -> tuple[Tile, ...]:
    seeds = sorted({len(row.results) for row in found.rows}) or [0]
    span = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    return (
        Tile("runs", str(sum(len(row.results) for row in found.rows)), f"in {len(found.rows)} rows"),
        Tile("data sets", str(len({row.data for row in found.rows})), "told apart by their hash"),
        Tile("seeds per row", span, "mean and range are over these"),
        Tile("trials", str(sum(len(one.outcomes) for one in found.tried)), "runs that only chose a setting"),
        Tile("failed", str(len(found.failures)), "shown in their place"),
        Tile("not used", str(len(found.problems)), "files, with the reason"),
    )


def _matrix(found: Comparison) -> tuple[Block, ...]:
    made = found.matrix
    table = Table(tuple(made.header), tuple(map(tuple, made.texts)), (False, *[True] * (len(made.header) - 1)))
    return (table, *made.notes)


def _tests(found: Comparison) -> tuple[Block, ...]:
    """A table per reference; before them, what so few seeds and sets can show at best."""
    made = found.contests
    tables = [*_contested(made.across, contests.ACROSS, "over all data sets"), *_contested(made.within, contests.WITHIN, "seed by seed")]
    return (*made.notes, *tables) if tables else ()


def _contested(lines: Sequence[Contest], header: tuple[str, ...], how: str) -> Iterator[Block]:
    by_reference = defaultdict(list)
    for line in lines:
        by_reference[line.reference].append(line)
    for reference, own in by_reference.items():
        yield f"Each method minus {reference}, {how}, in points:"
        yield Table(header, tuple(line.cells() for line in own), tuple(title not in ("method", "data", header[-1]) for title in header))


def _failed(found: Comparison) -> tuple[Block, ...]:
    lines = [(one.method, one.data, one.backbone, one.words) for one in failures.lines(found.failures)]
    return (Table(("method", "data", "backbone", "what happened"), tuple(lines), (False,) * 4),) if lines else ()


def _origins(found: Comparison) -> tuple[Block, ...]:
    names: dict[str, str] = {}
    for row in found.rows:
        names.setdefault(row.first.method, row.first.name)
    lines = [(method, str(honesty.origin(name))) for method, name in sorted(names.items())]
    return (Table(("method", "held against"), tuple(lines), (False, False)),) if lines else ()


def _trials(found: Comparison) -> tuple[Block, ...]:
    if not found.tried:
        return ("No trials are among these files: how the settings were chosen is not shown here.",)
    lines = [(one.method, one.data, str(len(one.outcomes)), one.words, "; ".join(one.used) or GONE) for one in found.tried]
    return (Table(("method", "data", "trials", "on validation, %, best first", "used"), tuple(lines), (False, False, True, False, False)),)


def _integrity(found: Comparison) -> str:
    """How many of the files would show a change by hand."""
    every = [result for row in found.rows for result in row.results]
    open_ones = sum(not result.sealed for result in every)
    if not open_ones:
        return f"All {len(every)} results carry the seal of the run that wrote them and match it."
    return f"{open_ones} of {len(every)} results were written before results were sealed: a change by hand would not show in them."


def _runs(found: Comparison) -> Iterator[Block]:
    """Folded per data set: a line per run, and its recipe."""
    by_data: dict[str, list[Row]] = defaultdict(list)
    for row in found.rows:
        by_data[row.data].append(row)
    for data, rows in by_data.items():
        runs = [(row, result) for row in rows for result in row.results]
        lines = tuple(_run(row, result) for row, result in runs)
        table = Table(("method", "setting", "seed", "score", "val", "commit", "finished", "file"), lines,
                      (False, False, True, True, True, False, False, False))
        recipes = [Code(f"recipe of {row.first.method}{f' ({row.setting})' if row.setting else ''}, seed {row.first.seed}",
                        _recipe(row.first)) for row in rows]
        yield Folded(f"{data}: {len(runs)} runs", (f"sha256 {rows[0].first.data_sha}", table, *recipes))


def _run(row: Row, result: Result) -> tuple[str, ...]:
    score, val = (GONE if value is None else percent(value) for value in (result.headline, result.val))
    return (result.method, row.setting, str(result.seed), score, val, result.commit[:12], result.finished, result.path)


def _recipe(result: Result) -> str:
    """As TOML, to run it again; a recipe that this version does not take, of an older field or an absent method, is shown as it is."""
    try:
        return to_toml(Recipe.parse(dict(result.recipe)).spelled())
    except ConfigError:
        return json.dumps(dict(result.recipe), indent=1)
