"""Every method against one of them: paired over the seeds of a data set, and over data sets where there are several.

    within     d_s = score of the method - score of the reference, seed by seed
    across     d_k = mean over seeds of d_s on data set k; the sets are the sample
Only rows of one protocol meet. A row of which a seed is missing or failed meets nobody. Holm's rule counts every line of a table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inarch.errors import ConfigError, nearest
from inarch.reporting.across import across, named, over_sets
from inarch.reporting.caveats import PROTOCOL
from inarch.reporting.paired import Paired, holm, paired
from inarch.reporting.rows import Row, plain

LEVEL = 0.05
WITHIN = ("method", "data", "seeds", "difference", "95 % interval", "t: p", "t: Holm", "flips: p", "at best", "higher or lower")
ACROSS = ("method", "data sets", "difference", "95 % interval", "t: p", "flips: p", "flips: Holm", "at best", "higher or lower")


@dataclass(frozen=True)
class Contest:
    """One line: the method minus the reference, and both p's after Holm's correction. ``data``: "" for all data sets together."""

    data: str
    method: str
    reference: str
    found: Paired
    holm_t: float | None = None
    holm_flips: float | None = None

    def cells(self) -> tuple[str, ...]:
        """Under ``WITHIN``, where the t test over seeds tells, or ``ACROSS``, where the sign flips over data sets do."""
        f = self.found
        interval = "–" if f.low is None or f.high is None else f"[{100 * f.low:+.1f}, {100 * f.high:+.1f}]"
        moved = (str(f.n), f"{100 * f.mean:+.1f}", interval, shown(f.t))
        if self.data:
            return (self.method, self.data, *moved, *map(shown, (self.holm_t, f.flips, f.least)), self._told(self.holm_t))
        return (self.method, *moved, *map(shown, (f.flips, self.holm_flips, f.least)), self._told(self.holm_flips))

    def _told(self, p: float | None) -> str:
        return "no test" if p is None else "not shown" if p > LEVEL else "higher" if self.found.mean > 0 else "lower"

    def to_json(self) -> dict[str, Any]:
        return {"data": self.data, "method": self.method, "reference": self.reference, **self.found.to_json(),
                "p_t_holm": self.holm_t, "p_sign_flips_holm": self.holm_flips}


@dataclass(frozen=True)
class Contests:
    """``within`` data sets and ``across`` them; what to know before reading them."""

    within: tuple[Contest, ...]
    across: tuple[Contest, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"within": [c.to_json() for c in self.within], "across": [c.to_json() for c in self.across], "notes": [*self.notes]}


def contests(rows: Sequence[Row], reference: str | None = None) -> Contests:
    """``reference``: a method's line or name; None takes the best of each table. ``ConfigError`` where it names none or several."""
    chosen = None if reference is None else _line_of(reference, rows)
    within, notes = _within(rows, chosen)
    over, lacking = _across(rows, chosen)
    return Contests(_corrected(within), _corrected(over), tuple(_said(within, over, chosen, [*notes, *lacking])))


def shown(p: float | None) -> str:
    """``0.031``; a p too small for four places says so."""
    return "–" if p is None else "<0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.0995 else f"{p:.2f}"


def _line_of(reference: str, rows: Sequence[Row]) -> str:
    lines = dict.fromkeys(row.first.method for row in rows)
    own = [line for line in lines if line == reference] or [line for line in lines if line.partition("(")[0].lower() == reference.lower()]
    if not own:
        raise ConfigError(f"no method {reference!r} among these results to compare with; {nearest(reference, lines)}")
    if len(own) > 1:
        raise ConfigError(f"{reference!r} is {len(own)} methods here, and only one can be compared with; say which: {'; '.join(own)}")
    return own[0]


def _within(rows: Sequence[Row], chosen: str | None) -> tuple[list[Contest], list[str]]:
    made, notes = [], []
    for (data, *_), peers in _peers(rows).items():
        whole = [row for row in peers if row.headline.mean is not None]
        notes += [f"{named(row, rows)} on {data}: a seed is missing or failed, so it is compared with nothing"
                  for row in peers if row not in whole]
        best = _reference(whole, chosen)
        if best is None:
            if chosen is not None and len(whole) > 1:
                notes.append(f"{data}: {chosen} is not one row here, so nothing is compared with it")
            continue
        for row in whole:
            differences = _seedwise(row, best)
            if row is not best and differences:
                made.append(Contest(data, named(row, rows), named(best, rows), paired(differences)))
            elif row is not best:
                notes.append(f"{named(row, rows)} on {data} has no seed in common with {named(best, rows)}: not compared")
    return made, notes


