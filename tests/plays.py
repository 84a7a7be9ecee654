"""A training run with one thing happening to it at one update, and what is seen of it: played in this process, or in two of a run."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from inarch.data import Table
from inarch.errors import DataError
from inarch.recipe import Recipe
from inarch.train import train
from inarch.training.generations import Generations
from inarch.training.loop import Loop
from inarch.training.update import Updater


@dataclass(frozen=True)
class Play:
    """``event`` happens in update ``at`` (from 0) of the run of a recipe: see the functions below named after it."""

    fields: dict[str, Any]
    resume: bool = False
    event: str = ""
    at: int = -1


@dataclass
class Seen:
    """How the play ended, what it said, and of every update the loss and a digest of what trains; ``saves``: checkpoints written."""

    ended: str = "finished"
    said: str = ""
    losses: list[float] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    saves: int = 0


def play(one: Play) -> Seen:
    seen = Seen()
    with pytest.MonkeyPatch.context() as patch:
        _watch(patch, seen)
        if one.event:
            EVENTS[one.event](patch, one)
        try:
            train(Recipe.parse(one.fields), resume=one.resume)
        except (Exception, SystemExit) as problem:
            seen.ended, seen.said = type(problem).__name__, str(problem)
    return seen


def played(plays: list[Play], found: str) -> None:
    """One after another; ``found-RANK.json`` holds what was seen so far, ``found-RANK.pid`` who plays."""
    rank, told = os.environ.get("RANK", "0"), []
    Path(f"{found}-{rank}.pid").write_text(str(os.getpid()))
    for one in plays:
        told.append(vars(play(one)))
        Path(f"{found}-{rank}.json").write_text(json.dumps(told))


def heard(found: Path, rank: int) -> list[Seen]:
    return [Seen(**fields) for fields in json.loads(Path(f"{found}-{rank}.json").read_text())]


def _watch(patch: pytest.MonkeyPatch, seen: Seen) -> None:
    account, save = Loop._account, Generations.save

    def accounting(loop: Loop, outcome: Any, *rest: Any) -> None:
        seen.losses.append(outcome.loss)
        seen.digests.append(digest(loop.updater.trained))
        account(loop, outcome, *rest)

    def saving(*args: Any) -> Path:
        seen.saves += 1
        return save(*args)

    patch.setattr(Loop, "_account", accounting)
    patch.setattr(Generations, "save", saving)


def digest(trained: dict[str, torch.nn.Parameter]) -> str:
    total = hashlib.sha256()
    for name, parameter in trained.items():
        total.update(name.encode() + parameter.detach().cpu().numpy().tobytes())
    return total.hexdigest()


# events

def second(updater: Updater) -> bool:
    """Whether this is the last process of the run."""
    return updater.engine.process_index == updater.engine.num_processes - 1


def _around_update(patch: pytest.MonkeyPatch, at: int, before: Any = None, after: Any = None) -> None:
    make = Updater.__call__

    def making(updater: Updater, k: int, *rest: Any) -> Any:
        if k == at and before is not None:
            before(updater)
        done = make(updater, k, *rest)
        if k == at and after is not None:
            after(updater)
        return done

    patch.setattr(Updater, "__call__", making)


def stopped(patch: pytest.MonkeyPatch, one: Play) -> None:
    _around_update(patch, one.at, after=lambda updater: second(updater) and os.kill(os.getpid(), signal.SIGINT))


def dies(patch: pytest.MonkeyPatch, one: Play) -> None:
    _around_update(patch, one.at, before=lambda updater: second(updater) and os.kill(os.getpid(), signal.SIGKILL))


def diverges(patch: pytest.MonkeyPatch, one: Play) -> None:
    def poison(updater: Updater) -> None:
        losses = updater.task.losses
        if second(updater):
            object.__setattr__(updater.task, "losses", lambda *args: losses(*args) * float("nan"))

    _around_update(patch, one.at, before=poison)


def bad_image(patch: pytest.MonkeyPatch, one: Play) -> None:
    def spoiled(table: Table, i: int) -> Any:
        raise DataError(f"{table.names[i]} cannot be decoded")

    _around_update(patch, one.at, before=lambda updater: second(updater) and patch.setattr(Table, "image", spoiled))


def _in_save(patch: pytest.MonkeyPatch, one: Play, then: Any) -> None:
    """``then`` in the middle of the save after update ``at``, which only the main process makes."""
    fill = Generations._fill

    def filling(generations: Generations, draft: Path, tensors: Any, state: dict[str, Any]) -> None:
        if state["run"]["updates"] == one.at:
            (draft / "trained.safetensors").write_bytes(b"half")
            then()
            (draft / "trained.safetensors").unlink()
        fill(generations, draft, tensors, state)

    patch.setattr(Generations, "_fill", filling)


def other_killed_in_save(patch: pytest.MonkeyPatch, one: Play) -> None:
    _in_save(patch, one, lambda: os.kill(int(next(Path(one.fields["out"]).parent.glob("*-1.pid")).read_text()), signal.SIGKILL))


def main_killed_in_save(patch: pytest.MonkeyPatch, one: Play) -> None:
    _in_save(patch, one, lambda: os.kill(os.getpid(), signal.SIGKILL))


EVENTS = {event.__name__: event for event in (stopped, dies, diverges, bad_image, other_killed_in_save, main_killed_in_save)}
