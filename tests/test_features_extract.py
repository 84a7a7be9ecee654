"""Extraction: the tower's own numbers, row by row; stopped anywhere it goes on to the same bytes; bad input is refused before any work."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from features_toys import KINDS, pictures, tower, tree
from pictures import pixels, png_bytes
from PIL import Image

from inarch.backbones.eyes import Eyes, load_eyes
from inarch.errors import ConfigError, DataError, MissingExtra, StorageError
from inarch.features import extract, sinks, standing
from inarch.training import lock

each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Eyes:
    return tower(tmp_path_factory.mktemp("tower") / "vit")


@pytest.fixture(scope="module")
def whole(eyes: Eyes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The files of an uninterrupted extraction, by kind."""
    root = tmp_path_factory.mktemp("whole")
    for kind in KINDS:
        extract(pictures(), eyes, root / kind, kind=kind, batch_size=4)
    return {kind: tree(root / kind) for kind in KINDS}


def naive(eyes: Eyes, picture: np.ndarray) -> torch.Tensor:
    """One picture at a time: squash, scale, normalise, and the tower's own hidden state."""
    side = eyes.preprocess.size
    squashed = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC), np.float64)
    scaled = (squashed / 255 - np.array(eyes.preprocess.mean)) / np.array(eyes.preprocess.std)
    with torch.no_grad():
        return eyes.tower(torch.from_numpy(scaled).permute(2, 0, 1)[None].float()).last_hidden_state[0, 1:]


@each_kind
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_features_are_the_towers_own(eyes: Eyes, tmp_path: Path, kind: Any, dtype: Any) -> None:
    images = pictures(5)
    store = extract(images, eyes, tmp_path / "out", kind=kind, dtype=dtype, batch_size=2).store
    for image, picture in images.items():
        expected = naive(eyes, picture)
        assert store.row(image).dtype == np.dtype(dtype)
        assert torch.allclose(store[image], expected, rtol=1e-3 if dtype == "float16" else 1e-5, atol=1e-4), image
    assert store.origin["tower"] == eyes.address and store.origin["preprocess"]["fit"] == "squash"


def test_bfloat16_is_the_nearest_bfloat16_of_float32_and_not_for_hdf5(eyes: Eyes, tmp_path: Path) -> None:
    half, single = (extract(pictures(), eyes, tmp_path / dtype, dtype=dtype).store for dtype in ("bfloat16", "float32"))
    for image in half:
        assert torch.equal(half[image], single[image].bfloat16().float())
    with pytest.raises(ConfigError, match="HDF5 has no bfloat16"):
        extract(pictures(), eyes, tmp_path / "h5", kind="hdf5", dtype="bfloat16")


def test_float16_is_the_nearest_float16_of_float32(eyes: Eyes, tmp_path: Path) -> None:
    half, single = (extract(pictures(), eyes, tmp_path / dtype, dtype=dtype).store for dtype in ("float16", "float32"))
    for image in half:
        assert np.array_equal(half.row(image), single.row(image).astype(np.float16))


def test_paths_and_arrays_of_one_picture_give_the_same(eyes: Eyes, tmp_path: Path) -> None:
    for image, picture in pictures().items():
        (tmp_path / "files" / f"{image}.png").parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "files" / f"{image}.png")
    stored = {image: tmp_path / "files" / f"{image}.png" for image in pictures()}
    ids = sorted(stored)
    files, arrays = (extract(images, eyes, tmp_path / name).store for name, images in (("a", stored), ("b", pictures())))
    assert torch.equal(files.batch(ids), arrays.batch(ids)) and files.sha256 == arrays.sha256


# going on


class Stopped(BaseException):
    """Stands for a kill: nothing in between may catch it."""


