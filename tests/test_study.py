"""The comparison runner without a training step: budgets, keys, the agenda, the wish; what is done again and what is not."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import finished
import numpy as np
import pytest
from rich.console import Console

from inarch.errors import ConfigError, Corrupt
from inarch.methods import configured
from inarch.seal import sealed
from inarch.study import jobs, memory, runner
from inarch.study.agenda import TRIES, Agenda, Plan
from inarch.study.board import Board
from inarch.study.budget import fitted
from inarch.study.crew import Outcome
from inarch.study.entry import Entry, Stock, entrants, every
from inarch.study.jobs import content
from inarch.study.ledger import Ledger
from inarch.study.runner import Wish, study
from inarch.study.wishing import said, wish_of
from inarch.suites import Suite, SuiteTask, load_suite

# budgets


def affine(a: int, b: int, refused: Callable[[int], bool] = lambda rank: False) -> Callable[[Any], int]:
    def numbers(method: Any) -> int:
        if refused(method.rank):
            raise ConfigError("refused")
        return a + b * method.rank
    return numbers


@pytest.mark.parametrize("a, b, budget, rank", [(0, 10, 100, 10), (0, 10, 109, 10), (7, 1, 8, 1), (5, 3, 1000, 331), (0, 1, 4096, 4096)])
def test_the_largest_rank_within_the_budget(a, b, budget, rank):
    found = fitted(configured("lora", {}), budget, affine(a, b), 12)
    assert (found.method.rank, found.numbers, found.change) == (rank, a + b * rank, f"rank={rank}")


@pytest.mark.parametrize("refused, rank", [
    (lambda r: r % 2 == 1, 98), (lambda r: r > 60, 60), (lambda r: r < 40, 99), (lambda r: r == 99, 98)])
def test_sizes_that_are_refused_are_gaps(refused, rank):
    assert fitted(configured("lora", {}), 999, affine(0, 10, refused), 12).method.rank == rank


def test_a_method_that_is_too_large_keeps_its_upper_layers():
    def numbers(method: Any) -> int:
        return 100 * (12 if method.layers is None else int(method.layers[1:-1]))
    found = fitted(configured("ssf", {}), 450, numbers, 12)
    assert (found.method.layers, found.numbers, found.change) == ("-4:", 400, "layers=-4:")
    with pytest.raises(ConfigError, match=r"SSF trains at least 100 numbers .* the budget is 99; raise the budget"):
        fitted(configured("ssf", {}), 99, numbers, 12)


def test_a_size_or_layers_that_the_user_set_stay():
    method = configured("lora", {"rank": 4, "layers": "-2:"})
    assert fitted(method, 100, affine(0, 10), 12, fixed=("rank", "layers")).method == method
    with pytest.raises(ConfigError, match="at least 40"):
        fitted(method, 39, affine(0, 10), 12, fixed=("rank", "layers"))


def test_entrants_on_a_real_backbone_meet_the_budget_and_the_others_say_why():
    stock = Stock("mini-vit", 64)
    found = entrants(["arc", "ssf", "full"], stock, 6000, {"arc": {"dropout": 0.1}})
    assert [entry.name for entry in found.entries] == ["arc", "ssf"] and all(0 < entry.numbers <= 6000 for entry in found.entries)
    assert found.entries[0].fields["dropout"] == 0.1 and len(found.left_out) == 1 and "Full trains at least" in found.left_out[0]
    assert stock.numbers(configured("arc", {**found.entries[0].fields, "rank": found.entries[0].fields["rank"] + 1})) > 6000
    with pytest.raises(ConfigError, match=r"no method is left to compare: full .* the budget is 10"):
        entrants(["full"], stock, 10, {})
    with pytest.raises(ConfigError, match="settings for 'lora', which does not take part"):
        entrants(["arc"], stock, None, {"lora": {"rank": 2}})


def test_all_means_settings_of_the_literature_not_their_base():
    names = every()
    assert {"arc", "houlsby", "vpt-deep", "fact-tk"} <= {*names} and not {"bottleneck", "vpt", "fact", "frozen"} & {*names}


def test_workers_are_bounded_by_cores_and_memory():
    assert memory.workers(8, 1, 100, 1000) == 8 and memory.workers(8, 1, 1000, 1000) == 1 and memory.workers(8, 3, 1000, 2400) == 5
    assert memory.workers(4, 0, 1 << 40, 0) == 1 and memory.available() > 0 and memory.peak() > 1 << 20


# keys


@pytest.fixture
def suite(tmp_path) -> Suite:
    for name, seed in (("near", 1), ("far", 2)):
        rng = np.random.default_rng(seed)
        np.savez(tmp_path / f"{name}.npz", x_train=rng.integers(0, 256, (4, 8, 8, 3), np.uint8), y_train=np.arange(4) % 2)
    tasks = tuple(SuiteTask(name, f"{name}.npz", "both") for name in ("near", "far"))
    return Suite("pair", "Two sets", "mini-vit", tasks, {"epochs": 2}, seeds=(0, 1), rates={"default": (0.1, 0.01)})


def plan(suite: Suite, root: Path, **more: Any) -> Plan:
    entries = tuple(Entry(name, configured(name, {}).fields(), 10, "") for name in ("arc", "linear"))
    return Plan(suite, root, entries, suite.seeds, **{"trials": 2, **more})


def test_a_key_is_of_what_decides_and_not_of_where_it_lies(suite, tmp_path):
    first = plan(suite, tmp_path)
    job = first.job(suite.tasks[0], first.entries[0], 0.1, 0)
    content.cache_clear()
    (moved := tmp_path / "elsewhere").mkdir()
    (moved / "near.npz").write_bytes((tmp_path / "near.npz").read_bytes())
    assert plan(suite, moved).job(suite.tasks[0], first.entries[0], 0.1, 0).key == job.key
    others = [first.job(suite.tasks[1], first.entries[0], 0.1, 0), first.job(suite.tasks[0], first.entries[1], 0.1, 0),
              first.job(suite.tasks[0], first.entries[0], 0.01, 0), first.job(suite.tasks[0], first.entries[0], 0.1, 1),
              first.job(suite.tasks[0], first.entries[0], 0.1, None), plan(suite, tmp_path, common={"epochs": 3}).job(
                  suite.tasks[0], first.entries[0], 0.1, 0)]
    assert len({job.key, *(other.key for other in others)}) == 7
    assert plan(suite, tmp_path, common={"threads": 3}).job(suite.tasks[0], first.entries[0], 0.1, 0).key == job.key
    often = plan(suite, tmp_path, common={"evaluate_every": 2}).job(suite.tasks[0], first.entries[0], 0.1, 0)
    assert (job.recipe.evaluate_every, often.recipe.evaluate_every) == (0, 2) and often.key == job.key
    assert job.name == f"arc-seed0-{job.key[:8]}" and str(job) == "arc on near, seed 0"


def test_a_field_younger_than_kept_results_changes_no_key_where_it_says_nothing(suite, tmp_path, monkeypatch):
    """So what an earlier version finished is found again; said, the field decides as any other."""
    def key(**common: Any) -> str:
        made = plan(suite, tmp_path, common=common)
        return made.job(suite.tasks[0], made.entries[0], 0.1, 0).key

    rest = key()
    assert rest == key(half_base=False, cache_dtype=None) != key(half_base=True, precision="bf16") and rest != key(cache_dtype="fp16")
    monkeypatch.setattr(jobs, "SINCE", {})
    assert key() != rest


def test_a_run_has_a_thread_unless_somebody_says_how_many(tmp_path):
    """Workers are as many as there are cores, so that a run with all of them would wait for the others."""
    plan = Plan(load_suite("vtab-1k"), tmp_path, (Entry("arc", {}, 0, ""),), (0,), 1)
    one, four = (dataclasses.replace(plan, common=common).job(plan.suite.tasks[0], plan.entries[0], 0.01, 0)
                 for common in ({}, {"threads": 4}))
    assert (one.fields["threads"], four.fields["threads"]) == (1, 4) and one.key == four.key


def test_other_images_in_the_same_place_are_another_job(suite, tmp_path):
    first = plan(suite, tmp_path)
    before = first.job(suite.tasks[0], first.entries[0], 0.1, 0).key
    (tmp_path / "near.npz").write_bytes((tmp_path / "far.npz").read_bytes())
    content.cache_clear()
    assert first.job(suite.tasks[0], first.entries[0], 0.1, 0).key != before


# the agenda


def result(job: Any, val: float = 0.5, test: float = 0.7) -> dict[str, Any]:
    test_part = {} if job.kind == "trial" else {"test": {"accuracy": test}}
    return sealed(finished.result(method=job.method, data=job.task, lr=job.rate, seed=job.seed, config=dict(job.fields["set"])) | {
        "metrics": {"val": {"accuracy": val} if job.kind == "trial" else None, **test_part}})


def worked(agenda: Agenda, say: Callable[[Any], Any]) -> list[str]:
    """Every job that the agenda hands out, answered at once."""
    given = []
    while (job := agenda.next()) is not None:
        given.append(str(job))
        answer = say(job)
        agenda.fail(job, answer) if isinstance(answer, str) else agenda.done(job, answer)
    return given


def test_trials_choose_the_rate_and_seeds_follow(suite, tmp_path):
    agenda = Agenda(plan(suite, tmp_path), Ledger(tmp_path / "out", tmp_path / "kept"))
    given = worked(agenda, lambda job: result(job, val=0.9 if job.rate == 0.01 else 0.2))
    assert len(given) == 2 * 2 * 2 + 2 * 2 * 2 and len(set(given)) == len(given) and not agenda.open
    assert {cell.rate for cell in agenda.cells.values()} == {0.01} and len([*agenda.kept()]) == 8 and len([*agenda.tried()]) == 8
    again = Agenda(plan(suite, tmp_path), Ledger(tmp_path / "out", tmp_path / "kept"))
    assert not again.open and len([*again.kept()]) == 8  # nothing is done twice


def test_the_smaller_of_two_rates_that_are_as_good(suite, tmp_path):
    agenda = Agenda(plan(suite, tmp_path), Ledger(tmp_path, tmp_path / "kept"))
    worked(agenda, result)
    assert {cell.rate for cell in agenda.cells.values()} == {0.01}


def test_one_rate_needs_no_trial(suite, tmp_path):
    given = worked(Agenda(plan(suite, tmp_path, trials=1), Ledger(tmp_path, tmp_path / "kept")), result)
    assert len(given) == 8 and all("seed" in what for what in given)


def test_a_rate_that_fails_is_not_chosen_and_failures_are_kept_until_asked_again(suite, tmp_path):
    ledger = Ledger(tmp_path / "out", tmp_path / "kept")

    def say(job: Any) -> Any:
        return "loss nan" if job.rate == 0.1 or job.method == "linear" else result(job)
    agenda = Agenda(plan(suite, tmp_path), ledger)
    worked(agenda, say)
    assert [agenda.cells["near", name].rate for name in ("arc", "linear")] == [0.01, 0.1]
    assert all("every learning rate failed; loss nan" in str(why) for why in agenda.cells["near", "linear"].seeds.values())
    assert not Agenda(plan(suite, tmp_path), ledger).open
    ledger.forget_failures()
    fresh = Agenda(plan(suite, tmp_path), ledger)
    assert {(job.method, job.kind) for job in fresh.waiting} == {("arc", "trial"), ("linear", "trial")}


def test_a_job_whose_process_died_comes_back_so_often_and_no_more(suite, tmp_path):
    agenda = Agenda(plan(suite, tmp_path, trials=1), Ledger(tmp_path, tmp_path / "kept"))
    job, tries = agenda.next(), 1
    assert job is not None
    while agenda.again(job):
        tries += 1
        while (following := agenda.next()) is not None and following.key != job.key:
            agenda.done(following, result(following))
    assert tries == TRIES


def test_a_result_edited_by_hand_is_named(suite, tmp_path):
    ledger = Ledger(tmp_path / "out", tmp_path / "kept")
    worked(Agenda(plan(suite, tmp_path), ledger), result)
    path = next((tmp_path / "kept" / "near").glob("arc-seed0-*.json"))
    path.write_text(path.read_text().replace("0.7", "0.9"))
    with pytest.raises(Corrupt, match="was changed after the run wrote it"):
        Agenda(plan(suite, tmp_path), ledger)


# the whole, with a crew that trains nothing


@dataclasses.dataclass
class Actors:
    """A crew in this process: ``say`` answers a job with a result, a reason, or None for a death."""

    say: Callable[[Any], Any]
    most: int = 3
    given: list[Any] = dataclasses.field(default_factory=list)
    about: str = "actors"
    at_once: int = 1

    def __enter__(self) -> "Actors":
        return self

    def __exit__(self, *problem: object) -> None: ...

    @property
    def free(self) -> bool:
        return len(self.given) < self.most

    def give(self, job: Any, folder: Path) -> None:
        self.given.append(job)

    def wait(self, seconds: float) -> Outcome:
        job = self.given.pop()
        answer = self.say(job)
        if answer is None:
            return Outcome(job, "died", reason="its process was killed (signal 9)")
        return Outcome(job, "failed", reason=answer) if isinstance(answer, str) else Outcome(job, "done", answer, seconds=1.0)


def test_a_comparison_from_wish_to_report_with_a_failure_shown(suite, tmp_path, monkeypatch):
    from inarch.study.report import write_report

    def say(job: Any) -> Any:
        if job.method == "linear" and job.task == "far" and job.kind == "seed":
            return None
        return result(job, test=0.6 + 0.1 * job.seed)
    monkeypatch.setattr(runner, "_crew", lambda wish: Actors(say))
    wish = Wish(suite, tmp_path, ("arc", "linear", "full"), tmp_path / "out", budget=6000, seeds=(0, 1), trials=2)
    found = study(wish)
    assert {(row.data, row.first.method.partition("(")[0]) for row in found.rows} >= {("near", "ARC"), ("near", "Linear"), ("far", "ARC")}
    assert len(found.failures) == 2 and "signal 9" in found.failures[0].reason
    assert any("full takes no part" in note for note in found.notes) and any("arc on near: lr 0.01" in note for note in found.notes)
    written = {path.name: path.read_text() for path in write_report(found, wish)}
    assert "signal 9" in written["report.html"] and "signal 9" in written["report.md"] and "budget = 6000" in written["comparison.toml"]
    kept = sorted((tmp_path / "out" / "results").rglob("*.json"))
    assert len(kept) == 6 + 8 and all("confusion" not in json.loads(path.read_text())["metrics"] for path in kept)


@pytest.mark.parametrize("waiting, at_once, left", [
    (5, 2, "7 runs left, 5 min 50 s"), (5, 1, "7 runs left, 11 min 40 s"), (0, 4, "2 runs left, 1 min 40 s"),
])
def test_what_is_left_is_told_by_what_a_run_takes_and_how_many_run_at_once(waiting, at_once, left):
    """Two runs of 80 and 120 s are done, two are being done."""
    agenda = SimpleNamespace(waiting=[None] * waiting, out={"a", "b"}, cells={})
    told = io.StringIO()
    board = Board(Console(file=told, width=200), agenda, SimpleNamespace(at_once=at_once))
    for seconds in (80.0, 120.0):
        board.note(Outcome("arc on pets, seed 0", "done", {}, seconds=seconds))
    assert told.getvalue().splitlines()[-1] == f"arc on pets, seed 0: 2 min 0 s; {left}"


@pytest.mark.long
def test_killed_at_random_points_it_ends_in_the_same_table(suite, tmp_path, monkeypatch):
    """Ten times the process is gone after some number of answers; nothing that was finished is asked for again."""
    asked: list[str] = []

    def say(job: Any) -> Any:
        asked.append(job.key)
        return result(job, val=0.4 + 0.1 * (job.rate == 0.1), test=0.5 + 0.01 * job.seed)

    class Killed(BaseException): ...

    def mortal(life: int) -> Actors:
        def dying(job: Any) -> Any:
            nonlocal life
            life -= 1
            if life < 0:
                raise Killed
            return say(job)
        return Actors(dying, most=2)
    wish = Wish(suite, tmp_path, ("arc", "linear"), tmp_path / "killed", seeds=(0, 1), trials=2)
    for life in (0, 1, 0, 2, 1, 3, 0, 1, 2, 1):
        monkeypatch.setattr(runner, "_crew", lambda wish, life=life: mortal(life))
        with pytest.raises(Killed):
            study(wish)
    monkeypatch.setattr(runner, "_crew", lambda wish: Actors(say))
    table = study(wish).markdown()
    assert len(asked) == len(set(asked)) == 16
    assert table == study(dataclasses.replace(wish, out=tmp_path / "whole")).markdown() and len(asked) == 32


# what is asked for


def test_a_wish_of_flags(tmp_path):
    flags = {"data": ["digits", str(tmp_path)], "backbone": "mini-vit", "methods": "arc,vpt-deep", "budget": "100k", "seeds": 2,
             "epochs": 3}
    wish = wish_of(flags, {"arc.dropout": 0.1, "batch_size": 16})
    assert [task.name for task in wish.suite.tasks] == ["digits", tmp_path.name] and wish.budget == 100_000 and wish.seeds == (0, 1)
    assert wish.settings == {"arc": {"dropout": 0.1}} and wish.common == {"batch_size": 16, "epochs": 3}
    assert wish.suite.rates_of("full") != wish.suite.rates_of("arc") and wish.suite.recipe["test_fraction"] == 0.2
    assert wish_of({"suite": "local", "data": ["there"]}, {}).root == Path("there")


def test_rates_of_ones_own_take_the_place_of_the_suites():
    wish = wish_of({"suite": "local", "rates": "0.03,1e-2"}, {})
    assert wish.suite.rates_of("full") == wish.suite.rates_of("arc") == (0.03, 0.01) and wish.trials == 2
    assert wish_of({"suite": "local", "rates": "0.03,1e-2", "trials": 1}, {}).trials == 1
    assert "0.03" in said(wish).partition("[rates]")[2]


@pytest.mark.parametrize("flags, pairs, message", [
    ({"data": ["digits"], "backbone": "mini-vit", "methods": "arcc"}, {}, "did you mean 'arc'"),
    ({"suite": "locall"}, {}, "did you mean 'local'"),
    ({"data": ["digits"]}, {}, "no backbone; give one: --backbone"),
    ({"data": ["digits"], "backbone": "mini-vit", "budget": "much"}, {}, "--budget 'much'; expected a number"),
    ({"data": ["digits"], "backbone": "mini-vit", "seeds": 0}, {}, "--seeds 0; expected at least 1"),
    ({"data": ["digits"], "backbone": "mini-vit", "methods": "arc"}, {"lora.rank": 3}, "'lora' is no method of this comparison"),
    ({"data": ["digits"], "backbone": "mini-vit"}, {"lr": 0.1}, "--set lr: a comparison decides this field itself; what says it: --rates"),
    ({"data": ["digits"], "backbone": "mini-vit"}, {"epoch": 1}, "or a field of the recipe; did you mean 'epochs'"),
    ({"suite": "local", "rates": "0.1,fast"}, {}, "--rates '0.1,fast'; expected different learning rates above 0"),
    ({"suite": "local", "rates": "0.1,0.10"}, {}, "expected different learning rates above 0"),
    ({"suite": "local", "rates": "nan"}, {}, "expected different learning rates above 0"),
    ({"suite": "local", "data": ["a", "b"]}, {}, "takes one --data"),
])
def test_a_wish_that_cannot_be(flags, pairs, message):
    with pytest.raises(ConfigError, match=message):
        wish_of(flags, pairs)


def test_the_command_line_says_what_it_lacks(capsys):
    from inarch.cli import main

    assert main(["compare"]) == 2 and "give RUNS to compare, or --data" in capsys.readouterr().err
    assert main(["compare", "runs", "--data", "digits"]) == 2
