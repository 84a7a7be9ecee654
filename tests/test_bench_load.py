"""bench load: which loads are measured and shown; no time is asserted."""

import pytest

from inarch.bench import load, report, results, sections
from inarch.errors import ConfigError


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_loads_are_kept_and_shown(tmp_path):
    seen: list[str] = []
    found = load.bench_load(repeats=20, model="ti", tick=seen.append)
    assert len(seen) == load.steps(20) and set(seen) == set(found["ways"]) == set(sections.WAYS)
    spreads = [way[clock] for way in found["ways"].values() for clock in ("wall", "cpu")]
    assert all(0 < spread["low"] <= spread["p50"] <= spread["p95"] for spread in spreads)
    assert found["met"] == (found["ways"]["replace"]["wall"]["p95"] <= load.GOAL) and found["bytes"] > 90_000
    results.store(found, tmp_path / "load.json")
    page = report.tables([results.fetch(tmp_path / "load.json")])
    assert "## Verified load of an adapter, ViT-Ti/16" in page and "| peft load_adapter" in page


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ConfigError, match="expected at least 20 and one of ti, s, b"):
        load.bench_load(repeats=1)