def fuse(monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Stop at the ``count``-th step of all that changes a file; returns the steps that were taken."""
    taken: list[str] = []

    def guard(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def step(*args: Any, **kwargs: Any) -> Any:
            if len(taken) == count:
                raise Stopped
            taken.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, step)

    for owner, name in ((standing.files, "write"), (standing.Journal, "add"), (sinks.Strip, "write"), (sinks.hdf5, "write_one"),
                        (sinks.hdf5, "lay_out"), (sinks, "_put"), (sinks, "_sync"), (sinks, "write_index"), (sinks, "clear"),
                        (os, "replace"), (Path, "unlink")):
        guard(owner, name)
    return taken


@pytest.mark.long
@each_kind
def test_stopped_at_every_step_it_goes_on_to_the_same_bytes(eyes: Eyes, tmp_path: Path, kind: Any, whole: dict) -> None:
    for count in range(100):
        with pytest.MonkeyPatch.context() as monkeypatch:
            steps = fuse(monkeypatch, count)
            with contextlib.suppress(Stopped):
                extract(pictures(), eyes, tmp_path / str(count), kind=kind, batch_size=4)
        done = extract(pictures(), eyes, tmp_path / str(count), kind=kind, batch_size=4)
        assert tree(tmp_path / str(count)) == whole[kind], f"after {steps}"
        assert done.before + done.rows == 10
        if len(steps) < count:
            break
    assert count > 8, "every step was tried, and the work is done in more than these"


@each_kind
def test_half_a_batch_and_rows_that_the_journal_does_not_prove_are_made_again(eyes: Eyes, tmp_path: Path, kind: Any, whole: dict) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if (what, done) == ("features", 8):
            raise Stopped

    for change, before in ((lambda out: None, 8), (half_a_row, 4), (lambda out: spoil(out, kind), 4)):
        out = tmp_path / str(before) / change.__name__
        with pytest.raises(Stopped):
            extract(pictures(), eyes, out, kind=kind, batch_size=4, tell=stop)
        change(out)
        done = extract(pictures(), eyes, out, kind=kind, batch_size=4)
        assert (done.before, done.rows) == (before, 10 - before) and tree(out) == whole[kind]


def half_a_row(out: Path) -> None:
    """The journal was cut in the middle of row 7's digest."""
    noted = (out / "rows.sha256").read_bytes()
    (out / "rows.sha256").write_bytes(noted[: 7 * 32 + 5])


def spoil(out: Path, kind: str) -> None:
    """Row 6 never reached the disk."""
    if kind == "h5-files":
        (out / "cats" / f"{sorted(pictures())[6].removeprefix('cats/')}.h5").unlink()
        return
    path = out / {"memmap": "features.npy", "hdf5": "features.h5"}[kind]
    data, row = path.read_bytes(), 16 * 8 * 2
    begin = 128 if kind == "memmap" else sinks.hdf5.read_layout(path)[1].features
    path.write_bytes(data[: begin + 6 * row] + bytes(row) + data[begin + 7 * row :])


KILLED = """
import sys, time
from features_toys import pictures
from inarch.backbones.eyes import load_eyes
from inarch.features import extract

extract(pictures(), load_eyes(sys.argv[1]), sys.argv[2], kind=sys.argv[3], batch_size=4,
        tell=lambda what, done, total: what == "features" and (print(done, flush=True), time.sleep(0.2)))
"""


@pytest.mark.long
def test_killed_by_the_system_it_goes_on_and_the_lock_of_the_dead_is_taken(eyes: Eyes, tmp_path: Path, whole: dict) -> None:
    line = [sys.executable, "-c", KILLED, eyes.address, str(tmp_path / "out"), "hdf5"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    with subprocess.Popen(line, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths}, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "4\n"
        process.send_signal(signal.SIGKILL)
    done = extract(pictures(), eyes, tmp_path / "out", kind="hdf5", batch_size=4)
    assert done.before >= 4 and tree(tmp_path / "out") == whole["hdf5"]


@each_kind
def test_the_same_again_does_nothing(eyes: Eyes, tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = extract(pictures(), eyes, tmp_path, kind=kind)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    monkeypatch.setattr(Eyes, "forward", None)
    again = extract(pictures(), eyes, tmp_path, kind=kind)
    assert (first.rows, first.before, again.rows, again.before) == (10, 0, 0, 10) and again.store.sha256 == first.store.sha256
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"} == before


# refusals


@each_kind
@pytest.mark.parametrize("finished", [True, False])
def test_other_features_are_refused_by_name(eyes: Eyes, tmp_path: Path, kind: Any, finished: bool) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if not finished and what == "features":
            raise Stopped

    try:
        extract(pictures(), eyes, tmp_path / "out", kind=kind, batch_size=4, tell=stop)
    except Stopped:
        assert not finished
    before = tree(tmp_path / "out")
    cropped = load_eyes(eyes.address, resize="backbone")
    cropped.preprocess = cropped.preprocess.__class__(16, fit="crop")
    changed = pictures() | {"0": pixels(99, 12, 20)}
    for change, words in (
        ({"eyes": tower(tmp_path / "other", seed=1)}, r"tower .*vit \(\w{12}\) for .*other \(\w{12}\)"),
        ({"eyes": load_eyes(eyes.address, 32)}, r"size 16 for 32; 16 x 8 features for 64 x 8"),
        ({"eyes": cropped}, "fit squash for crop"),
        ({"dtype": "float32"}, "dtype float16 for float32"),
        ({"kind": "memmap" if kind == "hdf5" else "hdf5"}, f"kind {kind} for"),
        ({"images": changed}, "images of the same names with other bytes"),
        ({"images": pictures(11)}, r"1 images are new \(first: 10\)"),
        ({"images": pictures(9)}, r"1 images are gone \(first: cats/9\)"),
    ):  # fmt: skip
        arguments: dict[str, Any] = {"images": pictures(), "eyes": eyes, "kind": kind} | change
        with pytest.raises(ConfigError, match=f"out holds other features: .*{words}.*choose another folder"):
            extract(out=tmp_path / "out", **arguments)
        assert tree(tmp_path / "out") == before


def test_a_folder_of_something_else_is_not_touched(eyes: Eyes, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds something else \(first: thesis.txt\); choose an empty or new folder"):
        extract(pictures(), eyes, tmp_path)
    assert tree(tmp_path) == {"thesis.txt": b"years of work"}
    with pytest.raises(StorageError, match=r"thesis.txt: File exists; choose a folder"):
        extract(pictures(), eyes, tmp_path / "thesis.txt")


def spoiled(folder: Path, count: int, bad: int) -> dict[str, Any]:
    """``count`` PNG files, the first ``bad`` of them cut."""
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:03}.png").write_bytes(png_bytes(i)[: 60 if i < bad else None])
    return {f"{i:03}": folder / f"{i:03}.png" for i in range(count)}


def test_bad_images_are_all_listed_before_any_work(eyes: Eyes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = spoiled(tmp_path / "images", 100, 2) | {"gone": tmp_path / "gone.png", "odd": np.zeros((3, 4, 5), np.float32)}
    monkeypatch.setattr(Eyes, "forward", None)
    with pytest.raises(DataError) as refused:
        extract(images, eyes, tmp_path / "out")
    said = str(refused.value)
    assert said.startswith("4 of 102 images cannot be used:\n") and "000.png: a PNG file that cannot be decoded" in said
    assert "001.png" in said and "gone.png: no such file" in said and "odd: an array of float32 (3, 4, 5)" in said and "'skip'" in said
    assert tree(tmp_path / "out") == {}


def test_one_in_a_hundred_may_be_skipped_and_is_named(eyes: Eyes, tmp_path: Path) -> None:
    images = spoiled(tmp_path / "images", 100, 1)
    done = extract(images, eyes, tmp_path / "out", on_bad_image="skip")
    assert len(done.store) == 99 and "000" not in done.store and [image for image, _ in done.skipped] == ["000"]
    assert "cannot be decoded" in done.skipped[0][1]
    assert extract(images, eyes, tmp_path / "out", on_bad_image="skip").rows == 0
    with pytest.raises(ConfigError, match=r"1 bad images left out \(first: 000\) where on_bad_image is 'refuse'"):
        extract(images, eyes, tmp_path / "out")
    with pytest.raises(DataError, match=r"2 of 100 images cannot be used(.|\n)*leaves out at most 1%"):
        extract(spoiled(tmp_path / "worse", 100, 2), eyes, tmp_path / "out2", on_bad_image="skip")


def test_an_image_that_goes_bad_on_the_way_is_named_and_the_rest_is_kept(eyes: Eyes, tmp_path: Path) -> None:
    images = spoiled(tmp_path / "images", 40, 0)
    whole = images["039"].read_bytes()

    def tell(what: str, done: int, total: int) -> None:
        if (what, done) == ("features", 4):
            images["039"].write_bytes(whole[:60])

    with pytest.raises(DataError, match=r"039.png: a PNG file that cannot be decoded"):
        extract(images, eyes, tmp_path / "out", batch_size=4, tell=tell)
    with pytest.raises(ConfigError, match="images of the same names with other bytes"):
        extract(images, eyes, tmp_path / "out", batch_size=4)
    images["039"].write_bytes(whole)
    assert extract(images, eyes, tmp_path / "out", batch_size=4).before == 36


@pytest.mark.parametrize(("arguments", "error", "words"), [
    ({"kind": "hdf"}, ConfigError, "kind 'hdf'; did you mean 'hdf5'"),
    ({"dtype": "float64"}, ConfigError, "dtype 'float64'; did you mean 'float"),
    ({"batch_size": 0}, ConfigError, "batch_size 0; expected a whole number from 1"),
    ({"on_bad_image": "drop"}, ConfigError, "on_bad_image 'drop'; known: refuse, skip"),
    ({"images": {}}, DataError, "no images to extract features of"),
    ({"images": {"../x": pixels()}}, DataError, r"1 image ids cannot name a place in a store \(first: '../x'\)"),
    ({"images": {"/x": pixels()}}, DataError, "cannot name a place"),
])  # fmt: skip
def test_wrong_arguments_leave_no_trace(eyes: Eyes, tmp_path: Path, arguments: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        extract(**{"images": pictures(), "eyes": eyes, "out": tmp_path / "out"} | arguments)
    assert not (tmp_path / "out").exists()


def test_numbers_that_float16_cannot_hold_are_refused(eyes: Eyes, tmp_path: Path) -> None:
    loud = load_eyes(eyes.address)
    loud.tower.get_submodule("layernorm").weight.fill_(1e5)
    with pytest.raises(DataError, match="0: its features are not finite in float16; extract with dtype float32"):
        extract(pictures(), loud, tmp_path / "half")
    assert extract(pictures(), loud, tmp_path / "single", dtype="float32").rows == 10


def test_no_room_is_said_before_and_on_the_way(eyes: Eyes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict) -> None:
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(standing.shutil, "disk_usage", lambda _: usage(10, 10, 100))
        with pytest.raises(StorageError, match=r"the features need 0.0 GB and 0.0 GB are free; make room"):
            extract(pictures(), eyes, tmp_path / "out", batch_size=4)
    assert tree(tmp_path / "out") == {}
    with monkeypatch.context() as patch:
        patch.setattr(standing.Journal, "add", _full)
        with pytest.raises(StorageError):
            extract(pictures(), eyes, tmp_path / "out", batch_size=4)
    extract(pictures(), eyes, tmp_path / "out", batch_size=4)
    assert tree(tmp_path / "out") == whole["memmap"]


def _full(journal: Any, digests: bytes) -> None:
    raise StorageError(f"{journal.path}: No space left on device")


def test_a_full_disk_is_a_storage_error(eyes: Eyes, tmp_path: Path) -> None:
    """/dev/full takes no byte: the device itself says so."""
    strip = sinks.Strip(Path("/dev/full"), 0, (2, 4, 8), "float16")
    with pytest.raises(StorageError, match="No space left on device; rows before 0 are kept: make room and run the same command"):
        strip.write(0, np.ones((1, 4, 8), np.float16))


def test_two_writers_do_not_meet(eyes: Eyes, tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        owner = {"host": socket.gethostname(), "pid": other.pid, "started": lock.started(other.pid)}
        (tmp_path / lock.LOCK).write_text(json.dumps(owner))
        with pytest.raises(ConfigError, match=f"in use by process {other.pid}"):
            extract(pictures(), eyes, tmp_path)
        other.kill()
    assert extract(pictures(), eyes, tmp_path).rows == 10


def test_hdf5_without_h5py_names_the_extra_before_any_work(eyes: Eyes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"h5py is not installed; install it with: pip install 'inarch\[vl\]'"):
        extract(pictures(), eyes, tmp_path / "out", kind="hdf5")
    assert not (tmp_path / "out").exists() and extract(pictures(), eyes, tmp_path / "out").rows == 10


def test_it_tells_what_it_does(eyes: Eyes, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    extract(pictures(), eyes, tmp_path, batch_size=4, tell=lambda *now: told.append(now))
    assert [now for now in told if now[0] == "features"] == [("features", 4, 10), ("features", 8, 10), ("features", 10, 10)]
    assert [what for what in dict.fromkeys(now[0] for now in told)] == ["reading images", "looking at images", "features"]
    assert [done for what, done, _ in told if what == "looking at images"] == list(range(1, 11))
