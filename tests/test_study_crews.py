"""Jobs in processes of their own: here, on a Ray cluster, and when one of them is killed; the numbers are the same."""

from __future__ import annotations

import dataclasses
import io
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from inarch.errors import ConfigError, DataError
from inarch.study import Wish, local, memory, runner, study, work
from inarch.study.cluster import RayCrew
from inarch.study.crew import Outcome
from inarch.study.jobs import Job
from inarch.study.local import LocalCrew, Worker
from inarch.study.seats import Seats, seats
from inarch.study.spent import Took
from inarch.suites import Suite, SuiteTask
from inarch.training.interrupt import Interrupted

RECIPE = {"epochs": 1, "batch_size": 8, "threads": 1, "report": False, "tensorboard": False, "image_size": 32, "val_fraction": 0.25}


def wish(folder: Path, out: str, **more: Any) -> Wish:
    """Two methods on one set of noise, two rates, two seeds: eight runs of a second."""
    if not (folder / "noise.npz").exists():
        rng, arrays = np.random.default_rng(0), {}
        for part, n in (("train", 24), ("test", 12)):
            arrays |= {f"x_{part}": rng.integers(0, 256, (n, 8, 8, 3), np.uint8), f"y_{part}": np.arange(n) % 2}
        np.savez(folder / "noise.npz", **arrays)
    suite = Suite("noise", "Noise", "mini-vit", (SuiteTask("noise", "noise.npz"),), RECIPE, rates={"default": (0.01, 0.001)})
    return Wish(suite, folder, ("arc", "linear"), folder / out, budget=2000, seeds=(0, 1), trials=2, **more)


def scores(found: Any) -> dict[str, list[float | None]]:
    return {row.first.method: [result.score for result in row.results] for row in found.rows}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, list[float | None]]:
    """What one worker makes of it."""
    return scores(study(wish(tmp_path_factory.mktemp("plain"), "out", workers=1)))


@pytest.mark.long
def test_killed_workers_lose_nothing_and_the_numbers_are_the_same(tmp_path, plain, monkeypatch):
    assert {len(values) for values in plain.values()} == {2} and len(plain) == 2

    class Murdered(LocalCrew):
        """The first worker that is at work is killed once."""

        victims = 0

        def give(self, job: Job, folder: Path) -> None:
            super().give(job, folder)
            if not self.victims:
                self.victims += 1
                os.kill(self.busy[0].process.pid, signal.SIGKILL)  # type: ignore[arg-type]

    crew = Murdered(2)
    monkeypatch.setattr(runner, "_crew", lambda wish: crew)
    found = study(wish(tmp_path, "out"))
    assert crew.victims == 1 and scores(found) == plain and not found.failures
    assert not multiprocessing.active_children()


class Stopped(LocalCrew):
    """Trains nothing; a signal comes while the first job is waited for."""

    def __init__(self, number: int) -> None:
        super().__init__(1)
        self.number, self.left, self.sent = number, False, 0

    def give(self, job: Job, folder: Path) -> None:
        pass

    def wait(self, seconds: float) -> None:
        self.sent += 1
        assert self.sent == 1, "the signal did not end it"
        os.kill(os.getpid(), self.number)

    def __exit__(self, *problem: object) -> None:
        self.left = True


