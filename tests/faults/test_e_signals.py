"""Real signals to a training process, wherever they land, and two real processes on one run folder."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from forked import SERVER, Child
from nursery import Nursery

from inarch.data import ImageSet
from inarch.recipe import Recipe
from inarch.train import train
from inarch.training import score
from inarch.training.generations import Generations
from inarch.training.lock import LOCK
from inarch.training.update import Updater

pytestmark = pytest.mark.faults
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
# 22 images by 4 in passes of 2: 6 updates per epoch. Where the process is when the signal comes, and how many updates are then kept:
PLACES = {"step": 3, "save": 1, "eval": 6, "data wait": 2}  # an update at hand is ended, a wait for data is left


class Pause:
    """``real``, but at its ``at``-th call it says where it is, and stays for ``seconds``."""

    def __init__(self, real, at: int, here, seconds: float) -> None:
        self.real, self.left, self.here, self.seconds = real, at, here, seconds

    def __call__(self, *args, **options):
        self.left -= 1
        if self.left == 0:
            self.here.send_bytes(b"here")
            until = time.monotonic() + self.seconds
            while time.monotonic() < until:  # a signal's handler may return: the pause goes on
                time.sleep(0.02)
        return self.real(*args, **options)


def running(fields: dict, place: str, here, seconds: float, resume: bool = False) -> None:
    """Train, and pause at ``place``."""
    owner, name, at = {"step": (Updater, "_clipped", 3), "save": (Generations, "_fill", 1), "eval": (score, "logits", 1),
                       "data wait": (ImageSet, "_fresh", 9), "": (Updater, "_clipped", 10**9)}[place]
    pause = Pause(getattr(owner, name), at, here, seconds)
    setattr(owner, name, lambda *args, **options: pause(*args, **options))
    train(Recipe.parse(fields), resume=resume)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


def paused(nursery: Nursery, out: Path, place: str, seconds: float, **changes) -> tuple[Child, dict]:
    """A child that has come to ``place``."""
    near, far = SERVER.Pipe(duplex=False)
    fields = nursery.recipe(out, batch_size=2, accumulate=2, checkpoint_every=0.0 if place == "save" else 60.0, **changes).model_dump()
    child = Child(running, fields, place, far, seconds, said=out.with_name("said"))
    assert near.poll(40), child.err
    near.recv_bytes()
    return child, fields


def updates(run: Path) -> int:
    found = Generations(run / "checkpoints").load()
    assert not found.notes
    return found.state["run"]["updates"]


@pytest.mark.row("E5", "SIGINT or SIGTERM during a step, a save, an evaluation, a wait for data")
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("place", PLACES)
def test_a_signal_leaves_the_last_finished_step(nursery, tmp_path, place, number):
    """The checkpoint is of the last finished update and the exit code is 130 or 143, within seconds; no traceback."""
    child, _ = paused(nursery, tmp_path / "run", place, 0.2)
    child.kill(number)
    assert child.end(within=25) == SIGNALS[number], child.err  # 5 s in the table; here others compute beside it
    assert updates(tmp_path / "run") == PLACES[place] and "Traceback" not in child.err
    assert not [p for p in (tmp_path / "run").rglob("*") if p.name.endswith(".tmp")]


@pytest.mark.row("E5", "a second signal, during a step and during a save")
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("place", ["step", "save"])
def test_a_second_signal_ends_the_process_at_once(nursery, tmp_path, place, number):
    """It ends there and then with 130 or 143, whatever it was doing; what was saved before stays whole."""
    child, _ = paused(nursery, tmp_path / "run", place, 60)
    child.kill(signal.SIGINT)
    time.sleep(0.3)
    child.kill(number)
    assert child.end(within=25) == SIGNALS[number]
    assert Generations(tmp_path / "run" / "checkpoints").load() is None  # the first save had not ended


@pytest.mark.row("E8", "two processes are started on one folder")
@pytest.mark.row("E8", "the process that held the lock is dead")
def test_the_second_process_is_refused_until_the_first_is_dead(nursery, tmp_path, tried):
    """The second is refused by name of the first (exit code 2), new run and resume alike; a lock left by SIGKILL is taken over."""
    run = tmp_path / "run"
    first, fields = paused(nursery, run, "step", 60)
    for resume in (False, True):
        second = Child(running, fields, "", None, 0.0, resume, said=tmp_path / "second")
        assert second.end() == 2
        assert (f"in use by process {first.pid}" if resume else "already holds a run") in second.err
    first.kill()
    assert first.end() == -9 and f'"pid": {first.pid}' in (run / LOCK).read_text()
    third = Child(running, fields, "", None, 0.0, True, said=tmp_path / "third")
    assert third.end() == 0, third.err
    assert (run / "result.json").exists() and (run / LOCK).read_text() == ""
    tried(3)


@pytest.mark.row("E8", "two processes are started on one new folder at the same time")
def test_of_two_that_start_at_once_one_wins(nursery, tmp_path):
    """One trains, the other is refused with exit code 2, and the run is whole."""
    fields = nursery.recipe(tmp_path / "run", epochs=1).model_dump()
    both = [Child(running, fields, "", None, 0.0, said=tmp_path / f"said-{k}") for k in range(2)]
    codes = sorted(child.end() for child in both)
    assert codes == [0, 2], [child.err for child in both]
    assert (tmp_path / "run" / "result.json").exists()
    assert os.path.getsize(tmp_path / "run" / "metrics.jsonl") > 0
