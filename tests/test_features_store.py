"""Stores of features: every kind gives the same rows, the published layouts read as published, and damage is refused by name."""

from __future__ import annotations

import copy
import json
import math
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from features_toys import KINDS, clips, numbers, pictures, published, tower, tree

from inarch.errors import Corrupt, DataError, InarchError, Incomplete, Mismatch, MissingExtra, Unsafe
from inarch.features import clip, extract, open_store
from inarch.features.plan import Plan, differences


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One extraction in a folder per kind."""
    root = tmp_path_factory.mktemp("stores")
    eyes = tower(root / "vit")
    for kind in KINDS:
        extract(pictures(), eyes, root / kind, kind=kind, batch_size=4)
    return root


@pytest.fixture
def folder(stores: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of the store of one kind, to be damaged."""
    copied = tmp_path / request.param
    for name, data in tree(stores / request.param).items():
        (copied / name).parent.mkdir(parents=True, exist_ok=True)
        (copied / name).write_bytes(data)
    return copied


every_kind = pytest.mark.parametrize("folder", KINDS, indirect=True)


def test_every_kind_gives_the_same_rows_and_the_same_sha256(stores: Path) -> None:
    first, *others = (open_store(stores / kind) for kind in KINDS)
    ids = sorted(pictures())
    assert [*first] == [*first.ids] == ids and len(first) == 10 and (first.tokens, first.width) == (16, 8)
    for other in others:
        assert [*other.ids] == ids and other.sha256 == first.sha256 and other.origin == first.origin
        assert torch.equal(other.batch(ids), first.batch(ids))
    assert torch.equal(open_store(stores / "hdf5" / "features.h5").batch(ids), first.batch(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_float32_in_the_order_asked_for(stores: Path, kind: str) -> None:
    store = open_store(stores / kind)
    some = ["8", "cats/3", "8"]
    batch = store.batch(some)
    assert batch.dtype == store["8"].dtype == torch.float32 and batch.shape == (3, 16, 8)
    assert all(torch.equal(batch[k], store[name]) for k, name in enumerate(some)) and not torch.equal(batch[0], batch[1])
    batch.zero_()
    assert store["8"].any(), "what is given out is a copy"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_there_is_said(stores: Path, kind: str) -> None:
    store = open_store(stores / kind)
    assert "8" in store and "cats/8" not in store and 8 not in store
    assert store.missing(["8", "none", "cats/3", "none", "gone"]) == ["none", "gone"]
    with pytest.raises(DataError, match="no features of 'none'; extract them"):
        store["none"]
    with pytest.raises(DataError, match=r"no features of '\.\./8'"):
        store.batch(["8", "../8"])


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_other_processes_open_the_file_again(stores: Path, kind: str) -> None:
    store = open_store(stores / kind)
    before = store["8"]
    sent = pickle.dumps(store)
    assert len(sent) < 6000, "the features themselves must not travel"
    assert torch.equal(pickle.loads(sent)["8"], before) and torch.equal(copy.deepcopy(store)["8"], before)


def test_plain_libraries_read_what_was_written(stores: Path) -> None:
    """Without inarch: numpy, h5py, and the published layout's own access path."""
    store = open_store(stores / "memmap")
    plain = np.load(stores / "memmap" / "features.npy", mmap_mode="r")
    assert plain.dtype == np.float16 and plain.shape == (10, 16, 8)
    with h5py.File(stores / "hdf5" / "features.h5") as file:
        assert np.array_equal(file["features"][()], plain)
        assert [*file["ids"].asstr()[()]] == [*store.ids]
    for number, image in enumerate(store.ids):
        with h5py.File(stores / "h5-files" / f"{image}.h5") as file:
            assert np.array_equal(file[f"{image}/features"][()], plain[number])


# damage


def refuses(folder: Path) -> bool:
    """Whether opening, or reading of a row, ends in an error of our own."""
    try:
        store = open_store(folder)
        store.batch([*store.ids])
    except InarchError:
        return True
    return False


@every_kind
def test_one_flipped_bit_is_never_read(folder: Path) -> None:
    """In every file of the store, at places drawn at random and at both ends; HDF5 itself ignores some bytes: there rows must be whole."""
    original = tree(folder)
    truth = open_store(folder).batch(sorted(pictures()))
    rng = np.random.default_rng(0)
    for name, data in [*original.items()][-5:]:
        for place in {0, len(data) - 1, *map(int, rng.integers(0, len(data), 12))}:
            changed = bytearray(data)
            changed[place] ^= 1 << int(rng.integers(8))
            (folder / name).write_bytes(changed)
            if not refuses(folder):
                assert name.endswith(".h5") and torch.equal(open_store(folder).batch(sorted(pictures())), truth), (name, place)
        (folder / name).write_bytes(data)
    assert not refuses(folder)


@every_kind
def test_a_cut_file_is_refused(folder: Path) -> None:
    for name, data in tree(folder).items():
        for length in (0, 1, len(data) // 2, len(data) - 1):
            (folder / name).write_bytes(data[:length])
            assert refuses(folder), (name, length)
        (folder / name).unlink()
        assert refuses(folder), f"{name} is gone"
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("folder", ["memmap"], indirect=True)
def test_rows_that_changed_places_are_refused(folder: Path) -> None:
    array = np.load(folder / "features.npy")
    np.save(folder / "features.npy", array[::-1])
    with pytest.raises(Corrupt, match=r"memmap: the features of '0' are not those that were written"):
        open_store(folder)["0"]
    np.save(folder / "features.npy", array.astype(np.float32))
    with pytest.raises(Corrupt, match=r"features.npy: its header is not that of float16 \(10, 16, 8\)"):
        open_store(folder)


@pytest.mark.parametrize("folder", ["memmap"], indirect=True)
def test_a_later_format_asks_for_a_newer_inarch(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | {"format": 2}))
    with pytest.raises(Mismatch, match="features of format 2; this inarch reads up to 1"):
        open_store(folder)
    (folder / "index.json").write_text(json.dumps(index | {"tokens": "16"}))
    with pytest.raises(Corrupt, match="values differ from a feature store's"):
        open_store(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_another_width_is_refused_on_opening(stores: Path, kind: str) -> None:
    assert open_store(stores / kind, width=8).width == 8
    with pytest.raises(Mismatch, match=r"features are 8 wide, made by .*vit, and the model reads 2048; extract them"):
        open_store(stores / kind, width=2048)


def test_what_is_no_store_is_refused_with_what_is_expected(tmp_path: Path, stores: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    for place, words in (("empty", "no features in it"), ("gone", "there is nothing"), ("file.txt", "a file of unknown kind")):
        with pytest.raises(DataError, match=f"{place}: {words}; expected a folder that"):
            open_store(tmp_path / place)
    published(clips(tmp_path / "both", {"a": numbers(0, 3, 4)}), {"b": numbers(0, 3, 4)})
    with pytest.raises(DataError, match=r"both \.h5 and \.npz files"):
        open_store(tmp_path / "both")
    with pytest.raises(DataError, match="no feature store was named"):
        open_store([])


def test_without_h5py_the_extra_is_named(stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "h5py", None)
    assert len(open_store(stores / "memmap").batch(["8"])) == 1
    with pytest.raises(MissingExtra, match=r"inarch\[vl\]"):
        open_store(stores / "hdf5")


# what others wrote


@pytest.mark.parametrize(("shape", "dtype"), [((49, 2048), "float16"), ((36, 20), "float32"), ((7, 3), "float64")])
def test_the_published_layout_is_read(tmp_path: Path, shape: tuple[int, int], dtype: str) -> None:
    rows = {image: numbers(seed, *shape, dtype=dtype) for seed, image in enumerate(("COCO_val2014_000000000042", "n1", "sub/2"))}
    store = open_store(published(tmp_path, rows), width=shape[1])
    assert (store.tokens, store.width) == shape and store.origin == {} and [*store.ids] == sorted(rows)
    assert all(np.array_equal(store[image].numpy(), rows[image].astype(np.float32)) for image in rows)
    assert "n1" in store and store.missing(["n1", "n2"]) == ["n2"]
    before = open_store(tmp_path).sha256
    assert before == store.sha256
    published(tmp_path, {"n3": numbers(9, *shape, dtype=dtype)})
    assert open_store(tmp_path).sha256 != before
    for outside in ("../n1", "/n1", "sub/../n1", "", "a\0", "./n1"):
        assert outside not in store
        with pytest.raises(DataError, match="no features of"):
            store[outside]


def test_one_file_with_a_group_per_image_is_read(tmp_path: Path) -> None:
    rows = {"17": numbers(0, 36, 5), "4": numbers(1, 36, 5)}
    with h5py.File(tmp_path / "train.h5", "w") as file:
        for image, features in rows.items():
            file[f"{image}/features"], file[f"{image}/boxes"] = features, np.zeros((36, 4))
    store = open_store(tmp_path / "train.h5")
    assert set(store.ids) == set(rows) and (store.tokens, store.width) == (36, 5) and "17" in store and "1" not in store
    assert all(np.array_equal(store[image].numpy(), rows[image].astype(np.float32)) for image in rows)
    with h5py.File(tmp_path / "none.h5", "w"):
        pass
    with pytest.raises(Mismatch, match=r"none.h5: empty; expected a dataset <img_id>/features"):
        open_store(tmp_path / "none.h5")


@pytest.mark.parametrize(("change", "error", "words"), [
    (numbers(0, 4, 9), Mismatch, r"b.h5: 4 x 9 features, the others of this store are 4 x 8"),
    (numbers(0, 5, 8), Mismatch, r"b.h5: 5 x 8 features"),
    (np.full((4, 8), np.nan, np.float16), Corrupt, r"b.h5: 32 of 32 values are not finite"),
    (np.full((4, 8), np.inf, np.float32), Corrupt, "not finite"),
    (np.zeros((4, 8), np.int64), Corrupt, "expected floating-point numbers"),
    (numbers(0, 4, 8)[0], Corrupt, r"expected floating-point numbers \[tokens, width\]"),
])  # fmt: skip
def test_a_published_file_that_does_not_fit_is_refused(tmp_path: Path, change: np.ndarray, error: type, words: str) -> None:
    store = open_store(published(tmp_path, {"a": numbers(0, 4, 8), "b": change}))
    store["a"]
    with pytest.raises(error, match=words):
        store["b"]


def test_damaged_and_hostile_hdf5_is_refused(tmp_path: Path) -> None:
    folder = published(tmp_path / "store", dict.fromkeys("abcdef", numbers(0, 4, 8)))
    store = open_store(folder)
    (folder / "a.h5").write_bytes((folder / "a.h5").read_bytes()[:1500])
    (folder / "b.h5").write_bytes(b"not HDF5")
    with h5py.File(folder / "c.h5", "w") as file:
        file["c"] = h5py.ExternalLink("d.h5", "d")
    with h5py.File(folder / "d.h5", "w") as file:
        file.create_dataset("d/features", (1 << 20, 1 << 12), "f4", chunks=True)
    with h5py.File(folder / "e.h5", "w") as file:
        file.create_group("e/features")
    with h5py.File(folder / "f.h5", "w") as file:
        file["other/features"] = numbers(0, 4, 8)
    for image, error, words in (("a", Corrupt, "not a whole HDF5"), ("b", Corrupt, "not a whole HDF5"), ("c", Unsafe, "is a link"),
                                ("d", Mismatch, "expected at most 1024 MiB"), ("e", Corrupt, "a group"), ("f", Corrupt, "not a whole")):
        with pytest.raises(error, match=rf"{image}.h5.*{words}"):
            store[image]


# clips


def naive_clip(frames: np.ndarray, count: int) -> np.ndarray:
    """Section 3.5 of the specification, one number at a time."""
    n, width = frames.shape
    out = np.zeros((count, width), frames.dtype)
    for i in range(count):
        for c in range(width):
            if n <= count:
                out[i, c] = frames[i, c] if i < n else 0
            else:
                out[i, c] = max(frames[j, c] for j in range(math.floor(i * n / count), math.ceil((i + 1) * n / count)))
    return out


@pytest.mark.parametrize("n", [1, 5, 63, 64, 65, 100, 128, 131])
def test_clips_are_padded_or_pooled_to_64_frames(tmp_path: Path, n: int) -> None:
    frames = numbers(n, n, 6)
    store = open_store(clips(tmp_path, {"castle_s01e01_seg02_clip_00": frames}))
    assert (store.tokens, store.width, [*store.ids]) == (64, 6, ["castle_s01e01_seg02_clip_00"])
    assert np.array_equal(store["castle_s01e01_seg02_clip_00"].numpy(), naive_clip(frames.astype(np.float32), 64))
    assert np.array_equal(clip(torch.from_numpy(frames.astype(np.float32)), 7).numpy(), naive_clip(frames.astype(np.float32), 7))


def test_a_clip_is_read_without_pickle_and_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(clips(tmp_path, dict.fromkeys("abcde", numbers(0, 3, 4))))
    np.savez(tmp_path / "a.npz", features=np.array([{}], dtype=object))
    np.savez(tmp_path / "b.npz", other=numbers(0, 3, 4))
    (tmp_path / "c.npz").write_bytes((tmp_path / "d.npz").read_bytes()[:-30])
    np.savez(tmp_path / "e.npz", features=numbers(0, 3, 5))
    for image in "abc":
        with pytest.raises(Corrupt, match=rf"{image}.npz: features: cannot be read .*fetch the file again"):
            store[image]
    with pytest.raises(Mismatch, match=r"e.npz: 64 x 5 features"):
        store["e"]
    monkeypatch.setattr("inarch.features.frames.MAX_BYTES", 100)
    with pytest.raises(Corrupt, match="unpacks to more than"):
        store["d"]
    with zipfile.ZipFile(tmp_path / "d.npz") as archive:
        assert archive.namelist() == ["features.npy"]


# several as one


def test_several_stores_are_one(tmp_path: Path, stores: Path) -> None:
    first = published(tmp_path / "VG", {"1": numbers(0, 4, 8), "2": numbers(1, 4, 8)})
    second = published(tmp_path / "GQA", {"2": numbers(2, 4, 8), "n3": numbers(3, 4, 8)})
    store = open_store([first, second], width=8)
    assert [*store.ids] == ["1", "2", "n3"] and store.missing(["n3", "4"]) == ["4"]
    assert np.array_equal(store.batch(["n3", "2"]).numpy(), np.stack([numbers(3, 4, 8), numbers(1, 4, 8)]).astype(np.float32))
    assert store.sha256 not in (open_store(first).sha256, open_store([second, first]).sha256)
    with pytest.raises(DataError, match="no features of '9'"):
        store["9"]
    with pytest.raises(Mismatch, match=r"memmap: 16 x 8 features, those of .*VG are 4 x 8; extract both with one tower"):
        open_store([first, stores / "memmap"])


def test_stores_of_two_towers_are_not_one(tmp_path: Path, stores: Path) -> None:
    extract(pictures(2), tower(tmp_path / "other", seed=1), tmp_path / "store")
    with pytest.raises(Mismatch, match=r"store: made by .*other, those of .*memmap by .*vit; extract both with one tower"):
        open_store([stores / "memmap", tmp_path / "store"])


def test_an_unfinished_store_says_how_to_go_on(stores: Path, tmp_path: Path) -> None:
    for kind in KINDS:
        folder = tmp_path / kind
        with pytest.raises(KeyboardInterrupt):
            extract(pictures(), tower(tmp_path / "vit"), folder, kind=kind, batch_size=4, tell=stop_after(4))
        with pytest.raises(Incomplete, match=f"{kind}.*: rows .*are still missing; run the `inarch features` command that began it again"):
            open_store(folder)


def stop_after(rows: int):
    def tell(what: str, done: int, total: int) -> None:
        if what == "features" and done >= rows:
            raise KeyboardInterrupt

    return tell


def test_differences_name_what_differs() -> None:
    origin = {"fingerprint": "f", "tower": "t", "preprocess": {"size": 224, "mean": (0.5, 0.5, 0.5)}}
    plan = Plan("memmap", "float16", 4, 8, ("a", "b"), "x", origin)
    assert differences(plan, plan) == []
    stored = Plan(**vars(plan) | {"origin": json.loads(json.dumps(origin))})
    assert differences(stored, plan) == [], "JSON has lists where the tower has tuples"
    changed = Plan("hdf5", "float32", 4, 9, ("b", "c"), "y", origin | {"fingerprint": "g", "preprocess": {"size": 32, "mean": (0.5,) * 3}})
    assert differences(plan, changed) == [
        "kind memmap for hdf5", "dtype float16 for float32", "tower t (f) for t (g)", "size 224 for 32", "4 x 8 features for 4 x 9",
        "1 images are gone (first: a)", "1 images are new (first: c)"]
    assert differences(plan, Plan(**vars(plan) | {"images": "y"})) == ["images of the same names with other bytes"]
