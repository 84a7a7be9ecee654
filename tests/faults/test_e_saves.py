"""A save that is killed, loses power, or meets a disk that refuses: of training generations and of one adapter folder."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign.kills import MOST, AdapterSaver, GenerationSaver, boundaries, ended, forked, random_kills
from disk import Recording, Refusing, put

from inarch.errors import StorageError

SAVERS = {"generations": lambda: GenerationSaver(), "generations, one kept": lambda: GenerationSaver(keep=1), "adapter": AdapterSaver}
MEMORY = "/dev/shm"
both = pytest.mark.parametrize("subject", ["generations", "adapter"])
each = pytest.mark.parametrize("subject", SAVERS)


@pytest.fixture
def quick(tmp_path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill loses nothing of what the system has taken, synced or not."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else tmp_path) as place:
        yield Path(place)


@pytest.mark.faults
@pytest.mark.row("E1", "SIGKILL at random times in a save loop")
@both
def test_killed_at_random_in_a_loop_of_saves(subject, tmp_path, tried):
    """What the last finished save wrote is there, or the one being made, whole; the next save sweeps what the kill left."""
    found = random_kills(SAVERS[subject](), tmp_path, kills=20, seed=1)
    assert found["lost"] == [] and found["left_behind"] == []
    assert found["in_mid_save"] > 0
    tried(20)


@pytest.mark.faults
@pytest.mark.row("E2", "SIGKILL at every system call of one save")
@pytest.mark.parametrize("before", [2, 0], ids=["over older ones", "the first"])
@both
def test_killed_at_every_call_that_touches_the_disk(subject, before, quick, tried):
    """The old one is there or the new one, whole, for every call; a save can follow and leaves nothing behind."""
    found = boundaries(SAVERS[subject](), quick, before)
    assert found["lost"] == [] and found["old_and_new_seen"] and found["calls"] > 12
    tried(found["calls"])


@pytest.mark.row("E3", "power loss: what was not synced is lost, torn or zeros")
@pytest.mark.parametrize("before", [2, 0], ids=["over older ones", "the first"])
@each
def test_power_lost_after_any_call_of_a_save(subject, before, quick, tried):
    """The old one verifies, or the new one, without falling back; once the save has returned, it is the new one."""
    saver, root = SAVERS[subject](), quick / "disk"
    (root / "run").mkdir(parents=True)
    place = root / "run" / "deeper" / "folder"
    for n in range(before):
        saver.save(place, n)
    with Recording(root) as log:
        saver.save(place, before)
    after = {key for state in log.states() if (key := tuple(sorted(state.items()))) in log.found}
    assert log.calls > 12 and len(log.found) > 10 and after
    for k, (key, state) in enumerate(log.found.items()):
        put(state, quick / str(k))
        found = saver.read(quick / str(k) / "run" / "deeper" / "folder")
        assert found == before if key in after else found in (before - 1 if before else None, before), state.keys()
        shutil.rmtree(quick / str(k))
    tried(len(log.found))


@pytest.mark.faults
@pytest.mark.row("E4", "full disk, quota or EIO at the n-th write, once or from then on")
@both
def test_a_disk_that_refuses_any_call(subject, quick, tried):
    """StorageError (exit code 6): the old one is whole, no temporary file stays, and the next save works."""
    saver, place = SAVERS[subject](), quick / "place"
    saver.save(place, 0)
    n, calls = 0, 0
    for at in range(1, MOST):
        for number, ever in ((errno.ENOSPC, True), (errno.EDQUOT, False), (errno.EIO, False)):
            with Refusing(at, number, ever) as disk:
                problem = _refusal(lambda: saver.save(place, n + 1))  # noqa: B023 called at once
            if not disk.reached:
                break
            assert isinstance(problem, StorageError) and problem.exit_code == 6 and os.strerror(number) in str(problem), (at, problem)
            found = saver.read(place)
            assert found in (n, n + 1) and not [p for p in place.rglob("*") if p.name.endswith(".tmp")], at
            n, calls = found + 1, calls + 1
            saver.save(place, n)
        else:
            continue
        break
    assert calls > 20
    tried(calls)


def _refusal(work) -> Exception | None:
    try:
        work()
    except Exception as problem:
        return problem
    return None


@pytest.mark.faults
@pytest.mark.row("E4", "files may not grow beyond a limit (RLIMIT_FSIZE), from 0 bytes to what is needed")
@both
def test_a_limit_on_file_size(subject, tmp_path, tried):
    """StorageError, exit code 6, until the limit is large enough; the old one is whole and no temporary file stays."""
    saver, place = SAVERS[subject](), tmp_path / "place"
    saver.save(place, 0)
    largest = max(p.stat().st_size for p in place.rglob("*"))
    limits = [*range(0, largest, largest // 12), largest - 1]
    for limit in limits:
        assert ended(forked(lambda: _save_limited(saver, place, limit))) == 6, limit  # noqa: B023
        assert saver.read(place) == 0 and not [p for p in place.rglob("*") if p.name.endswith(".tmp")], limit
    assert ended(forked(lambda: _save_limited(saver, place, 2 * largest))) == 0 and saver.read(place) == 1
    tried(len(limits) + 1)


def _save_limited(saver, place: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))  # Python ignores SIGXFSZ: writes fail with EFBIG
    try:
        saver.save(place, 1)
    except StorageError as problem:
        os._exit(problem.exit_code)


@pytest.mark.faults
@pytest.mark.row("E10", "old generations are deleted by another process while this one reads, only the newest kept")
def test_a_reader_beside_a_process_that_saves_and_deletes(tmp_path, tried):
    """Every read gives a whole generation, never an older one than the read before."""
    saver = GenerationSaver(keep=1)
    saver.save(tmp_path, 0)
    child = forked(lambda: [saver.save(tmp_path, n) for n in range(1, 300)])
    until, seen = time.monotonic() + 20, [0]
    while time.monotonic() < until and os.waitpid(child, os.WNOHANG) == (0, 0):
        found = saver_n(tmp_path)
        assert found >= seen[-1]
        seen.append(found)
    else:
        if time.monotonic() >= until:
            os.kill(child, 9)
            ended(child)
    assert len(set(seen)) > 10
    tried(len(seen))


def saver_n(folder: Path) -> int:
    from inarch.training.generations import Generations

    return Generations(folder, keep=1).load().state["run"]["updates"]


@pytest.mark.row("E10", "a folder being deleted stops half-way")
def test_half_deleted_generations_are_not_read(tmp_path, tried):
    """A generation leaves its name before its files go, so that what is half deleted is no generation; the next save removes it."""
    saver = GenerationSaver()
    for n in range(2):
        saver.save(tmp_path, n)
    for lost in ("manifest.json", "trained.safetensors", "state.json"):
        gone = tmp_path / "gen-000000.old.tmp"
        shutil.copytree(next(tmp_path.glob("gen-*")), gone)
        (gone / lost).unlink()
        assert saver.read(tmp_path) == 1
        saver.save(tmp_path, 1)
        assert not gone.exists()
    tried(3)
