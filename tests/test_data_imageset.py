"""The torch dataset: equal samples whatever worker makes them, whenever the run is resumed, cached or not."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from inarch.data import ImageSet, Table, Transform, batches, load_splits, workers_alive
from inarch.errors import ConfigError, DataError
from inarch.preprocess import Preprocess
from tests.pictures import class_folders, pixels

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning")


@pytest.fixture
def short_goodbye(monkeypatch):
    """torch waits 5 s for the workers of an iterator that raised; it does so when the iterator is collected."""
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.5)
    yield
    gc.collect()


def table(n: int = 12, labels=None) -> Table:
    x = np.stack([pixels(seed, 20, 30) for seed in range(n)])
    return Table(x, np.arange(n) % 3 if labels is None else labels, [f"x[{i}]" for i in range(n)])


def imageset(augment="fgvc", seed=0, **options) -> ImageSet:
    return ImageSet(table(), Transform(Preprocess(size=16), augment), seed, **options)


def epoch(dataset: ImageSet, workers: int) -> torch.Tensor:
    loader = DataLoader(dataset, batch_size=5, num_workers=workers)
    return torch.cat([x for x, _, _ in loader])


def test_item():
    pixels_, label, index = imageset("none")[4]
    assert pixels_.shape == (3, 16, 16) and pixels_.dtype == torch.float32
    assert label == 1 and type(label) is int and index == 4
    assert torch.equal(pixels_, Transform(Preprocess(size=16))(table().image(4)))


def test_batches_carry_labels_and_indices():
    x, labels, indices = next(iter(DataLoader(imageset(), batch_size=12)))
    assert x.shape == (12, 3, 16, 16) and labels.dtype == torch.int64
    assert labels.tolist() == [0, 1, 2] * 4 and indices.tolist() == list(range(12))


def test_multilabel_targets_are_float_vectors():
    hot = np.eye(4)[np.arange(12) % 4]
    dataset = ImageSet(table(labels=hot), Transform(Preprocess(size=16)))
    _, labels, _ = next(iter(DataLoader(dataset, batch_size=12)))
    assert labels.dtype == torch.float32
    np.testing.assert_array_equal(labels, hot)


def test_workers_change_nothing():
    dataset = imageset()
    dataset.set_epoch(3)
    alone = epoch(dataset, 0)
    assert torch.equal(alone, epoch(dataset, 2))
    assert torch.equal(alone[7], dataset[7][0])  # nor does the order


def test_epoch_and_seed_change_the_view_and_come_back():
    dataset, other = imageset(), imageset(seed=1)
    first = epoch(dataset, 0)
    dataset.set_epoch(1)
    second = epoch(dataset, 0)
    assert not torch.equal(first, second) and not torch.equal(first, epoch(other, 0))
    resumed = imageset()
    resumed.set_epoch(1)
    assert torch.equal(second, epoch(resumed, 0))


def test_epoch_reaches_workers_that_live_on():
    dataset = imageset()
    loader = DataLoader(dataset, batch_size=12, num_workers=1, persistent_workers=True)
    for number in (0, 1):
        dataset.set_epoch(number)
        (x, _, _) = next(iter(loader))
        assert torch.equal(x, epoch(dataset, 0)), number
    del loader


def test_cache_gives_the_same_values():
    plain, cached = imageset("none"), imageset("none", cache=True)
    for _ in range(2):
        assert torch.equal(epoch(plain, 0), epoch(cached, 0))


def test_cache_reads_each_image_once(tmp_path):
    root = class_folders(tmp_path, {"a": 3, "b": 3})
    dataset = ImageSet(load_splits(root, val_fraction=0).train, Transform(Preprocess(size=8)), cache=True)
    before = [x for x, _, _ in dataset]
    before[0].fill_(7)  # a caller's change must not reach the cache
    for file in root.rglob("*.png"):
        file.unlink()
    assert torch.equal(dataset[1][0], before[1]) and not torch.equal(dataset[0][0], before[0])


def test_cache_of_random_views_is_refused():
    with pytest.raises(ConfigError, match="cache=True keeps one view of each image, but augment is 'fgvc'"):
        imageset(cache=True)


@pytest.mark.row("C2", "a file truncated after the check, read by 0 or 1 workers")
@pytest.mark.usefixtures("short_goodbye")
@pytest.mark.parametrize("workers", [0, 1])
def test_file_that_goes_bad_during_training_is_named(tmp_path, workers):
    """`DataError` names file, image and epoch."""
    root = class_folders(tmp_path, {"a": 3, "b": 3})
    dataset = ImageSet(load_splits(root, val_fraction=0).train, Transform(Preprocess(size=8)))
    dataset.set_epoch(2)
    file = root / "b" / "1.png"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataError, match=r"b/1\.png: a PNG file.* \(image 4, epoch 2\)") as caught:
        list(batches(DataLoader(dataset, batch_size=2, num_workers=workers)))
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)  # no traceback of the worker


class Killed(Dataset):
    """Its worker process is shot in the middle of an epoch, as the kernel does when memory runs out."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> int:
        if i == 5:
            time.sleep(0.5)  # the images before it reach the main process
            os.kill(os.getpid(), signal.SIGKILL)
        return i