@pytest.fixture
def listening() -> Iterator[None]:
    """To Ctrl-C as at a terminal: what a script starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, None), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_workers_go_and_says_that_the_command_goes_on(tmp_path, monkeypatch, number, code):
    """Ctrl-C (the command line makes 130 of it) and SIGTERM alike; nothing of the handler stays behind."""
    crew, said, before = Stopped(number), io.StringIO(), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(runner, "_crew", lambda wish: crew)
    with pytest.raises(KeyboardInterrupt if code is None else Interrupted) as ended:
        study(wish(tmp_path, "out"), Console(file=said, width=200))
    assert code is None or ended.value.code == code
    assert crew.left and "the same command goes on with the others; 8 runs left" in said.getvalue()
    assert signal.getsignal(signal.SIGTERM) is before


def test_how_many_work_is_learnt_from_what_one_has_held(monkeypatch):
    crew = LocalCrew()
    crew.seats, crew.workers = Seats("core", 8), [SimpleNamespace(job=None)]
    monkeypatch.setattr(memory, "available", lambda: 10 << 30)
    assert crew.limit == 1
    crew._learn(4 << 30)
    assert crew.limit == 3 and "3 workers for 8 cores, each at most 4.00 GiB" in crew.about
    fixed = LocalCrew(5)
    fixed._learn(4 << 30)
    assert fixed.limit == 5


def test_an_epoch_of_the_first_job_shows_what_the_others_will_hold(tmp_path, monkeypatch):
    """Of a run that goes on, an epoch of before shows nothing: this process may not have made an update yet.

    A log that is damaged is for the run to refuse, which takes that run alone with it.
    """
    monkeypatch.setattr(memory, "available", lambda: 64 << 30)
    (tmp_path / "metrics.jsonl").write_text("damaged\n")
    mine, theirs = multiprocessing.Pipe()
    crew, job = LocalCrew(), SimpleNamespace(key="a")
    crew.seats, crew.workers = Seats("core", 4), [Worker(SimpleNamespace(pid=os.getpid()), mine)]
    crew.give(job, tmp_path)
    assert theirs.recv() == (job, tmp_path)
    assert crew.wait(0) is None and not crew.free and not crew.held
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"epoch": 2}\n')
    assert crew.wait(0) is None and crew.free and crew.limit == 4 and crew.held > 1 << 20
    theirs.send(("done", {}, 1 << 50))
    assert crew.wait(1).kind == "done" and crew.held == 1 << 50 and crew.limit == 1


def test_a_process_that_is_gone_holds_nothing():
    assert memory.held(os.getpid()) > 1 << 20 and memory.held(2 ** 22 + 1) == 0


@pytest.mark.parametrize(("threads", "count", "said"), [(1, 8, "8 cores"), (3, 2, "6 cores, 3 for each"), (0, 1, "8 cores, 8 for each"),
                                                        (99, 1, "8 cores, 8 for each")])
def test_a_worker_has_as_many_cores_as_its_run_has_threads(monkeypatch, threads, count, said):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    found = seats("cpu", threads)
    assert found.count == count and str(found) == said and found.free([]) is None


@pytest.mark.parametrize(("visible", "gpus"), [("", ("0", "1")), ("3, 5", ("3", "5")), ("GPU-8f2a,1,2", ("GPU-8f2a", "1"))])
def test_workers_take_turns_on_the_gpus_that_can_be_seen(monkeypatch, visible, gpus):
    """Each sees its own alone, whatever it is called; a GPU that was named is one seat, and nothing is chosen."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    crew, hired = LocalCrew(3, "auto"), []
    crew.context = SimpleNamespace(Pipe=lambda: (SimpleNamespace(send=lambda given: None), SimpleNamespace(close=lambda: None)),
                                   Process=lambda target, args, daemon: hired.append(args[1]) or SimpleNamespace(start=lambda: None))
    for key in "abc":
        crew.give(SimpleNamespace(key=key), Path("nowhere"))
    assert hired == [*gpus, gpus[0]] and crew.about == "3 workers for 2 GPUs" and not crew.free
    named = seats("cuda:1")
    assert named.count == 1 and named.free([]) is None and seats("cpu").kind == "core"


