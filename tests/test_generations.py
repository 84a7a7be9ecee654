"""Checkpoints: whole or not there, under damage, a full disk, and a kill at every call that touches the disk."""

import builtins
import json
import os
import shutil

import pytest
import torch

from inarch import files
from inarch.errors import Corrupt, StorageError
from inarch.training.generations import Generations

PICKLE = b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94."


def content(n: int) -> tuple[dict, dict]:
    return {"trained": {"a": torch.full((3, 2), float(n)), "b": torch.arange(n, n + 4)}, "best": {}}, {"run": {"updates": n}}


def filled(folder, count: int = 2) -> Generations:
    generations = Generations(folder, keep=2)
    for n in range(1, count + 1):
        generations.save(*content(n))
    return generations


def same(found, n: int) -> bool:
    tensors, state = content(n)
    return found.state == state and all(torch.equal(found.tensors["trained"][k], v) for k, v in tensors["trained"].items())


def test_the_newest_is_read_and_the_newest_two_are_kept(tmp_path):
    generations = filled(tmp_path, 4)
    assert same(generations.load(), 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["LATEST", "gen-000003", "gen-000004"]
    assert (tmp_path / "LATEST").read_text() == "gen-000004\n"


def test_nothing_there_is_no_error(tmp_path):
    assert Generations(tmp_path / "absent").load() is None


def _swap(folder):
    shutil.copy(folder.parent / "gen-000001" / "trained.safetensors", folder / "trained.safetensors")


def _flip(folder):
    data = bytearray((folder / "trained.safetensors").read_bytes())
    data[-3] ^= 4
    (folder / "trained.safetensors").write_bytes(bytes(data))


def _cut(folder):
    (folder / "trained.safetensors").write_bytes((folder / "trained.safetensors").read_bytes()[:-1])


def _traverse(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../gen-000001/trained.safetensors"] = manifest["files"].pop("trained.safetensors")
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _link(folder):
    shutil.move(folder / "trained.safetensors", folder.parent / "elsewhere")
    (folder / "trained.safetensors").symlink_to(folder.parent / "elsewhere")


DAMAGE = {
    "cut": _cut, "flipped": _flip, "of another generation": _swap, "path outside": _traverse, "linked": _link,
    "weights gone": lambda f: (f / "trained.safetensors").unlink(),
    "state gone": lambda f: (f / "state.json").unlink(),
    "state edited": lambda f: (f / "state.json").write_text('{"run": {"updates": 9}}'),
    "manifest gone": lambda f: (f / "manifest.json").unlink(),
    "manifest empty": lambda f: (f / "manifest.json").write_text(""),
    "manifest newer": lambda f: (f / "manifest.json").write_text('{"format": 2, "files": {}}'),
    "pickle": lambda f: (f / "trained.safetensors").write_bytes(PICKLE),
    "folder empty": lambda f: (shutil.rmtree(f), f.mkdir()),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_newest_generation_falls_back_and_says_so(tmp_path, name):
    generations = filled(tmp_path)
    DAMAGE[name](tmp_path / "gen-000002")
    found = generations.load()
    assert same(found, 1) and found.number == 1
    assert len(found.notes) == 1 and "gen-000002 cannot be used" in found.notes[0]
    generations.save(*content(3))  # a new one gets a number of its own
    assert generations.load().number == 3


def test_all_damaged_is_corrupt(tmp_path):
    generations = filled(tmp_path)
    for n in (1, 2):
        _flip(tmp_path / f"gen-00000{n}")
    with pytest.raises(Corrupt, match="none of 2 checkpoints is whole"):
        generations.load()


@pytest.mark.parametrize("call", range(1, 10))
def test_a_disk_that_refuses_leaves_the_old_ones_whole(tmp_path, monkeypatch, call):
    generations = filled(tmp_path, 1)
    calls = iter(range(1, 1000))
    real = os.fsync

    def refusing(descriptor: int) -> None:
        if next(calls) == call:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    with pytest.raises(StorageError, match="No space left"):
        generations.save(*content(2))
    monkeypatch.undo()
    assert not list(tmp_path.glob("*.tmp"))
    found = Generations(tmp_path).load()
    assert same(found, found.number)  # the second where only the pointer failed, else the first
    Generations(tmp_path).save(*content(found.number + 1))
    assert same(Generations(tmp_path).load(), found.number + 1)


@pytest.mark.long
def test_killed_at_every_call_that_touches_the_disk(tmp_path):
    """A forked child saves generation 3 and dies at its n-th call; the parent must read 2 or 3, whole, and be able to save."""
    survived = 0
    for n in range(1, 200):
        folder = tmp_path / str(n)
        filled(folder, 2)
        child = os.fork()
        if child == 0:
            _die_at(n)
            Generations(folder, keep=2).save(*content(3))
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found = Generations(folder).load()
        assert found.number in (2, 3) and same(found, found.number) and not found.notes, n
        assert Generations(folder).save(*content(7)).name in ("gen-000003", "gen-000004")
        assert same(Generations(folder).load(), 7)
        shutil.rmtree(folder)
        if ended == 0:
            break
        survived += 1
    else:
        pytest.fail("the child never came to its end")
    assert survived > 20


def _die_at(n: int) -> None:
    """Leave the process, unsaved, at the n-th call of anything that changes the disk."""
    left = [n]

    def counted(real):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
            return real(*args, **kwargs)
        return call

    for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "open"):
        setattr(os, name, counted(getattr(os, name)))
    builtins.open = counted(builtins.open)


def test_leftovers_of_a_killed_process_are_swept(tmp_path):
    generations = filled(tmp_path)
    (tmp_path / "gen-000003.tmp").mkdir()
    (tmp_path / "gen-000000.old.tmp").mkdir()
    assert generations.load().number == 2
    generations.save(*content(3))
    assert not list(tmp_path.glob("*.tmp"))


def test_a_reader_gets_a_whole_generation_while_old_ones_go(tmp_path, monkeypatch):
    """Retention renames before it deletes: a listing made in between never names half a generation."""
    generations = filled(tmp_path, 2)
    seen = []
    real = shutil.rmtree

    def watching(path, *args, **kwargs):
        seen.append(Generations(tmp_path).load().number)
        real(path, *args, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", watching)
    generations.save(*content(3))
    assert seen == [3]


def test_numbers_count_up_whatever_the_clock_says(tmp_path, monkeypatch):
    import time

    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert [p.name for p in (filled(tmp_path, 1).save(*content(2)),)] == ["gen-000002"]


def test_no_pickle_is_written(tmp_path):
    filled(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            files.header(path.read_bytes(), path) if path.suffix == ".safetensors" else path.read_text()
