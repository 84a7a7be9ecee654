"""A disk that dies, refuses or forgets: what a save does to it, call by call.

    with Dying(n): ...             the process ends at its n-th call, as by SIGKILL between two system calls
    with Refusing(n, EIO): ...     the n-th call that writes fails, and with ``ever`` all that follow
    with Recording(root) as log    every call noted; ``log.states()``: the folders that a power loss may leave
The calls: open, write (in halves, so that one may be all that arrives), fsync, rename, replace, mkdir, unlink, rmdir.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path
from typing import Any

CALLS = ("open", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir")
WRITING = ("create", "write", "fsync", "rename", "replace", "mkdir")  # what a full disk may refuse; it still deletes
DIED = 9


class Disk:
    """While it is entered, every call that may change the disk passes ``before``, and ``after`` when it is done."""

    def before(self, call: str, path: str) -> None:
        """May raise, or end the process."""

    def after(self, call: str, path: str, *rest: Any) -> None:
        """``rest``: the new path of a rename, the bytes of a write."""

    def __enter__(self) -> Disk:
        self.real, self.real_open = {name: getattr(os, name) for name in CALLS}, builtins.open
        for name in CALLS:
            setattr(os, name, self._watched(name))
        builtins.open = self._file  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        builtins.open = self.real_open
        for name, real in self.real.items():
            setattr(os, name, real)

    def _watched(self, name: str) -> Callable[..., Any]:
        real = self.real[name]

        def call(target: Any, *rest: Any, **options: Any) -> Any:
            path = _place(target, options.get("dir_fd"))
            self.before(name, path)
            found = real(target, *rest, **options)
            self.after(name, path, *(map(os.fspath, rest[:1]) if name in ("rename", "replace") else ()))
            return found

        return call

    def _file(self, path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if not set(mode) & set("xwa+"):
            return self.real_open(path, mode, *rest, **options)
        self.before("create", str(path))
        file = self.real_open(path, mode, *rest, **options)
        self.after("create", str(path))
        return Halves(self, file, str(path))


class Halves:
    """A file being written, whose every write reaches the disk in two."""

    def __init__(self, disk: Disk, file: Any, path: str) -> None:
        self.disk, self.file, self.path = disk, file, path

    def write(self, data: bytes) -> int:
        half = len(data) // 2
        for piece in (data[:half], data[half:]):
            self.disk.before("write", self.path)
            self.file.write(piece)
            self.file.flush()
            self.disk.after("write", self.path, piece)
        return len(data)

    def __enter__(self) -> Halves:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _place(target: Any, folder: int | None) -> str:
    if isinstance(target, int):
        return os.readlink(f"/proc/self/fd/{target}")
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), target) if folder is not None else os.fspath(target)


class Dying(Disk):
    """Ends the process, unsaved, before its n-th call."""

    def __init__(self, at: int) -> None:
        self.left = at

    def before(self, call: str, path: str) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(DIED)


class Refusing(Disk):
    """Fails the n-th call that writes, and with ``ever`` all after it; ``reached`` says whether there were so many."""

    def __init__(self, at: int, number: int, ever: bool = False) -> None:
        self.at, self.number, self.ever, self.made = at, number, ever, 0

    @property
    def reached(self) -> bool:
        return self.made >= self.at

    def before(self, call: str, path: str) -> None:
        if call not in WRITING:
            return
        self.made += 1
        if self.made == self.at or (self.ever and self.reached):
            raise OSError(self.number, os.strerror(self.number), path)


# power loss

@dataclass
class Inode:
    """A file (``data``) or a folder (``names``): as the running system sees it, and as it is surely on the disk."""

    folder: bool
    data: bytes = b""
    names: dict[str, int] = field(default_factory=dict)
    kept_data: bytes = b""
    kept_names: dict[str, int] = field(default_factory=dict)
    pending: list[dict[str, int | None]] = field(default_factory=list)  # changes of names since the last fsync, each atomic

    def change(self, names: dict[str, int | None]) -> None:
        self.pending.append(names)
        apply(self.names, names)

    def sync(self) -> None:
        self.kept_data, self.kept_names, self.pending = self.data, dict(self.names), []


def apply(names: dict[str, int], change: dict[str, int | None]) -> None:
    for name, number in change.items():
        if number is None:
            names.pop(name, None)
        else:
            names[name] = number


State = dict[str, bytes | None]  # path below the root -> bytes, None for a folder


class Recording(Disk):
    """Follows everything done below ``root``, whose present content is on the disk for sure.

    A power loss after any call leaves: of a file's bytes since its last fsync all, none, a half, or as many zeros; of the names
    changed in folders since their last fsync any subset (more than any one file system loses).
    """

    def __init__(self, root: Path) -> None:
        self.root, self.inodes = str(root), [Inode(folder=True)]
        self._adopt(0, root)
        self.found: dict[tuple, State] = {}
        self.calls = 0

    def _adopt(self, number: int, folder: Path) -> None:
        for path in folder.iterdir():
            child = self._new(self.inodes[number], path.name, path.is_dir())
            if path.is_dir():
                self._adopt(child, path)
            else:
                self.inodes[child].data = path.read_bytes()
                self.inodes[child].sync()
        self.inodes[number].sync()

    def _new(self, parent: Inode, name: str, folder: bool) -> int:
        self.inodes.append(Inode(folder))
        parent.change({name: len(self.inodes) - 1})
        return len(self.inodes) - 1

    def _inode(self, path: str) -> Inode:
        number = 0
        for name in Path(os.path.relpath(path, self.root)).parts:
            number = self.inodes[number].names[name]
        return self.inodes[number]

    def after(self, call: str, path: str, *rest: Any) -> None:
        if call == "open" or not f"{os.path.abspath(path)}/".startswith(f"{self.root}/"):
            return
        self.calls += 1
        if call == "write":
            self._inode(path).data += rest[0]
        elif call == "fsync":
            self._inode(path).sync()
        else:
            self._named(call, path, *rest)
        for state in self.states():
            self.found.setdefault(tuple(sorted(state.items(), key=lambda item: item[0])), state)

    def _named(self, call: str, path: str, target: str = "") -> None:
        parent, name = self._inode(os.path.dirname(path)), os.path.basename(path)
        if call in ("create", "mkdir"):
            self._new(parent, name, call == "mkdir")
        elif call in ("rename", "replace"):
            assert os.path.dirname(target) == os.path.dirname(path)  # within one folder, or it would not be atomic
            parent.change({name: None, os.path.basename(target): parent.names[name]})
        else:
            parent.change({name: None})

    def states(self) -> Iterator[State]:
        """What the disk may hold if the power went now."""
        changes = [(number, change) for number, inode in enumerate(self.inodes) for change in inode.pending]
        torn = [number for number, inode in enumerate(self.inodes) if inode.data != inode.kept_data]
        for chosen in _subsets(changes):
            names = {number: dict(inode.kept_names) for number, inode in enumerate(self.inodes)}
            for number, change in chosen:
                apply(names[number], change)
            for contents in product(*(_torn(self.inodes[number]) for number in torn)):
                yield self._tree(names, dict(zip(torn, contents, strict=True)))

    def _tree(self, names: dict[int, dict[str, int]], torn: dict[int, bytes], number: int = 0, prefix: str = "") -> State:
        state: State = {}
        for name, child in names[number].items():
            if self.inodes[child].folder:
                state[prefix + name] = None
                state |= self._tree(names, torn, child, f"{prefix}{name}/")
            else:
                state[prefix + name] = torn.get(child, self.inodes[child].kept_data)
        return state


def _subsets(changes: list[Any]) -> Iterator[tuple[Any, ...]]:
    """All of them while they are few; else every prefix, and everything but one."""
    if len(changes) <= 6:
        for size in range(len(changes) + 1):
            yield from combinations(changes, size)
        return
    yield from (tuple(changes[:k]) for k in range(len(changes) + 1))
    yield from (tuple(changes[:k] + changes[k + 1:]) for k in range(len(changes)))


def _torn(inode: Inode) -> list[bytes]:
    new = inode.data[len(inode.kept_data):]
    return [inode.kept_data + piece for piece in (b"", new[: len(new) // 2], bytes(len(new)), new)]


def put(state: State, folder: Path) -> None:
    """Make a folder as a power loss left it."""
    folder.mkdir(parents=True)
    for name in sorted(state):
        data = state[name]
        if data is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(data)