def _peers(rows: Sequence[Row]) -> Mapping[tuple[Any, ...], list[Row]]:
    """Rows that may meet: same data, backbone, image size, metric, part and protocol."""
    found = defaultdict(list)
    for row in rows:
        protocol = tuple(plain(row.first.settings.get(name, "")) for name in PROTOCOL)
        found[row.data, row.backbone, row.first.image_size, row.first.metric, row.first.part, protocol].append(row)
    return found


def _reference(rows: Sequence[Row], chosen: str | None) -> Row | None:
    """The row of the chosen method if there is one; else the best, if there are others."""
    own = [row for row in rows if row.first.method == chosen]
    if chosen is not None:
        return own[0] if len(own) == 1 else None
    return max(rows, key=_judged, default=None)


def _judged(row: Row) -> float:
    return row.headline.mean or 0.0


def _seedwise(row: Row, other: Row) -> list[float]:
    theirs = {result.seed: result.headline for result in other.results}
    both = [(result.headline, theirs.get(result.seed)) for result in row.results]
    return [a - b for a, b in both if a is not None and b is not None]


def _across(rows: Sequence[Row], chosen: str | None) -> tuple[list[Contest], list[str]]:
    found = across(rows)
    if len(found.sets) < 2 or len(found.whole) < 2:
        return [], []
    best = _best_line(found.whole, chosen)
    notes = [f"{name} has no mean on {', '.join(gone)}, so it is in no comparison over data sets" for name, gone in found.lacking.items()]
    if best is None:
        return [], [*notes, f"{chosen} is not one line over all data sets, so nothing is compared with it over them"]
    made = []
    alike = {id(row): key for key, peers in _peers(rows).items() for row in peers}
    for name, line in found.whole.items():
        by_set = [_seedwise(a, b) if alike[id(a)] == alike[id(b)] else [] for a, b in zip(line, found.whole[best], strict=True)]
        if name != best and all(by_set):
            made.append(Contest("", name, best, paired([sum(d) / len(d) for d in by_set])))
        elif name != best:
            notes.append(f"{name} differs from {best} in protocol, or shares no seed with it: not compared over data sets")
    return made, notes


def _best_line(whole: Mapping[str, Sequence[Row]], chosen: str | None) -> str | None:
    own = [name for name, line in whole.items() if line[0].first.method == chosen]
    if chosen is not None:
        return own[0] if len(own) == 1 else None
    return max(whole, key=lambda name: over_sets(whole[name])[0] or 0.0)


def _corrected(lines: Sequence[Contest]) -> tuple[Contest, ...]:
    t, flips = holm([line.found.t for line in lines]), holm([line.found.flips for line in lines])
    return tuple(Contest(c.data, c.method, c.reference, c.found, a, b) for c, a, b in zip(lines, t, flips, strict=True))


def _said(within: Sequence[Contest], over: Sequence[Contest], chosen: str | None, notes: Sequence[str]) -> Iterator[str]:
    """How few there are, and what so few can show at best."""
    if chosen is None and within:
        yield "the reference is the best one, chosen after looking, which makes every p too small: name one before you look"
    for what, lines in (("seeds", within), ("data sets", over)):
        if lines:
            n = min(line.found.n for line in lines)
            yield f"{_reach(n, what)}; Holm's correction is over the {len(lines)} lines of the table"
    if within:
        yield "the t test takes the differences for normally distributed, which so few seeds can neither show nor refute"
    yield from notes


def _reach(n: int, what: str) -> str:
    best = paired([1.0] * n).least
    if best is None:
        return f"{n} {what[:-1] if n == 1 else what}: no test is possible" if n < 2 else f"{n} {what}: too many for exact sign flips"
    never = f", so they can never give p < {LEVEL:g}, however large the difference" if best > LEVEL else ""
    return f"{n} {what}: sign flips can give p = {shown(best)} at best{never}"
