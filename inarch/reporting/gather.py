"""Files of finished and of failed runs, found and read: what cannot be used is named with the reason, never dropped silently.

A run folder, a result file, or a folder of either is read. A result that was changed after its run wrote it is not used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch.errors import DataError, InarchError
from inarch.places import place
from inarch.reporting.failures import Failure, failure_of, is_failure
from inarch.reporting.results import Result, is_pretraining, names_of, results_of
from inarch.seal import read_result

RESULT = "result.json"
UNFINISHED = ("run.json", "recipe.toml")  # a folder that holds one of these is a run


@dataclass(frozen=True)
class Found:
    """Results, failures, what could not be used, and records of pre-training that lay among them."""

    results: tuple[Result, ...]
    failures: tuple[Failure, ...]
    problems: tuple[str, ...]
    sets_seen: tuple[str, ...] | None


def read_all(paths: Sequence[str | Path]) -> Found:
    """Everything below ``paths``, each file once; raises ``DataError`` when no run finished and none is said to have failed."""
    results: list[Result] = []
    failures: list[Failure] = []
    problems: list[str] = []
    seen = None
    for path in map(_told, dict.fromkeys(Path(os.path.abspath(f)) for p in paths for f in _candidates(place(p)))):
        try:
            fields = _fields(path)
            if is_pretraining(fields):
                seen = names_of(fields, path)
            elif is_failure(fields):
                failures.append(failure_of(fields, path))
            else:
                results += results_of(fields, path)
        except InarchError as problem:
            problems.append(str(problem))
    if not results and not failures:
        raise DataError("nothing to compare: " + ("; ".join(problems) or f"no .json file below {', '.join(map(str, paths))}"))
    return Found(tuple(results), tuple(failures), tuple(problems), seen)


def _candidates(path: Path) -> Iterator[Path]:
    """Files to read: of a run folder its result alone, of any other folder every ``.json`` below it, links not followed."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give run folders, result.json files or a folder of them")
    if path.is_file():
        yield path
        return
    for folder, below, names in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if RESULT in names or any(name in names for name in UNFINISHED):
            below.clear()
            yield Path(folder, RESULT)
        else:
            yield from (Path(folder, name) for name in sorted(names) if name.endswith(".json") and not name.startswith("."))


def _told(path: Path) -> Path:
    """As short as it can be said here: a page that is sent around need not tell where a checkout lay."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _fields(path: Path) -> dict[str, Any]:
    if path.name == RESULT and not path.exists():
        raise DataError(f"{path.parent}: the run has no {RESULT}, it has not finished; resume it, or leave it out")
    return read_result(path)
