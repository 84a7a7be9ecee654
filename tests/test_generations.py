"""Checkpoints: whole or not there, under damage; kills, power loss and refusing disks are in faults/test_e_saves.py."""

import json
import os
import shutil
import time

import pytest
import torch

from inarch import files
from inarch.errors import Corrupt
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
    "of two names": lambda f: (f.parent / "copy").hardlink_to(f / "trained.safetensors"),
    "manifest of two names": lambda f: (f.parent / "copy").hardlink_to(f / "manifest.json"),
    "weights gone": lambda f: (f / "trained.safetensors").unlink(),
    "state gone": lambda f: (f / "state.json").unlink(),
    "state edited": lambda f: (f / "state.json").write_text('{"run": {"updates": 9}}'),
    "manifest gone": lambda f: (f / "manifest.json").unlink(),
    "manifest empty": lambda f: (f / "manifest.json").write_text(""),
    "manifest newer": lambda f: (f / "manifest.json").write_text('{"format": 2, "files": {}}'),
    "pickle": lambda f: (f / "trained.safetensors").write_bytes(PICKLE),
    "folder empty": lambda f: (shutil.rmtree(f), f.mkdir()),
}


@pytest.mark.row("E9", "one file of the newest generation is cut, flipped, swapped, linked, gone, edited, newer or a pickle")
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_newest_generation_falls_back_and_says_so(tmp_path, name):
    """The one before is read and a note says which was passed over and why; the next save gets a number of its own."""
    generations = filled(tmp_path)
    DAMAGE[name](tmp_path / "gen-000002")
    found = generations.load()
    assert same(found, 1) and found.number == 1
    assert len(found.notes) == 1 and "gen-000002 cannot be used" in found.notes[0]
    generations.save(*content(3))  # a new one gets a number of its own
    assert generations.load().number == 3


@pytest.mark.row("E9", "all generations are damaged")
def test_all_damaged_is_corrupt(tmp_path):
    """Corrupt (exit code 4), which says of each what is wrong."""
    generations = filled(tmp_path)
    for n in (1, 2):
        _flip(tmp_path / f"gen-00000{n}")
    with pytest.raises(Corrupt, match="none of 2 checkpoints is whole"):
        generations.load()


def test_leftovers_of_a_killed_process_are_swept(tmp_path):
    generations = filled(tmp_path)
    (tmp_path / "gen-000003.tmp").mkdir()
    (tmp_path / "gen-000000.old.tmp").mkdir()
    (tmp_path / ".LATEST.0123abcd.tmp").write_text("gen-0")
    assert generations.load().number == 2
    generations.save(*content(3))
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.row("E10", "retention deletes an old generation while another process lists them")
def test_a_reader_gets_a_whole_generation_while_old_ones_go(tmp_path, monkeypatch):
    """Retention renames before it deletes: a listing made in between never names half a generation."""
    generations = filled(tmp_path, 2)
    seen = []
    real = shutil.rmtree

    def watching(path, *args, **kwargs):
        seen.append(Generations(tmp_path).load().number)
        assert Generations(tmp_path).numbers() == [2, 3]  # the one that goes is no generation any more
        real(path, *args, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", watching)
    generations.save(*content(3))
    assert seen == [3]


@pytest.mark.row("E11", "the clock jumps back between saves")
def test_numbers_count_up_whatever_the_clock_says(tmp_path, monkeypatch):
    """The order is that of the saves: generations are numbered, no time is asked, of a clock or of a file."""
    generations = filled(tmp_path, 2)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    os.utime(tmp_path / "gen-000001", (2e9, 2e9))  # the older folder looks newer
    assert same(generations.load(), 2)
    assert generations.save(*content(3)).name == "gen-000003"
    os.utime(tmp_path / "gen-000003", (1e9, 1e9))
    assert same(generations.load(), 3) and generations.numbers() == [2, 3]


def test_no_pickle_is_written(tmp_path):
    filled(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            files.header(path.read_bytes(), path) if path.suffix == ".safetensors" else path.read_text()
