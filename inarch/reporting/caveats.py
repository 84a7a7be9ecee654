"""What a reader of a table must know before comparing its rows: one sentence each, none if there is nothing to say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from inarch.reporting.results import SEEN, UNKNOWN
from inarch.reporting.rows import Row, differing, plain, siblings

# no two rows of a table should differ in these
PROTOCOL = ("epochs", "fit", "augment", "resize", "normalise", "selection", "protocol", "templates")
Rows = Sequence[Row]


def caveats(rows: Rows) -> list[str]:
    """Every caveat of the table, gravest first."""
    checks = (_versions, _settings, _protocols, _measures, _sizes, _selected, _parts, _drawn, _shots, _missing, _uneven, _seen, _machines)
    return [note for check in checks for note in check(rows)]


def _versions(rows: Rows) -> Iterator[str]:
    for what, name, sha in (("data", "data", "data_sha"), ("backbone", "backbone", "backbone_sha")):
        kinds = defaultdict(set)
        for row in rows:
            kinds[getattr(row.first, name)].add(getattr(row.first, sha))
        for label, hashes in kinds.items():
            if len(hashes) > 1:
                yield (f"{what} {label} is not the same in all rows ({len(hashes)} different sha256: "
                       f"{', '.join(sorted(str(h)[:6] for h in hashes))}); they stand in separate rows and must not be compared")


def _settings(rows: Rows) -> Iterator[str]:
    for alike in siblings(rows).values():
        if len(alike) > 1:
            names = differing([row.first.settings for row in alike])
            yield (f"{alike[0].first.method} on {alike[0].data} was run with {len(alike)} settings, which differ in "
                   f"{', '.join(names)}; they stand in separate rows, no mean is taken over them")


def _protocols(rows: Rows) -> Iterator[str]:
    """Said once for the table: the settings that make numbers of different rows hard to compare."""
    for name in PROTOCOL:
        values = sorted({plain(row.first.settings[name]) for row in rows if name in row.first.settings})
        if len(values) > 1:
            yield f"rows differ in {name}: {', '.join(values)}; compare only rows of the same {name}"


def _measures(rows: Rows) -> Iterator[str]:
    """Where tables mix metrics: which data set has which."""
    kinds = defaultdict(set)
    for row in rows:
        kinds[row.first.metric].add(row.data)
    if len(kinds) > 1:
        told = "; ".join(f"{metric} on {', '.join(sorted(data))}" for metric, data in sorted(kinds.items()))
        hundreds = ", and cider is x 100, as papers have it" if "cider" in kinds else ""
        yield f"rows differ in what is measured: {told}; a mean over them mixes these{hundreds}"


def _parts(rows: Rows) -> Iterator[str]:
    names = sorted({row.data for row in rows if row.first.part != "test"})
    if names:
        yield f"{', '.join(names)}: no test part with answers, so the number is on validation"


def _drawn(rows: Rows) -> Iterator[str]:
    for most, data in sorted({(row.first.settings["limit"], row.data) for row in rows if row.first.settings.get("limit")}):
        yield f"{data}: {most} training examples, drawn by the seed of each run; one data set by its name and sizes, not by a hash"


def _shots(rows: Rows) -> Iterator[str]:
    """Few-shot: what the seed draws, and which sentence the names stand in."""
    few = [row for row in rows if row.base is not None]
    for shots in sorted({row.first.settings.get("shots") or 0 for row in few} - {0}):
        names = ", ".join(sorted({row.data for row in few if row.first.settings.get("shots") == shots}))
        yield f"{names}: {shots} training images per class, drawn by the seed of each run; every seed is tested on the same images"


def _sizes(rows: Rows) -> Iterator[str]:
    kinds = {"backbone": {row.backbone for row in rows}, "image size": {str(row.first.image_size) for row in rows}}
    for what, values in kinds.items():
        if len(values) > 1:
            yield f"rows differ in {what}: {', '.join(sorted(values))}; compare methods within one {what} only"


def _selected(rows: Rows) -> Iterator[str]:
    if any("test" in row.first.selection for row in rows):
        yield "rows with selection on test images report an optimistic number, not one to expect on new images"


def _missing(rows: Rows) -> Iterator[str]:
    for row in rows:
        if row.missing:
            seeds = ", ".join(str(result.seed) for result in row.results if result.score is None)
            yield (f"{_called(row)}: no test {row.first.metric} for seed {seeds}; the mean over the others would be another "
                   "number, so none is printed")
        if row.failed:
            told = "; ".join(f"seed {failure.seed} failed ({failure.reason})" for failure in row.failed)
            yield f"{_called(row)}: {told}; the mean over the others would be another number, so none is printed"


def _uneven(rows: Rows) -> Iterator[str]:
    """Within a data set, a method that has other seeds than the rest was tried more or less often."""
    by_data = defaultdict(list)
    for row in rows:
        by_data[row.data].append(row)
    for data, own in by_data.items():
        every = sorted({seed for row in own for seed in row.seeds})
        for row in own:
            absent = [str(seed) for seed in every if seed not in (*row.seeds, *(failure.seed for failure in row.failed))]
            if absent:
                yield f"{_called(row)}: no run with seed {', '.join(absent)}, which other rows on {data} have"


def _seen(rows: Rows) -> Iterator[str]:
    said = {SEEN: "was pre-trained on images of this set", UNKNOWN: "may have seen this set: its pre-training has no record"}
    for mark, words in said.items():
        names = sorted({row.first.backbone for row in rows if row.mark == mark})
        if names:
            yield f"{mark} {', '.join(names)} {words}"


def _machines(rows: Rows) -> Iterator[str]:
    machines = sorted({result.hardware for row in rows for result in row.results})
    if len(machines) > 1:
        yield f"seconds per epoch were taken on {len(machines)} kinds of machine, compare none across them: {'; '.join(machines)}"


def _called(row: Row) -> str:
    return f"{row.first.method} on {row.data}" + (f" ({row.setting})" if row.setting else "")
