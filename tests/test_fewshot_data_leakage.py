"""The rule of the protocol: before ``held()`` is called, no novel image is opened and no novel name or path is kept."""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inarch.data.fewshot import SETS, FewShot, read_fewshot
from inarch.errors import DataError
from tests.fewshot_fixtures import NAMES, wnid, write_sets, write_split
from tests.pictures import class_folders, pixels

OPENED: list[str] = []
WATCHING: list[bool] = []


def _record(event: str, args: tuple[Any, ...]) -> None:
    if WATCHING and event == "open" and isinstance(args[0], str | bytes):
        OPENED.append(os.fsdecode(args[0]))


sys.addaudithook(_record)  # sees every file that Python opens, in every thread; it cannot be taken away again


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Paths of all files opened during the test."""
    OPENED.clear()
    WATCHING.append(True)
    yield OPENED
    WATCHING.clear()


def images(opened: list[str], root: Path) -> set[str]:
    kinds = {".jpg", ".jpeg", ".png"}
    return {path for path in opened if path.startswith(str(root)) and Path(path).suffix.lower() in kinds}


def texts(thing: Any, seen: set[int] | None = None) -> Iterator[str]:
    """Every string that can be reached from ``thing``, through attributes, containers and arrays."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, type | types.ModuleType | types.FunctionType | int | float | None):
        return
    seen.add(id(thing))
    if isinstance(thing, str | os.PathLike):
        yield os.fspath(thing)
    elif isinstance(thing, dict):
        for pair in thing.items():
            yield from (text for part in pair for text in texts(part, seen))
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from (text for part in thing for text in texts(part, seen))
    elif hasattr(thing, "__dict__"):
        yield from texts(vars(thing), seen)


def novel_words(task: FewShot, words: list[str]) -> list[str]:
    return [text for text in texts(task) for word in words if word in text]


def test_the_search_sees(tmp_path: Path, opened: list[str]) -> None:
    write_split(tmp_path / "s.json", tmp_path)
    assert images(opened, tmp_path)
    everything = read_fewshot(tmp_path / "s.json", shots=2, protocol="all")
    assert {"yellow square"} <= {*novel_words(everything, ["yellow"])}
    everything.learn()
    assert any("yellow_square/test_000.jpg" in text for text in novel_words(everything, ["yellow"]))


def test_no_novel_image_is_opened_before_held(tmp_path: Path, opened: list[str]) -> None:
    write_split(tmp_path / "s.json", tmp_path, classes=5)
    opened.clear()
    task = read_fewshot(tmp_path / "s.json", shots=2)
    assert images(opened, tmp_path) == set()
    base = task.learn()
    [base.train.image(i) for i in range(len(base.train))]
    assert images(opened, tmp_path) == {name for table in (base.train, base.val, base.test) for name in table.names}
    assert not any(name in path for name in NAMES[3:] for path in opened)
    novel = task.held()
    assert images(opened, tmp_path) >= {*novel.test.names} and all(NAMES[3] in n or NAMES[4] in n for n in novel.test.names)


@pytest.mark.parametrize("name", ["ImageNet", "FGVCAircraft", "EuroSAT"])
def test_published_layouts(tmp_path: Path, opened: list[str], name: str) -> None:
    write_sets(tmp_path, names=[name])
    opened.clear()
    task = read_fewshot(f"coop:{name}@{tmp_path}", shots=2)
    assert images(opened, tmp_path) == set()
    task.learn()
    before = images(opened, tmp_path)
    assert before and not before & {*task.held().test.names}
    if name == "ImageNet":
        assert not any(wnid(c) in path for c in (2, 3) for path in before)


def test_folders(tmp_path: Path, opened: list[str]) -> None:
    class_folders(tmp_path, {"ape": 8, "bee": 8, "cow": 8, "doe": 8})
    opened.clear()
    task = read_fewshot(tmp_path, shots=2)
    task.learn()
    assert images(opened, tmp_path) and not [path for path in opened if "/cow/" in path or "/doe/" in path]
    assert not novel_words(task, ["cow", "doe"])
    assert {*task.held().test.names} <= images(opened, tmp_path)


@pytest.mark.parametrize("learned", [False, True])
def test_no_novel_name_or_path_is_kept(tmp_path: Path, learned: bool) -> None:
    write_split(tmp_path / "s.json", tmp_path, classes=4)
    task = read_fewshot(tmp_path / "s.json", shots=16)  # with a note on short classes
    if learned:
        assert task.learn().notes
    assert novel_words(task, ["red square"]) and not novel_words(task, ["blue", "yellow"])
    assert task.about["images"]["novel"] == {"test": 6}
    task.held()
    assert novel_words(task, ["blue square"])


def test_no_novel_pixels_are_kept(tmp_path: Path) -> None:
    x, y = np.stack([pixels(seed) for seed in range(24)]), np.arange(24) % 4
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[::-1], y_test=y[::-1], classes=list("abcd"))
    task = read_fewshot(tmp_path / "a.npz", shots=2)
    base = task.learn()
    for table in (base.train, base.test):
        assert table.sources.base is None or table.sources.base.shape[0] == len(table)
        known = {pixels(seed).tobytes() for seed in range(24) if seed % 4 < 2}
        assert {source.tobytes() for source in table.sources} <= known


def test_held_refuses_a_list_that_changed(tmp_path: Path) -> None:
    rows = write_split(tmp_path / "s.json", tmp_path)
    task = read_fewshot(tmp_path / "s.json", shots=2)
    task.learn()
    rows["test"].pop()
    (tmp_path / "s.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="the list of images changed since it was first read"):
        task.held()


def test_held_refuses_other_pixels(tmp_path: Path) -> None:
    x, y = np.stack([pixels(seed) for seed in range(24)]), np.arange(24) % 4
    arrays = {"x_train": x, "y_train": y, "y_test": y, "classes": list("abcd")}
    np.savez(tmp_path / "a.npz", x_test=x, **arrays)
    task = read_fewshot(tmp_path / "a.npz", shots=2)
    np.savez(tmp_path / "a.npz", x_test=x[::-1], **arrays)
    with pytest.raises(DataError, match="changed since it was first read"):
        task.held()


def test_held_refuses_a_new_file_in_a_folder(tmp_path: Path) -> None:
    write_sets(tmp_path, names=["ImageNet"])
    task = read_fewshot(f"coop:ImageNet@{tmp_path}", shots=2)
    images = tmp_path / SETS["ImageNet"].folder / "images"
    first = next((images / "val" / wnid(0)).iterdir())
    (images / "val" / wnid(3) / "new.JPEG").write_bytes(first.read_bytes())
    with pytest.raises(DataError, match="changed since it was first read"):
        task.held()
