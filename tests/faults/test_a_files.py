"""Adapter files, damaged at every byte, crafted by hand, swapped for things that are no files."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from adapter_files import adapter, fresh, memory, refuses, reseal, state_hash, weights
from torch import nn

import inarch
from inarch import ARC, card, files
from inarch.errors import CheckpointError, Corrupt, Incomplete, Mismatch, StorageError, Unsafe
from inarch.training.generations import Generations


@pytest.fixture
def folder(tmp_path) -> Path:
    return adapter(tmp_path / "adapter")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return fresh()


@pytest.fixture
def large(tmp_path) -> Path:
    """Weights of 40 to 100 KB."""
    folder = inarch.save(inarch.graft(fresh().float(), ARC(rank=26, share="none", symmetric=False)), tmp_path / "large")
    assert 40_000 <= weights(folder).stat().st_size <= 100_000
    return folder


def refusal(act: Callable[[], object]) -> str:
    """What ``Corrupt`` says; ``pytest.raises`` would take longer than what is tested."""
    try:
        found = act()
    except Corrupt as problem:
        return str(problem)
    raise AssertionError(f"accepted: {found!r:.200}")


@pytest.mark.faults
@pytest.mark.row("A1", "the weights cut at every length, and the card")
@pytest.mark.parametrize("half", [0, 1])
def test_any_truncation_is_refused(large, half, tried):
    """`Corrupt`, with the file and the size it should have; the model is untouched. With digests made right for what is left, too."""
    path, told = weights(large), card.read_card(large)
    whole, model = path.read_bytes(), fresh().float()
    before = state_hash(model)
    lengths = range(len(whole))[half * len(whole) // 2 :][: len(whole) // 2 + 1]
    for length in reversed(lengths):
        os.truncate(path, length)
        said = refusal(lambda: files.read_sealed(path, size=told["bytes"], digest=told["sha256"]))
        assert f"{path.name} has {length} bytes; expected {len(whole)}" in said
        if length % 10 == 0 or length < 2000:
            refusal(lambda: files.tensors(whole[:length], path))  # noqa: B023 (called at once)
        if length % 500 == 0:
            refusal(lambda: inarch.load(model, large))
    path.write_bytes(whole)
    text = (large / "adapter.json").read_bytes()
    for length in range(half, len(text), 2):
        (large / "adapter.json").write_bytes(text[:length])
        assert "adapter.json" in refusal(lambda: card.read_card(large))
    assert state_hash(model) == before and "inarch" not in model._modules
    tried(len(lengths) + len(text) // 2)


def flipped(path: Path, bits: list[int], check: Callable[[], object]) -> None:
    whole = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for bit in bits:
            byte, mask = bit // 8, 1 << bit % 8
            os.pwrite(file.fileno(), bytes([whole[byte] ^ mask]), byte)
            with pytest.raises(CheckpointError) as raised:
                check()
            assert type(raised.value) is Corrupt or (type(raised.value) is Unsafe and bit < 64), (bit, raised.value)
            os.pwrite(file.fileno(), whole[byte : byte + 1], byte)
    assert path.read_bytes() == whole


@pytest.mark.faults
@pytest.mark.row("A2", "one bit flipped: every bit of the header, 2000 random bits of the values, every bit of the card")
def test_any_flipped_bit_is_refused(folder, model, tried):
    """`Corrupt` by the SHA-256 that the card has of the weights, and of itself; the model is untouched."""
    path, before, told = weights(folder), state_hash(model), card.read_card(folder)
    header = 8 * (8 + struct.unpack("<Q", path.read_bytes()[:8])[0])
    drawn = torch.randint(header, 8 * told["bytes"], (2000,), generator=torch.Generator().manual_seed(0)).tolist()
    flipped(path, [*range(header), *drawn], lambda: files.read_sealed(path, size=told["bytes"], digest=told["sha256"]))
    flipped(path, [*range(0, header, 173), *drawn[:60]], lambda: inarch.load(model, folder))
    text = 8 * (folder / "adapter.json").stat().st_size
    flipped(folder / "adapter.json", list(range(text)), lambda: card.read_card(folder))
    assert state_hash(model) == before and inarch.load(fresh(), folder) == {}
    tried(header + 2000 + text)


@pytest.mark.row("A3", "a file of generation 3 in generation 5")
def test_files_of_two_generations_do_not_mix(tmp_path):
    """The manifest shows it: generation 5 is passed over, generation 4 is used, and the note says why."""
    made = Generations(tmp_path, keep=5)
    for number in range(1, 6):
        made.save({"trained": {"w": torch.full((3,), float(number))}}, {"n": number})
    (tmp_path / "gen-000005/trained.safetensors").write_bytes((tmp_path / "gen-000003/trained.safetensors").read_bytes())
    found = made.load()
    assert found.number == 4 and found.tensors["trained"]["w"][0] == 4 and "gen-000005 cannot be used" in found.notes[0]


def random_there(path: Path) -> None:
    path.write_bytes(os.urandom(5000))


def empty_there(path: Path) -> None:
    path.touch()


def folder_there(path: Path) -> None:
    path.mkdir()


def socket_there(path: Path) -> None:
    place = os.getcwd()
    os.chdir(path.parent)  # a socket's path has at most 108 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(place)


def device_there(path: Path) -> None:
    try:
        os.mknod(path, 0o20666, os.makedev(1, 5))  # /dev/zero
        path.open("rb").close()
    except OSError:
        os.mkfifo(path) if not path.exists() else None


@pytest.mark.row("A4", "random bytes, an empty file, a folder, a pipe, a socket, a device in place of weights and card")
@pytest.mark.parametrize("file", ["weights", "card"])
@pytest.mark.parametrize("make", [random_there, empty_there, folder_there, os.mkfifo, socket_there, device_there])
def test_things_that_are_no_files(folder, model, file, make):
    """`Corrupt`, at once: it is opened without waiting and looked at before it is read."""
    path = weights(folder) if file == "weights" else folder / "adapter.json"
    path.unlink()
    make(path)
    began = time.monotonic()
    kinds = (Corrupt, StorageError) if make is device_there else Corrupt  # some systems let nobody open a device here
    refuses(folder, kinds, str(path.name), model)
    assert time.monotonic() - began < 10


def told(header: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


ENTRY = '"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
HEADERS = {
    "length of 2^40": told(b"{}", 2**40), "length of 2^64 - 1": told(b"{}", 2**64 - 1),
    "a header of 100 MB": told(b"{" + b" " * 10**8 + b"}"),
    "10^5 lists in one another": told(b'{"a": ' + b"[" * 10**5 + b"]" * 10**5 + b"}"),
    "10^5 objects in one another": told(b'{"a": ' + b'{"a":' * 10**5 + b"1" + b"}" * 10**5 + b"}"),
    "a name twice": told(f"{{{ENTRY}, {ENTRY}}}".encode(), data=b"\0" * 4), "NaN": told(b'{"a": NaN}'),
    "Infinity": told(b'{"a": -Infinity}'),
    "a number too large": told(b'{"a": 1e999}'), "not UTF-8": told(b'{"\xff\xfe": 1}'), "half a character": told(b'{"\\ud800": 1}'),
    "no object": told(b"[1, 2]"), "10^5 digits": told(b'{"a": ' + b"9" * 10**5 + b"}"), "a list for an entry": told(b'{"a": []}'),
}


@pytest.mark.faults
@pytest.mark.row("A5", "header length 2^40, header of 100 MB, nesting of 10^5, names twice, NaN, Infinity, 1e999, no UTF-8")
@pytest.mark.parametrize("kind", HEADERS)
def test_crafted_headers(folder, model, kind, tried):
    """`Corrupt`, at once and within 64 MB of memory, in the weights with right digests as in the card."""
    data = HEADERS[kind]
    reseal(folder, data=data)
    began = time.monotonic()
    with memory(64 << 20):
        refuses(folder, Corrupt, None, model)
    (folder / "adapter.json").write_bytes(data[8:])
    with memory(64 << 20):
        refuses(folder, Corrupt, "adapter.json", model)
    assert time.monotonic() - began < 10
    tried(2)


LAYOUTS = {
    "outside": {"data_offsets": [0, 8]}, "begins late": {"data_offsets": [4, 8]}, "negative": {"data_offsets": [-4, 0]},
    "turned round": {"data_offsets": [4, 0]}, "a negative side": {"shape": [-1]}, "more elements than bytes": {"shape": [2]},
    "fewer elements than bytes": {"shape": [0]}, "product past 2^64": {"shape": [2**32, 2**32, 2**32]},
    "product 0 with a huge side": {"shape": [0, 2**62]},
    "a wider dtype": {"dtype": "F64"}, "an unknown dtype": {"dtype": "NOPE"}, "a dtype that is none": {"dtype": 3},
    "a side in words": {"shape": ["1"]},
    "a broken side": {"shape": [1.0]}, "a true side": {"shape": [True]}, "offsets that are none": {"data_offsets": None},
    "three offsets": {"data_offsets": [0, 2, 4]}, "one word more": {"more": 1}, "no shape": {"shape": None},
}


@pytest.mark.row("A6", "offsets outside, overlapping, with a gap, negative; bytes that are not dtype times shape; products that overflow")
def test_crafted_layouts(folder, model, tried):
    """`Corrupt`: every byte after the header belongs to exactly one tensor."""
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    headers = {name: {"a": entry | change} for name, change in LAYOUTS.items()}
    headers["overlap"] = {"a": entry, "b": entry | {"data_offsets": [0, 4]}}
    headers["overlap by half"] = {"a": entry, "b": entry | {"data_offsets": [2, 6]}}
    headers["gap"] = {"a": entry, "b": entry | {"data_offsets": [6, 10]}}
    headers["gap at the end"] = {"a": entry | {"shape": [0], "data_offsets": [0, 0]}}
    for name, header in headers.items():
        data = told(json.dumps(header).encode(), data=b"\0" * 4)
        with pytest.raises(Corrupt):
            pytest.fail(f"{name}: {files.header(data, Path('x.safetensors'))}")
    for name in ("outside", "overlap", "gap", "product past 2^64"):
        reseal(folder, data=told(json.dumps(headers[name]).encode(), data=b"\0" * 4))
        refuses(folder, Corrupt, "safetensors", model)
    tried(len(headers) + 4)


def denied(code: int) -> Callable:
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))
    return refuse


@pytest.mark.row("A20", "no permission, a stale handle, an I/O error, too many open files")
@pytest.mark.parametrize(("name", "code"), [("open", 13), ("open", 116), ("fstat", 5), ("open", 24), ("fdopen", 5)])
def test_a_disk_that_refuses(folder, model, name, code, monkeypatch):
    """`StorageError`, with what the system says; the model is untouched."""
    real = getattr(os, name)
    monkeypatch.setattr(files.os, name, lambda *args, **how: denied(code)() if _ours(args, folder) else real(*args, **how))
    refuses(folder, StorageError, os.strerror(code), model)


def _ours(args: tuple, folder: Path) -> bool:
    """The call is about a file of the folder, by its path or by its descriptor."""
    path = os.readlink(f"/proc/self/fd/{args[0]}") if isinstance(args[0], int) else str(args[0])
    return path.startswith(f"{folder}/")


@pytest.mark.row("A20", "chmod 000, a folder that vanishes between the look and the opening, a read-only mount to save to")
def test_unreadable_vanished_read_only(folder, model, tmp_path, monkeypatch):
    """`StorageError` for all three; a file that was never there is `Incomplete`."""
    path = weights(folder)
    if os.geteuid():
        path.chmod(0)
        refuses(folder, StorageError, "Permission denied", model)
        path.chmod(0o644)
    monkeypatch.setattr(files.os, "replace", denied(30))
    with pytest.raises(StorageError, match="Read-only file system; nothing that was there has been changed"):
        adapter(folder, seed=5)
    monkeypatch.undo()
    real = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda self: bool(_moved(folder, tmp_path)) if self == folder and folder.exists() else real(self))
    refuses(folder, StorageError, "No such file", model)
    monkeypatch.undo()
    (tmp_path / "gone").rename(folder)
    path.unlink()
    refuses(folder, Incomplete, "no such file", model)


def _moved(folder: Path, place: Path) -> Path:
    return folder.rename(place / "gone")


NAMES = ["with space", "naïve-Ünïcode-ß", "日本語", "שלום", "🌱", "a\nb", "tab\there", "quote'\"", "x" * 255, "é" * 127, ".hidden", "-dash",
         "%2e%2e", "a\\b", "C:", "trailing.", "*?", "$HOME", "~"]


@pytest.mark.row("A21", "folders with spaces, newlines, quotes, other scripts, 255 bytes; names that differ in case only; NUL, 256 bytes")
def test_names_of_folders(tmp_path, tried):
    """Every name works that the file system takes; others are refused when the adapter is saved, and nothing is written."""
    model = inarch.graft(fresh(), ARC(rank=4))
    for name in NAMES:
        assert inarch.load(fresh(), inarch.save(model, tmp_path / name, extra={"name": name})) == {"name": name}
    for seed, name in enumerate(("Case", "case")):
        adapter(tmp_path / name, seed)
    if not (tmp_path / "CASE").exists():  # a file system that tells them apart
        assert weights(tmp_path / "Case").read_bytes() != weights(tmp_path / "case").read_bytes()
    there = sorted(os.listdir(tmp_path))
    for name in ("a\0b", "\ud800", "x" * 256):
        with pytest.raises(inarch.InarchError, match=r"folder|name"):
            inarch.save(model, tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == there
    tried(len(NAMES) + 5)


@pytest.mark.row("A21", "adapter names of other scripts, with spaces or newlines, too long, in two cases")
def test_names_of_adapters(folder, tried):
    """One rule, said at creation: letters, digits, - and _, at most 64. Two names that differ in case only are two adapters."""
    model = fresh()
    for name in (*NAMES, "", "a.b", "a/b", "joints", "x" * 65):
        with pytest.raises(inarch.InarchError, match="adapter name"):
            inarch.graft(model, ARC(rank=4), name=name)
        refuses(folder, inarch.InarchError, "adapter name", model, name=name)
    inarch.graft(model, ARC(rank=4), name="Case")
    inarch.load(model, folder, name="case")
    assert set(model.inarch.scions()) == {"Case", "case"}
    tried(len(NAMES) + 7)


@pytest.mark.row("A7", "a head of 10^12 numbers in the card, every digest made right again")
def test_a_huge_head_is_refused_before_allocation(tmp_path):
    """`Mismatch`, and memory stays flat: a head is made only when its values have been read and fit."""
    model = fresh()
    inarch.save(inarch.graft(fresh(), ARC(rank=4), head=nn.Linear(32, 9).double()), tmp_path / "a")
    reseal(tmp_path / "a", {"head": [10**6, 10**6]})
    with memory(8 << 20):
        refuses(tmp_path / "a", Mismatch, r"head/.* has shape \[.*expects \[1000000", model)
