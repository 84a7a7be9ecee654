"""Names that lead out of a folder, pickles for every loader, archives that would fill the memory."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from adapter_files import adapter, fresh, memory, refuses, reseal
from nursery import Nursery

import inarch
from inarch import ARC, backbones, files
from inarch.errors import CheckpointError, ConfigError, DataError, Unsafe
from inarch.features.opening import open_store
from inarch.training.generations import Generations

OUT = ["../secret", "../../secret", "a/../../secret", "./../secret", "..", ".", "", "/", "//", "/etc/passwd", "/proc/self/environ",
       "/dev/zero", "/dev/stdin",
       "~/secret", "~root/.bashrc", "$HOME/secret", "${HOME}/x", "C:\\secret", "C:/secret", "c:secret", "\\\\host\\share",
       "..\\secret", "a\\..\\..\\secret", "secret\0", "\0", "../secret\0.safetensors", "%2e%2e/secret", "%2e%2e%2fsecret", "..%2fsecret",
       "%252e%252e/secret", "..\n", "\n../secret", "secret\r", "\x1b[2Jx", "a//../../secret", "a/./../../secret", "a/..", "/../secret",
       ".../../secret", "file:///etc/passwd", "\x7f", "sub/../../secret"]
WATCHED: list[list[str]] = []


def _hook(event: str, args: tuple) -> None:
    if event == "open" and WATCHED and isinstance(args[0], str | bytes):
        WATCHED[-1].append(os.fsdecode(args[0]))


sys.addaudithook(_hook)


@contextmanager
def nothing_outside(root: Path) -> Iterator[None]:
    """Every file that is opened lies in ``root``, and what lies around it is as it was."""
    around = root.parent
    before = tree(around)
    WATCHED.append([])
    yield
    opened = [path for path in WATCHED.pop() if not path.endswith((".py", ".pyc")) and "site-packages" not in path]
    assert [path for path in opened if not Path(os.path.realpath(path)).is_relative_to(root)] == []
    assert tree(around) == before


def tree(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in sorted(folder.rglob("*"))}


@pytest.fixture
def root(tmp_path) -> Path:
    """``tmp/root`` with an adapter; what must not be touched lies beside it."""
    (tmp_path / "secret").write_text("do not read")
    (tmp_path / "secret.safetensors").write_text("do not read")
    adapter(tmp_path / "root" / "adapter")
    return tmp_path / "root"


@pytest.mark.row("A16", "names of weights in the card: .., absolute, drives, NUL, %2e, homes; every digest made right again")
def test_the_card_names_no_file_elsewhere(root, tried):
    """`Unsafe`, before anything else is opened; nothing around the folder is read or written."""
    model = fresh()
    for name in OUT:
        reseal(root / "adapter", {"weights": name})
        with nothing_outside(root):
            refuses(root / "adapter", Unsafe, "outside the folder", model)
    tried(len(OUT))


@pytest.mark.row("A16", "names of tensors: .., absolute, drives, NUL, %2e, homes; every digest made right again")
def test_a_tensor_s_name_is_no_path(root, tried):
    """`Unsafe`; nothing around the folder is read or written."""
    model = fresh()
    for name in OUT:
        header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        reseal(root / "adapter", data=struct.pack("<Q", len(header)) + header + b"\0" * 4)
        with nothing_outside(root):
            refuses(root / "adapter", Unsafe, "looks like a path", model)
    tried(len(OUT))


@pytest.mark.row("A16", "names of adapters: .., absolute, drives, NUL, %2e, homes")
def test_an_adapter_s_name_is_no_path(root, tried):
    """`ConfigError` by the one rule for names, before a file is opened: a name is never a path here."""
    model = fresh()
    for name in OUT:
        with nothing_outside(root), pytest.raises(ConfigError, match="adapter name"):
            inarch.load(model, root / "adapter", name=name)
        with nothing_outside(root), pytest.raises(ConfigError, match="adapter name"):
            inarch.graft(model, ARC(rank=4), name=name)
    tried(2 * len(OUT))


@pytest.mark.row("A16", "files in the manifest of a generation, shards in the index of a backbone: .., absolute, drives, NUL, %2e, homes")
def test_manifest_and_index_name_no_file_elsewhere(root, tried):
    """Refused as `CheckpointError`, a shard as `Unsafe`; nothing around the folder is read or written."""
    made = Generations(root / "checkpoints")
    generation = made.save({"trained": {"w": torch.ones(2)}}, {"n": 1})
    listed = json.loads((generation / "manifest.json").read_text())
    index = root / "vit" / "model.safetensors.index.json"
    Nursery(root)
    (root / "vit" / "model.safetensors").unlink()
    for name in OUT:
        entry = listed["files"]["trained.safetensors"]
        (generation / "manifest.json").write_bytes(files.canonical(listed | {"files": listed["files"] | {name: entry}}))
        with nothing_outside(root), pytest.raises(CheckpointError, match="none of 1 checkpoints is whole"):
            made.load()
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        with nothing_outside(root), pytest.raises(Unsafe, match="outside the folder"):
            backbones.load(str(root / "vit"))
    tried(2 * len(OUT))


class Canary:
    def __reduce__(self):
        return os.system, ("touch canary",)


def pickled() -> bytes:
    return pickle.dumps({"w": Canary()})


def zipped() -> bytes:
    """As ``torch.save`` and ``np.savez`` would have it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled())
        archive.writestr("archive.npy", pickled())
    return buffer.getvalue()