@pytest.mark.faults
@pytest.mark.row("C17", "SIGKILL of a loader process while the next batch is awaited")
@pytest.mark.usefixtures("short_goodbye")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch tells of the death in a signal handler
def test_worker_that_dies_is_a_data_error():
    """`DataError` within 10 s, and no process is left."""
    start, before = time.monotonic(), children()
    with pytest.raises(DataError, match="a data worker process died: "):
        list(batches(DataLoader(Killed(), num_workers=2)))
    assert time.monotonic() - start < 10
    gc.collect()  # the iterator ends its other worker
    assert children() <= before


@pytest.mark.faults
@pytest.mark.row("C17", "SIGKILL of a loader process during a step")
@pytest.mark.usefixtures("short_goodbye")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch tells of the death in a signal handler
def test_worker_that_dies_during_a_step_is_a_data_error():
    """`DataError` as soon as torch reports it."""
    died = r"a data worker process died: DataLoader worker \(pid \d+\) is killed by signal"
    with pytest.raises(DataError, match=died), workers_alive():
        for _ in DataLoader(Killed(), num_workers=1, prefetch_factor=8):
            time.sleep(5)  # a step: the signal arrives here, outside the loader


class Broken(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> int:
        raise RuntimeError("something else")


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="something else"):
        list(batches(DataLoader(Broken())))


@pytest.mark.faults
@pytest.mark.row("C17", "an exception in a loader process")
@pytest.mark.usefixtures("short_goodbye")
def test_a_worker_that_fails_is_a_data_error():
    """`DataError` in one line, and no process is left."""
    before = children()
    with pytest.raises(DataError, match=r"^a data worker process failed: RuntimeError: something else; resume with workers=0"):
        list(batches(DataLoader(Broken(), num_workers=2)))
    gc.collect()
    assert children() <= before


@pytest.mark.row("C17", "threads of the main process that hold a lock while loader processes are forked")
def test_threads_beside_workers():
    """The batches are those of a run without threads and without workers."""
    over = threading.Event()
    busy = [threading.Thread(target=lambda: [x for x in iter(over.is_set, True) if torch.ones(64).sum() < 0]) for _ in range(3)]
    for thread in busy:
        thread.start()
    try:
        dataset = imageset()
        assert torch.equal(epoch(dataset, 0), epoch(dataset, 2))
    finally:
        over.set()
        for thread in busy:
            thread.join()


def children() -> set[str]:
    """Processes below this one, dead ones that nobody waited for included."""
    with suppress(FileNotFoundError):  # a thread that ends meanwhile
        return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}
    return children()


def test_table_of_unequal_lengths_is_refused():
    with pytest.raises(DataError, match="3 images, 2 labels, 3 names"):
        Table([b""] * 3, np.zeros(2), ["a", "b", "c"])
