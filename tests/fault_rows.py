"""The fault table as a pytest plugin: a test marked ``row("A1", "what is done to it")`` answers for that row of the table.

The first sentence of the test's docstring says what happens then; the fixture ``tried`` adds up the inputs that a test tried (one
where it is not asked for). ``pytest -m row --rows=FILE`` writes a line per row and test function: fault, outcome, inputs; in one word,
since a file that exists would be taken for a folder of tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROW, TRIED = "row", "inputs tried"
OUTCOMES = ("passed", "failed", "skipped", "error")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rows", type=Path, help="write which rows of the fault table were tested, and with how many inputs")


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Iterator[Callable[[int], None]]:
    """Call it with the number of inputs that have just been tried; the calls of one test add up."""
    counts: list[int] = []
    yield counts.append
    request.node.user_properties.append((TRIED, sum(counts)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Reports travel between processes, items do not: each report carries its rows."""
    for item in items:
        for mark in item.iter_markers(ROW):
            name, fault = mark.args
            item.user_properties.append((ROW, [name, fault, first_sentence(getattr(item, "function", item).__doc__)]))


def first_sentence(text: str | None) -> str:
    words = " ".join((text or "").split())
    return re.split(r"(?<=[.!?]) ", words, maxsplit=1)[0].removesuffix(".")


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    target = config.getoption("--rows")
    if target is None or config.option.collectonly:
        return
    lines: dict[tuple, dict[str, int]] = {}
    for outcome in OUTCOMES:
        for report in terminalreporter.stats.get(outcome, []):
            for line in rows_of(report):
                lines.setdefault(line, dict.fromkeys((*OUTCOMES, "inputs"), 0))[outcome] += 1
    for report in (r for group in terminalreporter.stats.values() for r in group if getattr(r, "when", "") == "teardown"):
        counted = [value for name, value in report.user_properties if name == TRIED]
        for line in rows_of(report):
            lines[line]["inputs"] += sum(counted) if counted else 1
    written = [dict(zip(("row", "test", "fault", "happens"), line, strict=True)) | counts for line, counts in sorted(lines.items())]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")


def rows_of(report: pytest.TestReport) -> list[tuple[str, str, str, str]]:
    """Row, test function, fault, what happens."""
    test = report.nodeid.split("[")[0]
    return [(value[0], test, value[1], value[2]) for name, value in report.user_properties if name == ROW]
