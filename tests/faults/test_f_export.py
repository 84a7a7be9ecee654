"""An export that is killed, or has no room: what was there before is there after, whole, under its own name."""

from __future__ import annotations

import io
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from disk import DIED, Dying, Refusing
from test_export import _timm

from inarch.backbones.backbone import Backbone
from inarch.cli import known
from inarch.export import export_native

Files = dict[str, bytes]


class Exports:
    """An old export in a folder, and a new one that shall take its place; what either looks like when it is whole."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.old, self.new = folder, _timm(), _timm()
        with torch.no_grad():
            for parameter in self.new.model.parameters():
                parameter.add_(0.1)
        self.before, self.after = (content(self.write(one, folder / name)) for one, name in ((self.old, "before"), (self.new, "after")))

    @staticmethod
    def write(backbone: Backbone, out: Path) -> Path:
        return export_native(backbone.model, out, backbone, classes=("ant", "bee", "cat"), overwrite=True)

    def attempt(self, name: str, during: Callable[[], object]) -> tuple[int, Files, list[str]]:
        """The old export, the new one over it in a forked process inside ``during``; how that ended and what is there then."""
        place = self.folder / name
        place.mkdir()
        self.write(self.old, place / "out")
        child = os.fork()
        if child == 0:
            os._exit(self._ending(place / "out", during))
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return ended, content(place / "out"), sorted(path.name for path in place.iterdir())

    def _ending(self, out: Path, during: Callable[[], object]) -> int:
        torch.set_num_threads(1)  # a fork has none of its parent's
        try:
            during()
            self.write(self.new, out)
        except BaseException as problem:
            error = known(problem)
            return error.exit_code if error else 1
        return 0


def content(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def exports(tmp_path_factory) -> Exports:
    return Exports(tmp_path_factory.mktemp("exports"))


def entered(disk: Dying | Refusing) -> Callable[[], object]:
    """In a process that ends with it, nobody leaves; pathlib writes through ``io.open``."""
    def enter() -> None:
        disk.__enter__()
        io.open = disk._file  # type: ignore[assignment]
    return enter


@pytest.mark.faults
@pytest.mark.row("F6", "an export over another one, killed at every call that touches the disk")
def test_a_kill_at_any_call_leaves_one_whole_export(exports: Exports, tried) -> None:
    """The folder holds the old export or the new one, to the byte, whichever call was the last."""
    found = []
    for n in range(1, 300):
        ended, there, _ = exports.attempt(f"kill{n}", entered(Dying(n)))
        assert there in (exports.before, exports.after), n
        found.append(there == exports.after)
        if ended == 0:
            break
        assert ended == DIED, n
    assert ended == 0 and found[-1] and not found[0] and found == sorted(found)  # new from one call on
    assert len(found) > 20
    tried(len(found))


@pytest.mark.faults
@pytest.mark.row("F6", "an export over another one, where the disk refuses every call that writes in turn")
@pytest.mark.parametrize("number", [28, 5], ids=["ENOSPC", "EIO"])
def test_a_disk_that_refuses_any_call_leaves_the_old_export(exports: Exports, tried, number: int) -> None:
    """A StorageError, exit 6: the old export is intact and no draft is left."""
    for n in range(1, 300):
        ended, there, names = exports.attempt(f"refuse{number}-{n}", entered(Refusing(n, number)))
        if ended == 0:
            break
        assert (ended, names, there) == (6, ["out"], exports.before), n
    assert ended == 0 and there == exports.after and n > 8
    tried(n)


@pytest.mark.faults
@pytest.mark.row("F6", "an export over another one, where every file may have only so many bytes: refused, or killed in the write")
@pytest.mark.parametrize("killed", [False, True])
def test_no_room_in_any_file_leaves_the_old_export(exports: Exports, tried, killed: bool) -> None:
    """A StorageError, exit 6, or the kill: the old export is intact."""
    biggest = max(map(len, exports.before.values()))
    limits = [0, 1, 7, 200, 1000, biggest // 3, biggest - 1]

    def limited(limit: int) -> Callable[[], object]:
        def limiting() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if killed else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return limiting

    for limit in limits:
        ended, there, names = exports.attempt(f"room{limit}-{killed}", limited(limit))
        assert (ended, there) == (-signal.SIGXFSZ if killed else 6, exports.before), limit
        assert killed or names == ["out"]
    tried(len(limits))
