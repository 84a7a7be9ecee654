"""The fault table as a pytest plugin: a test marked ``row("A1", "what is done to it")`` answers for that row of the table.

The first sentence of the test's docstring says what happens then; the fixture ``tried`` adds up the inputs that it tried (one per
passing test where it is not asked for). ``pytest -m row --rows FILE`` writes, per test function, what passed and how many inputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TRIED = "inputs tried"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rows", type=Path, help="write which rows of the fault table were tested, and with how many inputs")


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Iterator[Callable[[int], None]]:
    """Call it with the number of inputs that have just been tried; the calls of one test add up."""
    counts: list[int] = []
    yield counts.append
    request.node.user_properties.append((TRIED, sum(counts)))


def pytest_terminal_summary(terminalreporter, exitstatus: int, config: pytest.Config) -> None:
    target = config.getoption("--rows")
    if target is None:
        return
    found: dict[str, dict[str, int]] = {}
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if getattr(report, "when", "call") == "call" or outcome == "skipped":
                counted = found.setdefault(report.nodeid.split("[")[0], {"passed": 0, "failed": 0, "skipped": 0, "inputs": 0})
                counted[outcome] += 1
    for report in terminalreporter.stats.get("", []) + terminalreporter.stats.get("passed", []):
        if report.when == "teardown" and report.nodeid.split("[")[0] in found:
            counts = [value for name, value in report.user_properties if name == TRIED]
            found[report.nodeid.split("[")[0]]["inputs"] += sum(counts) if counts else 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
