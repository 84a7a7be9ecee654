"""``inarch auto``: what it decides, the ladder, and the whole way on a tiny backbone, twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nursery import Nursery

from inarch.auto import Ask, auto, decide
from inarch.auto.ladder import Candidate, Try, at_rung, climb, rungs, spent
from inarch.auto.run import DECISIONS, _workload
from inarch.errors import ConfigError, DataError, InarchError
from inarch.recipe import Recipe
from inarch.run import Run


def candidates(n: int) -> list[Candidate]:
    return [Candidate(f"method{i}", {}, 0.1, 100 + i) for i in range(n)]


@pytest.mark.parametrize("n, counts", [(1, [1]), (2, [2]), (3, [3, 1]), (5, [5, 2]), (12, [12, 4, 2]), (30, [30, 10, 4, 2])])
def test_rungs(n, counts):
    assert rungs(n) == counts


def test_epochs_grow_to_the_winners_and_a_rung_as_long_as_the_last_is_free():
    assert [at_rung(27, k, 3) for k in range(3)] == [1, 3, 9] and spent(12, 27) == 27 + 12 * 1 + 4 * 3 + 2 * 9
    assert [at_rung(4, k, 3) for k in range(3)] == [1, 1, 1] and spent(12, 4) == 4 + 12


def test_the_best_climbs_and_every_try_is_kept():
    seen = []

    def score(candidate: Candidate, rung: int, epochs: int) -> Try:
        seen.append((candidate.method, rung, epochs))
        return Try(candidate, rung, epochs, int(candidate.method[6:]) / 100)
    tries, winner = climb(candidates(12), 27, score)
    assert winner is not None and winner.method == "method11" and len(tries) == 18
    assert [one for one in seen if one[1] == 1] == [(f"method{i}", 1, 3) for i in (11, 10, 9, 8)]


def test_of_equals_the_one_with_fewer_numbers_and_failures_drop_out():
    def score(candidate: Candidate, rung: int, epochs: int) -> Try:
        return Try(candidate, rung, epochs, None if candidate.numbers < 102 else 0.5, "loss nan")
    tries, winner = climb(candidates(5), 9, score)
    assert winner is not None and winner.numbers == 102 and sum(one.score is None for one in tries) == 2
    assert climb(candidates(1), 9, score)[1] is None


# decisions


def test_an_update_is_measured_with_as_many_images_as_runs_have(monkeypatch):
    """An image of a small update costs more: of eight at 64 px it was found to cost 1.7 times what one of 32 does."""
    seen, logits = [], decide.backbones.logits
    monkeypatch.setattr(decide.backbones, "logits", lambda model, pixels: seen.append(len(pixels)) or logits(model, pixels))
    assert dict(decide.measured(decide.Chosen("mini-vit", 32, ()), [32], "cpu"))[32] > 0
    assert seen[1:] == 2 * [Recipe.parse({"data": "digits", "method": "arc"}).batch_size]


def test_the_size_falls_until_the_time_is_enough(monkeypatch):
    monkeypatch.setattr(decide, "measured", lambda chosen, sides, device: ((side, side**2 * 1e-6) for side in sides))
    chosen = decide.Chosen("mini", 224, ())
    work = decide.Workload(1000, 1000, 12)
    rich, poor = decide.effort(chosen, work, 60, "cpu"), decide.effort(chosen, work, 3, "cpu")
    assert (rich.side, rich.epochs, rich.limit) == (224, decide.EPOCHS, 0) and poor.side < 224 and poor.epochs >= decide.EPOCHS // 2
    starved = decide.effort(chosen, decide.Workload(100_000, 100_000, 12), 1, "cpu")
    assert (starved.side, starved.epochs) == (32, decide.FEWEST) and 64 <= starved.limit < 100_000
    assert "candidates see" in starved.reasons[-1]
    assert decide.effort(chosen, work, 3, "cpu", side=96).side == 96
    assert poor.seconds <= 180
    monkeypatch.setattr(decide, "measured", lambda chosen, sides, device: iter([(224, 0.05), (64, 0.007), (32, 0.006)]))
    between = decide.effort(chosen, decide.Workload(500, 500, 12), 1.5, "cpu")  # no side has ten epochs: the largest that has a few
    assert between.side == 64 and decide.FEWEST <= between.epochs < decide.EPOCHS // 2


def test_candidates_learn_from_less_than_the_winner_and_what_lacks_is_held_back():
    assert _workload({"train": 1000}, 12) == decide.Workload(600, 800, 12)
    assert _workload({"train": 1000, "test": 300}, 12) == decide.Workload(800, 1000, 12)
    assert _workload({"train": 1000, "val": 200, "test": 300}, 12) == decide.Workload(1000, 1200, 12)
    work = decide.Workload(600, 800, 12)
    assert work.cost(27) == pytest.approx(1.25 * (600 * (spent(12, 27) - 27) + 800 * 27))
    affordable = 0.75 * work.cost(27)
    limit = work.limit(affordable, 27)
    assert decide.LEAST < limit < 600 and work.cost(27, limit) <= affordable < work.cost(27, limit + 1)


def test_what_cannot_be_loaded_is_passed_over_and_said(monkeypatch):
    tried = []

    def loaded(address: str, side: int | None = None):
        tried.append(address)
        if address != decide.EMBEDDED:
            raise InarchError("no connection")
        return type("Found", (), {"image_size": 64})
    monkeypatch.setattr(decide, "_loaded", loaded)
    found = decide.backbone(None, "cpu")
    assert found.address == "mini-vit" and tried == [*decide.presets("cpu"), "mini-vit"] and "no connection" in found.reasons[0]
    with pytest.raises(InarchError, match="no connection"):
        decide.backbone("hf:mine", "cpu")


# the whole way


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


def ask(nursery: Nursery, out: Path, **more) -> Ask:
    return Ask(**{"data": nursery.data, "out": out, "backbone": nursery.vit, "methods": ("linear", "arc"), "budget": 200, "minutes": 0.2,
                  "device": "cpu"} | more)


@pytest.mark.long
def test_from_images_to_a_report_and_again_for_nothing(nursery, tmp_path, monkeypatch):
    found = auto(ask(nursery, tmp_path / "out"))
    run = Run(found.run)
    assert run.finished and run.recipe().fit == "train+val" and "accuracy" in run.result()["metrics"]["test"]
    assert {one.candidate.method for one in found.tries} == {"linear", "arc"}
    assert found.winner in [one.candidate for one in found.tries]
    for name in ("report.html", "report.md"):
        assert str(found.winner) in (tmp_path / "out" / name).read_text() and len(found.decisions) >= 5
    from inarch.study import work

    monkeypatch.setattr(work, "train", lambda *args, **kwargs: pytest.fail("trained again"))
    monkeypatch.setattr(decide, "effort", lambda *args, **kwargs: pytest.fail("measured again"))
    again = auto(ask(nursery, tmp_path / "out"))
    assert again.run == found.run and again.tries == found.tries


@pytest.mark.long
def test_another_question_in_the_same_folder_is_refused(nursery, tmp_path):
    auto(ask(nursery, tmp_path / "out", methods=("linear",)))
    with pytest.raises(ConfigError, match="holds the winner of another question"):
        auto(ask(nursery, tmp_path / "out", methods=("arc",)))


def test_data_that_must_be_mended_first(nursery, tmp_path):
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    (tmp_path / "pets" / "cat" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="inarch check-data"):
        auto(ask(nursery, tmp_path / "out", data=str(tmp_path / "pets")))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "few.npz", x_train=rng.integers(0, 256, (4, 8, 8, 3), np.uint8), y_train=np.arange(4) % 2)
    with pytest.raises(DataError, match="expected at least 3 per class"):
        auto(ask(nursery, tmp_path / "out", data=str(tmp_path / "few.npz")))
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_decisions_are_kept_and_damage_is_named(nursery, tmp_path):
    auto(ask(nursery, tmp_path / "out", methods=("linear",)))
    kept = json.loads((tmp_path / "out" / DECISIONS).read_text())
    assert kept["asked"]["methods"] == ["linear"] and kept["epochs"] >= 1
    (tmp_path / "out" / DECISIONS).write_text(json.dumps({"asked": kept["asked"], "reasons": []}))
    with pytest.raises(InarchError, match="delete it, and it is decided anew"):
        auto(ask(nursery, tmp_path / "out", methods=("linear",)))


@pytest.mark.long
def test_the_command(nursery, tmp_path, capsys, monkeypatch):
    from inarch.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["auto", nursery.data, "--backbone", nursery.vit, "--methods", "linear", "--minutes", "0.1", "--out", "here"]) == 0
    assert capsys.readouterr().out.splitlines() == ["here/report.html", "inarch predict here/best IMAGES"]
    assert main(["auto", nursery.data, "--methods", "liner"]) == 2 and "did you mean 'linear'" in capsys.readouterr().err
