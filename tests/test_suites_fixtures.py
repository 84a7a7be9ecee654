"""Every task of every published suite in its public file layout, tiny: its reader reads it and hashes its list, and a run takes a step."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import chatter
import pytest
import tiny_clip
from fewshot_fixtures import write_sets
from nursery import SIDE, Nursery
from vl_fixtures import write_image_text, write_video_text

from inarch.data import check, load_splits
from inarch.data.fewshot import read_fewshot
from inarch.data.pairs import PROTOCOLS, read_pairs
from inarch.errors import DataError
from inarch.recipe import Recipe
from inarch.run import Run
from inarch.suites import SuiteTask, load_suite
from inarch.train import train
from tests.pictures import png_bytes

PARTS = {"train": range(6), "val": range(6, 9), "test": range(9, 14)}
IMAGES = {"cub": "images", "nabirds": "images", "dogs": "Images", "flowers": "", "cars": ""}  # where VPT's code looks for them
QUICK = {"epochs": 1, "batch_size": 8, "eval_batch_size": 16, "device": "cpu", "tensorboard": False, "report": False, "warmup_epochs": 0.0}


def write_vtab(root: Path) -> None:
    """The four lists, with images in a folder."""
    (root / "images").mkdir(parents=True)
    lists = {"train800": PARTS["train"], "val200": PARTS["val"], "train800val200": range(9), "test": PARTS["test"]}
    for name, rows in lists.items():
        (root / f"{name}.txt").write_text("".join(f"images/{i}.png {i % 2}\n" for i in rows))
    for i in range(14):
        (root / "images" / f"{i}.png").write_bytes(png_bytes(i))


def write_fgvc(root: Path, images: str) -> None:
    """VPT's three files; class ids need not begin at 0."""
    for part, numbers in PARTS.items():
        rows = {f"{i % 2 + 1:03}.bird/{i}.png": i % 2 + 1 for i in numbers}
        for i, name in zip(numbers, rows, strict=True):
            (root / images / name).parent.mkdir(parents=True, exist_ok=True)
            (root / images / name).write_bytes(png_bytes(i))
        (root / f"{part}.json").write_text(json.dumps(rows))


def stepped(suite: str, task: SuiteTask, root: Path, method: str, **changes: object) -> dict:
    """The result of one epoch of one or a few updates on a tiny backbone, all else as the suite has it."""
    fields = load_suite(suite).fields(task, root, method) | {"method": method, "lr": 1e-3, "out": str(root / "run")} | QUICK | changes
    return Run(train(Recipe.parse(fields))).result()


def test_every_task_of_vtab_is_read_from_its_lists(tmp_path: Path) -> None:
    seen = set()
    for task in load_suite("vtab-1k").tasks:
        write_vtab(tmp_path / task.data)
        splits = load_splits(load_suite("vtab-1k").fields(task, tmp_path)["data"])
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [6, 3, 5], task.name
        seen.add(splits.sha256)
    assert all(len(sha) == 64 for sha in seen)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    write_fgvc(tmp_path / "cub", "images")
    return tmp_path / "cub"


def test_every_set_of_fgvc_is_read_from_vpts_split(tmp_path: Path) -> None:
    for task in load_suite("fgvc").tasks:
        write_fgvc(tmp_path / task.data, IMAGES[task.name])
        splits = load_splits(load_suite("fgvc").fields(task, tmp_path)["data"])
        assert [len(part) for part in (splits.train, splits.val, splits.test)] == [6, 3, 5] and splits.classes == ("1", "2"), task.name
        assert splits.train.labels.tolist() == [0, 1] * 3 and f"{IMAGES[task.name]}/001.bird/0.png".lstrip("/") in splits.train.names[0]


def test_a_list_that_changed_has_another_hash(birds: Path) -> None:
    before = load_splits(birds).sha256
    rows = json.loads((birds / "test.json").read_text())
    (birds / "test.json").write_text(json.dumps({name: 3 - label for name, label in rows.items()}))
    assert load_splits(birds).sha256 != before


