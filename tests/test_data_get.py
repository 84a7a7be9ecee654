"""``inarch data``: what a library fetches lies in a layout that is read, what fails leaves nothing, the rest is told how to get."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from inarch.cli import main
from inarch.data import load_splits
from inarch.data.fewshot import read_fewshot
from inarch.errors import DataError, MissingExtra, StorageError
from inarch.suites import getting, load_suite, names
from tests.pictures import pixels


class Rows:
    """A set of torchvision: pairs of picture and label, and the names of the labels."""

    classes = ("a/b", "banded")

    def __init__(self, root: str, download: bool, split: str) -> None:
        assert download
        Path(root).mkdir(parents=True, exist_ok=True)
        (Path(root) / "archive.tar").write_bytes(b"x")
        self.start = {"train": 0, "val": 4, "test": 8}[split]

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        return Image.fromarray(pixels(self.start + i)), i % 2


def stub(monkeypatch: pytest.MonkeyPatch, **sets: Any) -> None:
    monkeypatch.setattr(getting, "_torchvision", lambda: SimpleNamespace(**sets))


def test_a_set_of_torchvision_becomes_class_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, DTD=Rows)
    place = getting.fetch("torchvision:DTD", tmp_path / "data")
    assert place == tmp_path / "data" / "DTD" and [entry.name for entry in place.parent.iterdir()] == ["DTD"]
    splits = load_splits(place)
    assert splits.classes == ("a-b", "banded") and [len(part) for part in (splits.train, splits.val, splits.test)] == [4, 4, 4]
    np.testing.assert_array_equal(splits.val.image(0), pixels(4))
    with pytest.raises(DataError, match="DTD is there already; use it, move it away"):
        getting.fetch("torchvision:DTD", tmp_path / "data")


BROKEN = [(ConnectionError("no route"), DataError), (RuntimeError("File not found or corrupted."), DataError),
          (OSError(28, "No space left on device"), StorageError), (KeyboardInterrupt(), KeyboardInterrupt)]


@pytest.mark.parametrize("problem, kind", BROKEN)
def test_what_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: BaseException, kind: type) -> None:
    class Breaks(Rows):
        def __getitem__(self, i: int) -> tuple[Image.Image, int]:
            if i == 2:
                raise problem
            return super().__getitem__(i)

    stub(monkeypatch, DTD=Breaks)
    with pytest.raises(kind):
        getting.fetch("torchvision:DTD", tmp_path)
    assert not [*tmp_path.iterdir()]


def test_aircraft_lies_as_coop_expects_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fewshot_fixtures import write_sets

    def official(root: str, download: bool) -> None:
        write_sets(Path(root) / "made", names=["FGVCAircraft"])
        (Path(root) / "fgvc-aircraft-2013b").mkdir()
        (Path(root) / "made" / "fgvc_aircraft").rename(Path(root) / "fgvc-aircraft-2013b" / "data")

    stub(monkeypatch, FGVCAircraft=official)
    getting.fetch("FGVCAircraft", tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["fgvc_aircraft"]
    assert len(read_fewshot(f"coop:FGVCAircraft@{tmp_path}", shots=2).learn().classes) == 2


def test_a_set_of_the_hub_is_saved_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = datasets.Dataset.from_dict({"image": [Image.fromarray(pixels(i)) for i in range(8)], "label": [0, 1] * 4}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *words: asked.append(words) or datasets.DatasetDict(train=rows))
    assert main(["data", "get", "datasets:org/pets:plain", "--root", str(tmp_path)]) == 0
    assert asked == [("org/pets", "plain")] and load_splits(tmp_path / "pets").classes == ("cat", "dog")


def test_digits_need_no_network(tmp_path: Path) -> None:
    place = getting.fetch("digits", tmp_path)
    mine, theirs = load_splits(place), load_splits("digits")
    assert mine.classes == theirs.classes and len(mine.test) == len(theirs.test)
    np.testing.assert_array_equal(mine.train.labels, theirs.train.labels)
    np.testing.assert_array_equal(mine.test.image(5), theirs.test.image(5))


def test_an_absent_library_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(MissingExtra, match=r"torchvision is not installed; install it with: pip install 'inarch\[timm\]'"):
        getting.fetch("torchvision:SVHN", tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"inarch\[data\]"):
        getting.fetch("datasets:org/pets", tmp_path)
    assert not [*tmp_path.iterdir()]


def test_what_no_library_fetches_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = {"cub": "data.caltech.edu", "EuroSAT": "split_zhou_EuroSAT.json", "vtab-1k": "RepAdapter", "dtd": "dtd:3.0.1"}
    for name, said in known.items():
        assert main(["data", "get", name, "--root", str(tmp_path)]) == 7
        assert said in capsys.readouterr().out
    assert main(["data", "get", "cubs", "--root", str(tmp_path)]) == 2
    assert "no data set 'cubs'; did you mean 'cub'?" in capsys.readouterr().err
    assert main(["data", "get", "datasets:../../x", "--root", str(tmp_path)]) == 2 and not [*tmp_path.iterdir()]
    assert main(["data", "get"]) == 2


def test_the_list_knows_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    found = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert {task.name for name in names() for task in load_suite(name).tasks} | {*getting.sources()} == found


def test_no_task_of_a_suite_is_fetched_as_another_draw_of_it() -> None:
    """torchvision brings the whole DTD; VTAB-1k's task dtd is 1000 images of it and must not be mistaken for that."""
    tasks = {task.name for name in names() for task in load_suite(name).tasks}
    assert tasks & getting.sources().keys() == {"FGVCAircraft"}  # CoOp reads the official archive