def test_a_worker_sees_its_gpu_alone(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(os, "setpgrp", lambda: None)
    monkeypatch.setattr(local, "quietly_mended", lambda: None)
    local.serve(SimpleNamespace(recv=lambda: None), "1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_a_device_that_is_not_here_is_refused_before_a_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device='cuda' is not usable here"):
        study(wish(tmp_path, "new/out", common={"device": "cuda"}))
    assert not (tmp_path / "new").exists()


@pytest.mark.dist
def test_a_ray_cluster_gives_the_same_numbers(tmp_path, plain):
    pytest.importorskip("ray")
    assert scores(study(wish(tmp_path, "cluster", cluster="local"))) == plain


@pytest.mark.parametrize(("device", "there", "needs", "about"), [
    ("auto", {"CPU": 2}, {"num_cpus": 1, "num_gpus": 0}, "2 processors of the Ray cluster local"),
    ("auto", {"CPU": 16, "GPU": 4}, {"num_cpus": 1, "num_gpus": 1}, "4 GPUs of the Ray cluster local"),
    ("cpu", {"CPU": 16, "GPU": 4}, {"num_cpus": 1, "num_gpus": 0}, "16 processors of the Ray cluster local"),
])
def test_a_job_of_a_cluster_has_its_seat_and_its_time_in_the_queue_is_no_work(monkeypatch, tmp_path, device, there, needs, about):
    """The cluster says what the job took where it ran, however long it waited there; from a job that asks for no GPU it hides them."""
    asked: list[dict] = []
    remote = SimpleNamespace(options=lambda **of: asked.append(of) or SimpleNamespace(remote=lambda job, *place: job))
    ray = SimpleNamespace(init=lambda **of: None, shutdown=lambda: None, cluster_resources=lambda: there, cancel=lambda job: None,
                          remote=lambda **of: lambda work: remote, wait=lambda waiting, timeout: (waiting[:1], waiting[1:]),
                          get=lambda job: ("done", {"seconds": 1.5}, 2.0, 1 << 20))
    monkeypatch.setitem(sys.modules, "ray", ray)
    job = Job("trial", "digits", "arc", 0.01, 42, {"data": "digits", "backbone": "mini-vit", "method": "arc", "threads": 1})
    with RayCrew("local", device) as crew:
        crew.give(job, tmp_path)
        outcome = crew.wait(0.1)
        assert crew.about == about and str(crew.at_once) == about.partition(" ")[0]
    assert {key: asked[0][key] for key in needs} == needs
    assert outcome.seconds == 2.0 and outcome.result == {"seconds": 1.5} and outcome.memory == 1 << 20


def test_what_a_comparison_costs_is_told_of_the_runs_that_it_did_whole(tmp_path):
    """Of one that went on from before, the result knows the seconds of both times."""
    jobs = [SimpleNamespace(key=name, method="arc") for name in ("fresh", "resumed", "failed")]
    (tmp_path / "resumed").mkdir()
    waiting, out = jobs[:], []

    class Few(SimpleNamespace):
        open = property(lambda self: bool(waiting or out))

    ledger = SimpleNamespace(folder=lambda job: tmp_path / job.key)
    agenda = Few(ledger=ledger, next=lambda: waiting.pop(0) if waiting else None, done=lambda job, result: None,
                 fail=lambda job, reason: None)
    said: list[str] = []
    board = SimpleNamespace(tick=lambda: None, note=lambda outcome: None, say=said.append, finished=3)

    class Quick:
        free, about = True, "one"

        def give(self, job: Any, folder: Path) -> None:
            folder.mkdir(exist_ok=True)
            out.append(job)

        def wait(self, seconds: float) -> Outcome:
            job = out.pop(0)
            done = {"fresh": {"seconds": 95.0}, "resumed": {"seconds": 500.0}}.get(job.key)
            return Outcome(job, "done" if done else "failed", done, seconds=100.0)

    spent = runner._work(agenda, Quick(), board)
    assert spent.runs == [Took("arc", 100.0, 95.0)] and spent.beside == pytest.approx(0.05)
    assert said[0].endswith("; of 1 min 40 s in runs, 1 min 35 s were training steps (5.0% beside them)")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1", "127.0.0.1:port"])
def test_where_nobody_answers_is_no_cluster(tmp_path, monkeypatch, address):
    """Ray is not asked: it would try for minutes. No folder is left behind."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=lambda **of: pytest.fail("asked")))
    with pytest.raises(ConfigError, match=re.escape(f"no Ray cluster at {address!r}: ")):
        study(wish(tmp_path, "new/out", cluster=address))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", [ConnectionError, RuntimeError, LostByRay := type("RayError", (Exception,), {})])
def test_a_cluster_that_does_not_let_us_in_may_ask_for_a_token(monkeypatch, kind):
    """Ray reads the token by itself for ``auto`` alone, and says of another address only that it failed."""
    def init(**of) -> None:
        raise kind("Failed to connect\nand twenty lines more")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, exceptions=SimpleNamespace(RayError=LostByRay)))
    said = r"no Ray cluster at 'auto': Failed to connect; expected .* RAY_AUTH_MODE=token$"
    with pytest.raises(ConfigError, match=said), RayCrew("auto"):
        pass


def test_data_that_is_not_there_is_left_out_by_name_and_refused_where_there_is_none(tmp_path, monkeypatch):
    asked = wish(tmp_path, "out")
    lost = dataclasses.replace(asked.suite, tasks=(SuiteTask("voice", "voice.npz"), SuiteTask("song", "coop:Song@{data}/song")))
    with pytest.raises(DataError, match=r"no 'voice.npz' in .*did you mean 'noise.npz'\?.* \(1 more data sets are not there either\)"):
        study(dataclasses.replace(asked, suite=lost))
    assert not (tmp_path / "out").exists()
    some = dataclasses.replace(asked.suite, tasks=(*asked.suite.tasks, *lost.tasks))
    monkeypatch.setattr(runner, "_crew", lambda wish: Failing())
    found = study(dataclasses.replace(asked, suite=some))
    assert {failure.data for failure in found.failures} == {"noise"} and not found.rows
    assert [note.partition(": data")[0] for note in found.notes if "left out" in note] == ["voice is left out", "song is left out"]


def test_a_run_of_another_method_in_the_folder_is_not_gone_on_with(tmp_path, monkeypatch):
    """As recipes of older versions were, which lost that AdaRing was to sit on all layers."""
    wish(tmp_path, "out")
    fields = RECIPE | {"data": str(tmp_path / "noise.npz"), "backbone": "mini-vit", "method": "adaring", "set": {"layers": None}}
    job = Job("seed", "noise", "adaring", 0.01, 0, fields)
    begun: list[bool] = []
    monkeypatch.setattr(work, "train", lambda recipe, resume=False: begun.append(resume))
    monkeypatch.setattr(work.Run, "result", lambda run: {"metrics": {}})
    for lost in (False, True):
        run = work.Run(tmp_path / str(lost))
        run.make()
        run.write_recipe(job.recipe)
        if lost:
            text = run.recipe_file.read_text().replace('layers = "null"\n', "")
            run.recipe_file.write_text(text)
        run.card_file.write_text("{}")
        work.perform(job, run.folder)
    assert begun == [True, False]


class Failing(LocalCrew):
    """Whatever it is given fails."""

    def __init__(self) -> None:
        super().__init__(1)
        self.given: list[Job] = []

    def give(self, job: Job, folder: Path) -> None:
        self.given.append(job)

    @property
    def free(self) -> bool:
        return not self.given

    def wait(self, seconds: float) -> Outcome:
        return Outcome(self.given.pop(), "failed", reason="DataError: broken")


def test_a_comparison_of_which_nothing_finished_ends_in_an_error(tmp_path, monkeypatch, capsys):
    from inarch.cli import main

    wish(tmp_path, "out")
    monkeypatch.setattr(runner, "_crew", lambda wish: Failing())
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "--data", "noise.npz", "--backbone", "mini-vit", "--methods", "linear", "--seeds", "1"]) == 1
    said = capsys.readouterr()
    assert "no run finished; the table and the report say why" in said.err and "broken" in said.out + said.err


def test_workers_and_a_cluster_contradict_each_other(tmp_path):
    with pytest.raises(ConfigError, match="is for processes of this machine"):
        study(wish(tmp_path, "both", workers=2, cluster="auto"))


@pytest.mark.dist
def test_no_cluster_there_is_an_error_of_ours(tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match="no Ray cluster at 'auto'"), RayCrew("auto"):
        pass
