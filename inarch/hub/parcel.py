"""What is sent: the files of an adapter or a finished run, verified, and as the very bytes that were verified.

    adapter    adapter.json, adapter-DIGEST.safetensors
    run        the same below adapter/, recipe.toml, run.json, result.json, metrics.jsonl
Nothing else leaves: no checkpoint, no optimizer state, no prediction, no report, unless it is asked for by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inarch import files, fit
from inarch.adapter import Method
from inarch.card import CARD, read_card, sealed
from inarch.errors import ConfigError, Incomplete, nearest
from inarch.places import place

if TYPE_CHECKING:
    from inarch.evaluate import Rebuilt

PLAIN = ("recipe.toml", "run.json", "result.json", "metrics.jsonl")  # of a run, beside its adapter
README = "README.md"


@dataclass(frozen=True, eq=False)
class Parcel:
    """``files``: path in the repository -> bytes. ``adapter``: its card; ``numbers``: how many its file holds, by part.

    ``rebuilt``: the run as its model stands on its backbone, and ``result``; None for an adapter alone. ``left``: what stays here.
    """

    folder: Path
    files: Mapping[str, bytes]
    adapter: Mapping[str, Any]
    numbers: Mapping[str, int]
    left: tuple[str, ...]
    rebuilt: Rebuilt | None = None
    result: Mapping[str, Any] | None = None

    @property
    def method(self) -> Method:
        return fit.method(dict(self.adapter), self.folder)

    @property
    def weights(self) -> str:
        """Path of the tensors in the repository."""
        return ("adapter/" if self.rebuilt else "") + self.adapter["weights"]


@contextlib.contextmanager
def packed(what: str | Path, also: Sequence[str] = ()) -> Iterator[Parcel]:
    """The adapter or run folder ``what``, no other process at work in it; ``also``: names in it that would be left out.

    Raises what ``inarch.load`` and ``Predictor`` raise for a folder that is damaged, unfinished or of another backbone.
    """
    folder = place(what)
    if (folder / CARD).is_file() or not (folder / PLAIN[0]).is_file():
        yield _adapter(folder, also)
        return
    from inarch.training.lock import locked

    with locked(folder):
        yield _run(folder, also)


def _adapter(folder: Path, also: Sequence[str]) -> Parcel:
    if not folder.is_dir() or not (folder / CARD).is_file():
        raise Incomplete(f"{folder} holds neither {CARD} nor {PLAIN[0]}; expected an adapter folder, or a run of inarch train")
    found, card, numbers = _tensors(folder)
    more, left = _others(folder, found, also)
    return Parcel(folder, found | more, card, numbers, left)


def _run(folder: Path, also: Sequence[str]) -> Parcel:
    from inarch.evaluate import rebuild
    from inarch.run import Run

    run = Run(folder)
    result = run.result()
    inner, card, numbers = _tensors(run.adapter)
    found = {name: files.read(folder / name) for name in PLAIN if (folder / name).is_file()}
    found |= {f"adapter/{name}": data for name, data in inner.items()}
    rebuilt = rebuild(folder)
    more, left = _others(folder, found, also)
    return Parcel(folder, found | more, card, numbers, left, rebuilt, result)


def _tensors(folder: Path) -> tuple[dict[str, bytes], dict[str, Any], dict[str, int]]:
    """Both files of an adapter as bytes, verified as far as that goes without a backbone; its card, and the numbers it holds."""
    card = read_card(folder)
    path = folder / card["weights"]
    data = files.read_sealed(path, size=card["bytes"], digest=card["sha256"])
    numbers = {"adapter": 0, "base": 0, "head": 0}
    for name, tensor in files.tensors(data, path).items():
        part = name.partition("/")[0]
        numbers[part if part in ("base", "head") else "adapter"] += tensor.numel()
    return {CARD: sealed(card), path.name: data}, card, numbers


def _others(folder: Path, taken: Mapping[str, bytes], also: Sequence[str]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files that are asked for beside, and the names that stay; a name that starts with a dot is nobody's business."""
    tops = {name.partition("/")[0] for name in taken}
    there = sorted(path.name for path in folder.iterdir() if path.name not in {*tops, README} and not path.name.startswith("."))
    for name in also:
        if name not in there:
            raise ConfigError(f"also={name!r} is not among what would be left out of {folder}: "
                              f"{nearest(name, there) if there else 'nothing is'}")
    more = {path.relative_to(folder).as_posix(): files.read(path) for name in also for path in _below(folder / name)}
    return more, tuple(name for name in there if name not in also)


def _below(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if not p.is_dir()) if path.is_dir() and not path.is_symlink() else [path]


__all__ = ["Parcel", "README", "packed"]
