"""Reading weights that others wrote: safetensors only, checked before anything is built from them.

A pickle is refused by its first bytes whatever its name says; a damaged header is ``Corrupt``; a value that is not finite is
``Corrupt`` once the model holds it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from inarch import files
from inarch.errors import Corrupt, Incomplete, StorageError, Unsafe

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_TRUNK_LEAVES = ("weight", "bias")


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a safetensors file, from its header alone."""
    _refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no __iter__)
    except SafetensorError as error:
        raise Corrupt(f"{path}: not a whole safetensors file ({error}); fetch or copy it again") from error


def _refuse_pickle(path: Path) -> None:
    """By its name or its first bytes; a file of the hub's cache is a link, and is followed."""
    try:
        head = files.read_start(path.resolve())
    except Incomplete:
        head = b""
    if path.suffix in _PICKLES:
        raise Unsafe(f"{path}: a pickle, which can run code when read; convert it to .safetensors where you trust it")
    if not head:
        raise Corrupt(f"{path}: expected a safetensors file, found an empty file or none; fetch or copy it again")
    files.refuse_pickle(head, path)


def in_folder(folder: Path, names: Iterable[str]) -> list[Path]:
    """The safetensors files of a model folder: the first of ``names`` that is there, or every shard its index lists."""
    for name in names:
        path = folder / name
        if path.is_file() and path.name.endswith(".index.json"):
            listed = read_json(path).get("weight_map")
            if not isinstance(listed, dict) or not all(isinstance(shard, str) for shard in listed.values()):
                raise Corrupt(f"{path}: expected weight_map, an object of file names; fetch or copy the folder again")
            return [_present(folder, shard) for shard in sorted(set(listed.values()))]
        if path.is_file():
            return [path]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise Unsafe(f"{folder}: only pickled weights ({', '.join(pickles)}), which can run code when read; "
                     "convert them to model.safetensors where you trust them")
    raise Incomplete(f"{folder}: no weights; expected {' or '.join(names)}")


def _present(folder: Path, name: str) -> Path:
    if "/" in name or files.outside(name):
        raise Unsafe(f"{folder}: the index names {name[:60]!r}, which could lie outside the folder")
    if not (folder / name).is_file():
        raise Incomplete(f"{folder}: {name} is listed in the index but is not there; fetch or copy the folder again")
    return folder / name


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object, strictly; a file of the hub's cache is a link, and is followed."""
    try:
        return files.parse_json(path.read_bytes(), path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error


def sha256(paths: Iterable[Path]) -> str:
    """Of the file; of the joined digests where the weights come in shards."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def licence(folder: Path) -> str | None:
    """What the model card beside the weights says, if there is one."""
    card = folder / "README.md"
    found = re.search(r"(?m)^license:\s*(\S+)", card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    return found[1].strip("'\"") if found else None


def refuse_nonfinite(model: nn.Module, where: object) -> None:
    """Every tensor the model now holds must be a number; one pass."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            raise Corrupt(f"{where}: tensor {name} has {count} values that are not finite; fetch or copy the weights again")


def listed(names: Iterable[str]) -> str:
    """At most ten names, and how many there are."""
    every = sorted(names)
    return ", ".join(every[:10]) + (f", ... ({len(every)} in all)" if len(every) > 10 else "")


def strangers(extra: Iterable[str], known: Iterable[str]) -> list[str]:
    """Those unused tensors that the model's own layers should have used: a layer it lacks, a bias it lacks.

    Other towers, old heads and poolers are no strangers: a classifier rightly leaves them out.
    """
    known = list(known)
    roles = {_role(name) for name in known}
    owners = {name.rpartition(".")[0] for name in known if name.rpartition(".")[2] in _TRUNK_LEAVES}
    return sorted(name for name in extra if _role(name) in roles or _sibling(name, owners))


def _role(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _sibling(name: str, owners: set[str]) -> bool:
    owner, _, leaf = name.rpartition(".")
    return owner in owners and leaf in _TRUNK_LEAVES
