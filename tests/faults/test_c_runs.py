"""What training does with data that is bad, little, or of an odd number."""

from __future__ import annotations

import math
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from nursery import Nursery, arrays
from PIL import Image

from inarch import backbones
from inarch.errors import DataError
from inarch.run import Run
from inarch.train import train

FOLDERS = "abc"


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


def pictures(root: Path, count: int = 22) -> Path:
    """Class folders with the nursery's training images, ``count`` of them, in turn."""
    data = arrays()
    for i in range(count):
        folder = root / FOLDERS[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        noisy = data["x_train"][i % 22].astype(int) + (i // 22)  # no two are equal
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{i}.png")
    return root


@pytest.mark.row("C1", "a broken image in the data of a run")
def test_training_refuses_at_the_start(nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`DataError` names the file, before the backbone is built and before a run folder is made."""
    root = pictures(tmp_path / "data")
    (root / "b" / "1.png").write_bytes(b"words")
    monkeypatch.setattr(backbones, "load", lambda *args, **options: pytest.fail("the backbone was built"))
    with pytest.raises(DataError, match=r"b/1\.png: not an image.*\n`inarch check-data"):
        train(nursery.recipe(tmp_path / "run", data=str(root)))
    assert not (tmp_path / "run").exists()


@pytest.mark.faults
@pytest.mark.row("C1", "on_bad_image='skip' in a run with one bad image in 121")
def test_what_was_skipped_is_in_the_report(nursery: Nursery, tmp_path: Path) -> None:
    """The run is that of the clean folder, and its card and report count and name the file."""
    root = pictures(tmp_path / "data", 120)
    clean = Run(train(nursery.recipe(tmp_path / "clean", data=str(root), epochs=1)))
    (root / "a" / "x.png").write_bytes(b"words")
    run = Run(train(nursery.recipe(tmp_path / "run", data=str(root), epochs=1, on_bad_image="skip")))
    assert run.lines()[0]["loss"] == clean.lines()[0]["loss"]
    assert run.result()["data"] == clean.result()["data"]
    assert any(note.startswith("1 bad images were skipped (first: ") and "a/x.png" in note for note in run.card().data["notes"])


SHORT = {"y_train": ("float", np.zeros(22)), "y_val": ("negative", -np.ones(7, int)), "y_test": ("beyond", np.full(9, 3))}


@pytest.mark.row("C10", "labels of an .npz that are floats, negative, or above the classes")
@pytest.mark.parametrize("key", SHORT)
def test_labels_are_judged_before_anything_is_built(nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """`DataError` names the array, before the backbone is built."""
    monkeypatch.setattr(backbones, "load", lambda *args, **options: pytest.fail("the backbone was built"))
    np.savez(tmp_path / "d.npz", **arrays() | {key: SHORT[key][1]})
    with pytest.raises(DataError, match=rf"{key}"):
        train(nursery.recipe(tmp_path / "run", data=str(tmp_path / "d.npz")))


@pytest.mark.faults
@pytest.mark.row("C16", "a last batch of 1, a batch larger than the data, batches of 1")
@pytest.mark.parametrize("batch", [7, 21, 64, 1])
def test_batches_of_odd_sizes(nursery: Nursery, tmp_path: Path, batch: int) -> None:
    """The loss is the mean over all images, each once, whatever the size of the batches."""
    changes = {"epochs": 1, "lr": 1e-12, "clip": 0.0}  # nothing moves: the epoch's loss is that of the fresh model
    run = Run(train(nursery.recipe(tmp_path / "run", batch_size=batch, **changes)))
    whole = Run(train(nursery.recipe(tmp_path / "whole", batch_size=22, **changes)))
    assert math.isclose(run.lines()[0]["loss"], whole.lines()[0]["loss"], rel_tol=1e-5)
    assert run.result()["data"]["train"] == 22


@pytest.mark.faults
@pytest.mark.row("C16", "a table without rows, one image, one image per class")
def test_hardly_any_data(nursery: Nursery, tmp_path: Path, tried) -> None:
    """No rows and one class are refused; one image of each of two classes trains."""
    data = arrays()
    few = {n: {k: v[:n] if k.endswith("_train") else v for k, v in data.items() if not k.endswith(("_val", "_test"))} for n in (0, 1, 2)}
    few[2]["classes"] = few[1]["classes"][:2]
    few[1]["classes"] = few[1]["classes"][:1]
    for n, reason in ((0, "no training images found"), (1, "1 class")):
        np.savez(tmp_path / "d.npz", **few[n])
        with pytest.raises(DataError, match=reason):
            train(nursery.recipe(tmp_path / "run", data=str(tmp_path / "d.npz"), val_fraction=0.0))
        tried(1)
    np.savez(tmp_path / "d.npz", **few[2])
    with pytest.raises(DataError, match="too few for val_fraction"):
        train(nursery.recipe(tmp_path / "run", data=str(tmp_path / "d.npz")))
    run = Run(train(nursery.recipe(tmp_path / "run", data=str(tmp_path / "d.npz"), val_fraction=0.0, epochs=1)))
    assert math.isfinite(run.lines()[0]["loss"])
    tried(2)


def loaders() -> set[str]:
    """Processes that this one started and that are not reaped yet."""
    with suppress(FileNotFoundError):  # a thread that ends meanwhile
        return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}
    return loaders()


@pytest.mark.faults
@pytest.mark.row("C17", "SIGKILL of one of two loader processes in the middle of a run")
@pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch tells of the death in a signal handler
def test_a_loader_is_killed_and_the_run_goes_on(nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`DataError` within 10 s, no process is left, and the resumed run ends in the same bits."""
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.5)
    root = pictures(tmp_path / "data", 40)
    changes = {"data": str(root), "augment": "flip", "workers": 2, "val_fraction": 0.0, "checkpoint_every": 0.0}
    before, me, real = loaders(), os.getpid(), Image.Image.load

    def load(image: Image.Image) -> object:
        if os.getpid() != me and (tmp_path / "run" / "checkpoints").exists():  # in a loader, once there is something to go on from
            (tmp_path / "struck").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(image)

    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises(DataError, match="a data worker process died"):
        train(nursery.recipe(tmp_path / "run", **changes))
    assert time.time() - (tmp_path / "struck").stat().st_mtime < 10
    assert loaders() <= before
    monkeypatch.setattr(Image.Image, "load", real)
    ended = Run(train(nursery.recipe(tmp_path / "run", **changes), resume=True))
    plain = Run(train(nursery.recipe(tmp_path / "plain", **changes | {"workers": 0})))
    assert [line["loss"] for line in ended.lines()] == [line["loss"] for line in plain.lines()]
    assert loaders() <= before
