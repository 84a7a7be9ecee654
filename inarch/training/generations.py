"""Training checkpoints as generations: a folder is whole, or it is not there.

    gen-000007.tmp/   every file written and synced
    manifest.json     size and SHA-256 of each, written last
    gen-000007/       the folder renamed; then LATEST is replaced
A reader takes the newest generation whose every byte agrees with its manifest. Numbers count up, no clock is asked.
Tensors are safetensors, everything else strict JSON; no pickle is read or written.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from inarch import files, folders
from inarch.errors import CheckpointError, Corrupt, Mismatch, StorageError

FORMAT = 1
MANIFEST, STATE, LATEST = "manifest.json", "state.json", "LATEST"
_NAME = re.compile(r"gen-(\d{6,})")
_TENSORS = ".safetensors"


@dataclass(frozen=True)
class Generation:
    """What one checkpoint holds: named groups of tensors, and a JSON state. ``notes`` tell which newer ones were unusable."""

    number: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    notes: tuple[str, ...] = ()


class Generations:
    """The checkpoints of one run under ``folder``; the newest ``keep`` stay."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = Path(folder), keep

    def numbers(self) -> list[int]:
        """Complete generations, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(m[1]) for path in self.folder.iterdir() if (m := _NAME.fullmatch(path.name)) and path.is_dir())

    def path(self, number: int) -> Path:
        return self.folder / f"gen-{number:06d}"

    def save(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> Path:
        """Write the next generation; ``StorageError`` when the disk refuses, and then those that were there are untouched."""
        with _storage(self.folder):
            folders.make_folder(self.folder)
            self._sweep()
        number = max(self.numbers(), default=0) + 1
        final = self.path(number)
        draft = final.with_name(final.name + ".tmp")
        try:
            with _storage(draft):
                draft.mkdir()
                self._fill(draft, tensors, state)
                os.rename(draft, final)
                files.sync_folder(self.folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        files.write(self.folder / LATEST, f"{final.name}\n".encode())
        self._retire()
        return final

    def _fill(self, draft: Path, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        contents = {name + _TENSORS: files.tensor_bytes(_plain(group)) for name, group in tensors.items() if group}
        contents[STATE] = files.canonical(state)
        for name, data in contents.items():
            files.write(draft / name, data)
        files.write(draft / MANIFEST, _manifest(contents))

    def load(self) -> Generation | None:
        """The newest generation that verifies, or None when there is none; ``Corrupt`` when there are some and none verifies."""
        numbers, notes = self.numbers(), []
        for number in reversed(numbers):
            try:
                tensors, state = self._read(self.path(number))
            except (CheckpointError, StorageError, OSError) as problem:  # OSError: it is being deleted just now
                notes.append(f"{self.path(number).name} cannot be used: {problem}")
                continue
            return Generation(number, tensors, state, tuple(notes))
        if numbers != self.numbers():  # a run that goes on has meanwhile made newer ones and deleted these
            return self.load()
        if numbers:
            raise Corrupt(f"{self.folder}: none of {len(numbers)} checkpoints is whole ({'; '.join(notes)}); "
                          "train again with another --out")
        return None

    def _read(self, folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        manifest = files.read(folder / MANIFEST, cap=files.HEADER_CAP, sole=True)
        contents = {name: _verified(folder / name, entry) for name, entry in _listed(manifest, folder).items()}
        if _manifest(contents) != manifest:
            raise Corrupt(f"{folder / MANIFEST}: not as it was written, though what it lists is; it was changed by hand")
        state = files.parse_json(contents.pop(STATE), folder / STATE)
        return {name.removesuffix(_TENSORS): files.tensors(data, folder / name) for name, data in contents.items()}, state

    def _sweep(self) -> None:
        """Remove what a killed process left half-written or half-deleted; the run's lock says that nobody else is at it."""
        for path in self.folder.glob("gen-*.tmp"):
            shutil.rmtree(path, ignore_errors=True)
        folders.sweep(self.folder, LATEST)

    def _retire(self) -> None:
        """Delete all but the newest ``keep``; each leaves its name first, so that no reader finds half a generation."""
        for number in self.numbers()[: -self.keep]:
            gone = self.path(number).with_suffix(".old.tmp")
            with _storage(gone):
                os.rename(self.path(number), gone)
            shutil.rmtree(gone, ignore_errors=True)

    def clear(self) -> None:
        """Remove all of them: the run is finished, its adapter saved."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _plain(group: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in group.items()}


def _manifest(contents: dict[str, bytes]) -> bytes:
    """The one manifest that these files can have: a reader may compare the bytes."""
    listed = {name: {"bytes": len(data), "sha256": files.sha256(data)} for name, data in contents.items()}
    return files.canonical({"format": FORMAT, "files": listed})


def _listed(manifest: bytes, folder: Path) -> dict[str, Any]:
    """What the manifest says of each file: every file of tensors in the folder is listed, and nothing outside it is."""
    path = folder / MANIFEST
    fields = files.parse_json(manifest, path)
    if isinstance(fields.get("format"), int) and fields["format"] > FORMAT:
        raise Mismatch(f"{path}: format {fields['format']} is newer than this inarch reads ({FORMAT}); upgrade inarch")
    listed = fields.get("files")
    if fields.keys() != {"format", "files"} or not isinstance(listed, dict) or STATE not in listed:
        raise Corrupt(f"{path}: expected the keys format and files, with {STATE} among them")
    odd = [name for name in listed if Path(name).name != name or not (name == STATE or name.endswith(_TENSORS))]
    if odd:
        raise Corrupt(f"{path}: lists {odd[0]!r}; expected {STATE} and names ending in {_TENSORS}")
    if strange := sorted(p.name for p in folder.glob(f"*{_TENSORS}") if p.name not in listed):
        raise Corrupt(f"{path}: does not list {strange[0]}, which is there; it was changed, or the file is of another generation")
    return listed


def _verified(path: Path, entry: Any) -> bytes:
    data = files.read(path, sole=True)
    if entry != {"bytes": len(data), "sha256": files.sha256(data)}:
        raise Corrupt(f"{path}: its {len(data)} bytes are not those its manifest names; the file is cut, damaged "
                      "or of another generation")
    return data


@contextmanager
def _storage(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise StorageError(f"{place}: {problem.strerror}; free some space; the checkpoints that were there are whole") from None


__all__ = ["Generation", "Generations"]