def hf(place: Path, data: bytes, name: str) -> object:
    (place / "vit" / "model.safetensors").unlink()
    (place / "vit" / name).write_bytes(data)
    return backbones.load(str(place / "vit"))


def sharded(place: Path, data: bytes, name: str) -> object:
    (place / "vit" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    return hf(place, data, name)


def addressed(address: str) -> Callable:
    def load(place: Path, data: bytes, name: str) -> object:
        (place / name).write_bytes(data)
        return backbones.load(address.format(place / name), classes=2)
    return load


def stored(place: Path, data: bytes, name: str) -> object:
    (place / name).write_bytes(data)
    return open_store(place / name if name.endswith(".h5") else place).ids


def checkpointed(place: Path, data: bytes, name: str) -> object:
    made = Generations(place / "checkpoints")
    generation = made.save({"trained": {"w": torch.ones(2)}}, {"n": 1})
    (generation / name).write_bytes(data)
    listed = json.loads((generation / "manifest.json").read_text())
    listed["files"][name] = {"bytes": len(data), "sha256": files.sha256(data)}
    (generation / "manifest.json").write_bytes(files.canonical(listed))
    return made.load()


LOADERS = {
    "hf folder": (hf, ("model.safetensors", "pytorch_model.bin", "model.pt")), "hf shards": (sharded, ("s.safetensors", "s.bin")),
    "timm file": (addressed("timm:vit_tiny_patch16_224@{}"), ("w.safetensors", "w.bin", "w.pt", "w.pth")),
    "open_clip file": (addressed("open_clip:ViT-B-32@{}"), ("w.safetensors", "w.bin", "w.pt")),
    "npz": (addressed("npz:{}"), ("w.npz", "w.pt")), "features": (stored, ("f.h5", "f.npz", "f.pt")),
    "generation": (checkpointed, ("trained.safetensors",)),
}


@pytest.mark.row("A15", "a pickle, or a zip of pickles, as .bin, .pt, .npz, .h5, .safetensors for every loader")
@pytest.mark.parametrize("loader", LOADERS)
def test_no_loader_opens_a_pickle(tmp_path, loader, monkeypatch, tried):
    """`Unsafe` (a generation is passed over as `Corrupt`, features are refused as data); what it would run has not run."""
    load, names = LOADERS[loader]
    kinds = {"features": (DataError, CheckpointError), "generation": CheckpointError}.get(loader, Unsafe)
    monkeypatch.chdir(tmp_path)
    for number, (name, data) in enumerate((name, data) for name in names for data in (pickled(), zipped())):
        place = tmp_path / str(number)
        place.mkdir()
        if load in (hf, sharded):
            Nursery(place)
        with pytest.raises(kinds):
            pytest.fail(f"{name}: {load(place, data, name)}")
    assert not list(tmp_path.rglob("canary"))
    tried(2 * len(names))


def archive(path: Path, entries: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as made:
        for name, data in entries.items():
            made.writestr(name, data)
    return path


def array(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


BOMBS = {
    "10^5 entries": lambda path: archive(path, {f"a{k}.npy": b"" for k in range(10**5)}, zipfile.ZIP_STORED),
    "200 MB of zeros": lambda path: archive(path, {"a.npy": array((5 * 10**7,), bytes(2 * 10**8))}),
    "an archive in an archive": lambda path: archive(path, {"a.zip": archive(path.with_suffix(".in"), {"b.npy": bytes(10)}).read_bytes()}),
    "a name outside": lambda path: archive(path, {"../../evil.npy": array((1,), b"\0" * 4)}),
}


@pytest.mark.faults
@pytest.mark.row("A18", "an .npz of 10^5 entries, of 200 MB in 200 KB, with an archive in it, with a name that leads out")
@pytest.mark.parametrize("bomb", BOMBS)
def test_archives_that_are_no_weights(tmp_path, bomb):
    """`Unsafe` by the archive's directory, nothing is unpacked: .npz is the one archive that is read, and only arrays in it."""
    path = BOMBS[bomb](tmp_path / "w.npz")
    with memory(64 << 20), pytest.raises(Unsafe):
        backbones.load(f"npz:{path}")


@pytest.mark.row("A18", "an array of 10^12 numbers declared in an .npz of 200 bytes")
def test_an_array_larger_than_its_archive(tmp_path):
    """Refused as `Corrupt`, and memory stays flat."""
    path = archive(tmp_path / "w.npz", {"a.npy": array((10**12,))}, zipfile.ZIP_STORED)
    with memory(16 << 20), pytest.raises(CheckpointError):
        backbones.load(f"npz:{path}")
