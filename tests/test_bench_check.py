"""bench check: what it measured is kept and shown; no test depends on a time."""

from pathlib import Path

import pytest

from inarch.bench import report, results
from inarch.bench.check import SIZES, bench_check
from inarch.errors import ConfigError


def test_rates_are_kept_and_shown(tmp_path: Path):
    seen: list[str] = []
    found = bench_check(images=2, repeats=1, tick=seen.append)
    assert sorted(seen) == sorted([*SIZES] * 2)
    assert all(row["per_cpu_second"]["low"] > 0 for row in found["sizes"].values())
    assert ["met" in row for row in found["sizes"].values()] == [True, True, False]
    results.store(found, tmp_path / "check.json")
    page = report.tables([results.fetch(tmp_path / "check.json")])
    assert "## Images checked before training" in page and all(f"| {name}" in page for name in SIZES)


def test_nothing_to_measure_is_refused():
    with pytest.raises(ConfigError, match="images=1, repeats=0; expected at least 2 and 1"):
        bench_check(images=1, repeats=0)