def test_what_is_wrong_in_vpts_split_is_named(birds: Path) -> None:
    rows = json.loads((birds / "train.json").read_text())
    shared = next(iter(json.loads((birds / "test.json").read_text())))
    bad = {"../x.png": 1, "/etc/x.png": 1, "gone.png": 1, next(iter(rows)): "1", shared: 2}
    (birds / "train.json").write_text(json.dumps(rows | bad))
    found = "\n".join(map(str, check(birds).problems))
    for said in ("'../x.png': the path leaves", "'/etc/x.png': the path leaves", "no such image", "the class id is '1'",
                 "in train.json and in test.json"):
        assert said in found
    (birds / "train.json").write_text('{"a.png": 1, "a.png": 2}')
    with pytest.raises(DataError, match=r"a key occurs twice.*VPT's form"):
        load_splits(birds)


def test_every_few_shot_set_is_read_as_coop_lays_it_out(tmp_path: Path) -> None:
    suite = load_suite("fewshot-11")
    write_sets(tmp_path, names=[task.name for task in suite.tasks], sizes={"train": 2, "val": 1, "test": 1})
    for task in suite.tasks:
        found = read_fewshot(suite.fields(task, tmp_path)["data"], shots=2, seed=1)
        assert found.dataset == task.name and len(found.about["listing_sha256"]) == len(found.about["items_sha256"]) == 64


@pytest.mark.parametrize("suite, write", [("vl-image", write_image_text), ("vl-video", write_video_text)])
def test_every_image_text_task_is_read_as_published(suite: str, write, tmp_path: Path) -> None:
    write(tmp_path)
    fields = load_suite(suite).fields(load_suite(suite).tasks[0], tmp_path)
    hashes = {read_pairs(fields["data"], task).sha256 for task in fields["tasks"]}
    assert len(hashes) == 4 and all(len(sha) == 64 for sha in hashes)


@pytest.mark.long
@pytest.mark.parametrize("suite", ["vtab-1k", "fgvc"])
def test_a_task_of_images_takes_a_step(suite: str, tmp_path: Path) -> None:
    task = load_suite(suite).tasks[0]
    write_vtab(tmp_path / task.data) if suite == "vtab-1k" else write_fgvc(tmp_path / task.data, IMAGES[task.name])
    vit = Nursery(tmp_path).vit
    result = stepped(suite, task, tmp_path, "arc", backbone=vit, image_size=SIDE, set={"rank": 2})
    assert result["data"]["sha256"] and result["metrics"]["test"]["accuracy"] is not None and result["count"]["adapter"] > 0


@pytest.mark.long
def test_a_few_shot_set_takes_a_step(tmp_path: Path) -> None:
    task = next(task for task in load_suite("fewshot-11").tasks if task.name == "EuroSAT")
    write_sets(tmp_path, classes=8, sizes={"train": 3, "val": 1, "test": 1}, names=["EuroSAT"])
    backbone = f"clip:{tiny_clip.folder(tmp_path / 'clip')}"
    few = {"recipe": "", "least_updates": 0, "most_updates": 1, "set": {"layers": "-2:"}}
    result = stepped("fewshot-11", task, tmp_path, "mma", backbone=backbone, **few)
    assert result["data"]["dataset"] == "EuroSAT" and result["data"]["listing_sha256"] and result["fewshot"]["harmonic"] is not None


@pytest.mark.long
@pytest.mark.parametrize("suite, write", [("vl-image", write_image_text), ("vl-video", write_video_text)])
def test_image_text_tasks_take_steps_at_once(suite: str, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # METEOR's Java is not there, as for many users
    for name, protocol in PROTOCOLS.items():
        monkeypatch.setitem(PROTOCOLS, name, dataclasses.replace(protocol, max_length=4, text_tokens=40))  # tiny positions
    monkeypatch.setattr(chatter, "WORDS", [*chatter.WORDS, *"a0 a1 a2 a3 a4 yellow grey square picture".split()])
    write(tmp_path)
    (task,) = load_suite(suite).tasks
    small = {"gate": "small", "rank": 4, "value_rank": 4}
    more = {"tower": "mini-vit"} if suite == "vl-image" else {}
    more |= {"backbone": chatter.save_backbone(tmp_path / "bart"), "set": small, "beams": 1, "visual_tokens": 4}
    found = stepped(suite, task, tmp_path, "vlpet", **more)["data"]["tasks"]
    assert found.keys() == {*task.recipe["tasks"]} and all(len(each["sha256"]) == 64 for each in found.values())
