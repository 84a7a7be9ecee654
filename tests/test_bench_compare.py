"""bench compare: what a comparison costs is taken from its runs and shown; no time is asserted."""

from types import SimpleNamespace

import pytest

from inarch.bench import compare, report, results
from inarch.errors import ConfigError, InarchError
from inarch.study.spent import Took, beside

FEW = {"train": 16, "val": 4, "test": 10}


@pytest.mark.long
def test_a_comparison_is_measured_kept_and_shown(tmp_path):
    found = compare.bench_compare(repeats=1, methods=("linear", "arc"), images=FEW, changes={"epochs": 1, "image_size": 32})
    assert found["settings"] | {"images": 20, "test": 10, "side": 32, "epochs": 1, "seeds": 1} == found["settings"]
    assert {*found["methods"]} == {"linear", "arc"} and found["methods"]["arc"]["numbers"] <= compare.BUDGET
    assert all(0 < row["beside"] < 1 and row["run_seconds"]["low"] > row["epoch_seconds"] > 0 for row in found["methods"].values())
    assert found["met"] == {"seconds": found["seconds"] <= 3600, "beside": found["beside"] <= 0.05}
    results.store(found, tmp_path / "compare.json")
    page = report.tables([results.fetch(tmp_path / "compare.json")])
    assert "## A comparison, vit_tiny_patch16_224 at 32 px" in page and "| **all 2 runs** |" in page
    assert f"beside training: {found['beside']:.1%} of the runs (goal 5%, " in page


def test_seconds_beside_training_are_weighed_by_the_run():
    runs = [Took("arc", 100.0, 96.0), Took("lora", 300.0, 294.0)]
    assert beside(runs) == pytest.approx(10 / 400) and beside([]) == 0.0


@pytest.mark.parametrize(("states", "left_out", "said"), [
    ({0: True, 1: "its process was killed"}, (), "arc, seed 1: its process was killed"), ({0: True}, ("vlpet takes no part",), "vlpet"),
])
def test_a_comparison_that_lacks_a_run_is_no_measurement(states, left_out, said):
    cells = {("noise", "arc"): SimpleNamespace(seeds=states)}
    found = SimpleNamespace(agenda=SimpleNamespace(cells=cells), taking=SimpleNamespace(left_out=left_out))
    with pytest.raises(InarchError, match=rf"1 of what was to be run did not finish; the first: {said}"):
        compare._refuse_failures(found)


def test_no_seed_is_refused():
    with pytest.raises(ConfigError, match="at least 1 seed"):
        compare.bench_compare(repeats=0)
