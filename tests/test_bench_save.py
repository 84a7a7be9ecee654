"""The bench of a checkpoint's save: it measures what the loop writes, and its report says met or missed."""

import pytest

from inarch.bench import report, results
from inarch.bench.save import GOAL, bench_save
from inarch.errors import ConfigError


@pytest.mark.long
def test_a_save_is_set_against_an_epoch(tmp_path):
    found = bench_save(repeats=2, images=1, model="ti", folder=tmp_path)
    assert found["share_of_epoch"] == found["save_seconds"]["median"] / found["epoch_seconds"] and found["met"] == (
        found["share_of_epoch"] <= GOAL)
    assert found["bytes"] > 100_000 and not list(tmp_path.iterdir())
    results.store(found, tmp_path / "save.json")
    assert "| ViT-Ti/16" in report.tables([results.fetch(tmp_path / "save.json")])


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ConfigError, match="expected at least 1, 1 and one of ti, s, b"):
        bench_save(model="huge")
