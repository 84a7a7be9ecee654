"""Saves killed at random moments, and at every call that touches the disk: what is there must be the old or the new, whole.

Two subjects: the generations of a training run (``Generations.save``) and one adapter folder (``inarch.save`` over and over).
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from disk import DIED, Disk, Dying

import inarch
from inarch.container import container_of
from inarch.training.generations import Generations

Say = Callable[[str], None]
MOST = 400  # calls of one save, far more than there are


class GenerationSaver:
    """Generation n holds tensors full of n; the newest ``keep`` stay."""

    name = "training generations"

    def __init__(self, keep: int = 2) -> None:
        self.keep = keep

    def save(self, folder: Path, n: int) -> None:
        tensors = {"trained": {"a": torch.full((64, 50), float(n)), "b": torch.arange(n, n + 4)}, "best": {}}
        Generations(folder, self.keep).save(tensors, {"run": {"updates": n}})

    def read(self, folder: Path) -> int | None:
        """Which n is there, whole; None when there is nothing. Falling back is no excuse: nothing half-made may be named."""
        found = Generations(folder, self.keep).load()
        if found is None:
            return None
        n = found.state["run"]["updates"]
        assert not found.notes, found.notes
        assert torch.equal(found.tensors["trained"]["a"], torch.full((64, 50), float(n)))
        assert torch.equal(found.tensors["trained"]["b"], torch.arange(n, n + 4))
        return n


class AdapterSaver:
    """One folder, in which ARC full of n takes the place of ARC full of n - 1."""

    name = "one adapter folder"

    def __init__(self) -> None:
        from families import pristine

        self.bare = copy.deepcopy(pristine("hf-vit"))
        self.grafted = inarch.graft(copy.deepcopy(pristine("hf-vit")), inarch.ARC(rank=4))

    def save(self, folder: Path, n: int) -> None:
        for parameter in container_of(self.grafted).scion("default").trained().values():
            parameter.data.fill_(n)
        inarch.save(self.grafted, folder, extra={"n": n})

    def read(self, folder: Path) -> int | None:
        if not (folder / "adapter.json").exists():
            return None
        n = inarch.load(self.bare, folder)["n"]
        try:
            values = container_of(self.bare).scion("default").trained().values()
            assert all(bool((value == n).all()) for value in values)
        finally:
            inarch.ungraft(self.bare)
        return n


Saver = GenerationSaver | AdapterSaver


def forked(work: Callable[[], None]) -> int:
    """The pid of a child that does ``work`` and leaves: 0 when it is done, 1 when it raises, without any clean-up of ours."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@dataclass
class Looping:
    """Saves n, n + 1, ... until it is killed; writes each number to ``told`` when its save has returned."""

    saver: Saver
    folder: Path
    first: int
    told: int

    def __call__(self) -> None:
        for n in range(self.first, self.first + 10**6):
            self.saver.save(self.folder, n)
            os.write(self.told, n.to_bytes(4, "little"))


def random_kills(saver: Saver, folder: Path, kills: int, seed: int = 0) -> dict[str, Any]:
    """Each child saves in a loop and is killed within a few saves; what its last finished save wrote, or the next, must be there."""
    chance, last, lost, begun = random.Random(seed), 0, [], []
    saver.save(folder, last)
    for k in range(kills):
        read, write = os.pipe()
        child = forked(Looping(saver, folder, last + 1, write))
        os.close(write)
        finished = os.read(read, 4)  # the first save is done: from here on it is killed anywhere in one of the next
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        ended(child)
        while piece := os.read(read, 4):
            finished = piece
        os.close(read)
        done = int.from_bytes(finished, "little")
        try:
            last = saver.read(folder)
        except Exception as problem:
            lost.append(f"kill {k}: {problem!r}")
            last = done
        if last not in (done, done + 1):
            lost.append(f"kill {k}: save {done} had returned, {last} is there")
        begun.append(_litter(folder))
    saver.save(folder, last + 1)
    return {"kills": kills, "lost": lost, "in_mid_save": sum(map(bool, begun)), "left_behind": _litter(folder)}


def boundaries(saver: Saver, folder: Path, before: int = 2) -> dict[str, Any]:
    """For every n: a child dies at the n-th call of one save; the old or the new is there, and the next save leaves no litter."""
    for n in range(before):
        saver.save(folder / "start", n)
    lost, seen = [], set()
    for at in range(1, MOST):
        place = shutil.copytree(folder / "start", folder / f"{at}") if before else folder / f"{at}"
        code = ended(forked(lambda: _save_dying(saver, place, before, at)))  # noqa: B023 forked at once
        try:
            seen.add(found := saver.read(place))
            assert found in (before - 1 if before else None, before), f"{found} is there"
            saver.save(place, before + 1)
            assert saver.read(place) == before + 1 and not _litter(place), f"after the next save: {_litter(place)}"
        except Exception as problem:
            lost.append(f"call {at}: {problem!r}")
        shutil.rmtree(place)
        if code == 0:
            return {"calls": at - 1, "lost": lost, "old_and_new_seen": len(seen) == 2}
        assert code == DIED, f"the saving child ended with {code}"
    raise AssertionError("the child never came to its end")


def _save_dying(saver: Saver, place: Path, n: int, at: int) -> None:
    disk: Disk = Dying(at)
    with disk:
        saver.save(place, n)


def _litter(folder: Path) -> list[str]:
    """What no finished save leaves."""
    return sorted(p.name for p in folder.rglob("*") if p.name.endswith(".tmp"))


def run(say: Say = print, kills: int = 200, seed: int = 0) -> dict[str, Any]:
    """The campaign: ``kills`` random ones and every call, on both subjects; ``lost`` counts what was neither old nor new."""
    found: dict[str, Any] = {"seed": seed, "subjects": {}}
    for saver in (GenerationSaver(), AdapterSaver()):
        with tempfile.TemporaryDirectory() as place:
            drawn = random_kills(saver, Path(place) / "random", kills, seed)
            every = boundaries(saver, Path(place) / "every")
            fresh = boundaries(saver, Path(place) / "fresh", before=0)
        found["subjects"][saver.name] = {"random": drawn, "every_call": every, "every_call_of_a_first_save": fresh}
        say(f"{saver.name}: {kills} random kills ({drawn['in_mid_save']} of them inside a save), {len(drawn['lost'])} lost; "
            f"{every['calls']} calls of a save and {fresh['calls']} of a first one, {len(every['lost']) + len(fresh['lost'])} lost")
    found["lost"] = sum(len(part["lost"]) for subject in found["subjects"].values() for part in subject.values())
    return found


if __name__ == "__main__":
    run()
