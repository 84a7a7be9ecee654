"""A run through the command line: trained once on a small folder, then every verb that reads it, and its refusals."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inarch.cli import main

FLAGS = "--backbone mini-vit --image-size 16 --epochs 1 --batch-size 8 --no-tensorboard --set rank=4".split()
COLOURS = {"blue": (30, 60, 220), "green": (20, 200, 40), "red": (230, 30, 30)}


def draw(root: Path, parts: dict[str, int]) -> None:
    """Noisy colour squares: a class per folder, ``parts`` images of each."""
    rng = np.random.default_rng(0)
    for part, count in parts.items():
        for name, colour in COLOURS.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for k in range(count):
                pixels = np.clip(np.array(colour) + rng.normal(0, 40, (16, 16, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{k}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data in ``pets`` and a finished run in ``run``."""
    folder = tmp_path_factory.mktemp("runs")
    draw(folder / "pets", {"train": 8, "val": 2, "test": 4})
    assert main(["train", str(folder / "pets"), *FLAGS, "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture(autouse=True)
def inside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(line: list[str], code: int, *words: str, capsys) -> None:
    """``line`` ends with ``code``, one message with ``words``, and has changed no file."""
    before = tree(Path())
    capsys.readouterr()
    assert main(line) == code
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert "Traceback" not in said and "bug" not in said
    assert tree(Path()) == before


def test_the_run_folder_is_complete() -> None:
    there = {p.name for p in Path("run").iterdir()}
    assert {"recipe.toml", "run.json", "metrics.jsonl", "adapter", "result.json", "predictions.npz", "report.html"} <= there
    result = json.loads(Path("run/result.json").read_text())
    assert (result["method"], result["config"]["rank"], len(result["data"]["sha256"])) == ("arc", 4, 64) and result["command"]


def test_evaluate_prints_the_numbers_of_the_run(capsys) -> None:
    result = json.loads(Path("run/result.json").read_text())
    assert main(["evaluate", "run"]) == 0
    assert f"accuracy {result['metrics']['test']['accuracy']:.4f}" in capsys.readouterr().out
    assert main(["evaluate", "run", "--split", "val", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == result["metrics"]["val"]["accuracy"]


def test_predict_prints_and_writes_tables(tmp_path: Path, capsys) -> None:
    assert main(["predict", "run", "pets/test/red/0.png", "--top-k", "3"]) == 0
    words = capsys.readouterr().out.split()
    assert words[0] == "pets/test/red/0.png" and {*words[1::2]} == {*COLOURS}
    assert sum(map(float, words[2::2])) == pytest.approx(1, abs=2e-4)
    table = tmp_path / "out.csv"
    assert main(["predict", "run", "pets/test/red", "pets/test/blue/1.png", "--csv", str(table)]) == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["image"] for row in rows] == [*(f"pets/test/red/{k}.png" for k in range(4)), "pets/test/blue/1.png"]
    assert {row["label1"] for row in rows} <= {*COLOURS} and all(0 < float(row["probability1"]) <= 1 for row in rows)


@pytest.mark.long
def test_merge_writes_a_plain_folder_with_the_same_answers(tmp_path: Path, capsys) -> None:
    from transformers import AutoModelForImageClassification

    import inarch

    assert main(["merge", "run", str(tmp_path / "plain")]) == 0
    said = capsys.readouterr().out
    assert "12 test images, same class for 12 of 12" in said and "accuracy" in said
    predictor = inarch.Predictor("run")
    plain = AutoModelForImageClassification.from_pretrained(tmp_path / "plain")
    images = sorted(Path("pets/test").rglob("*.png"))
    pixels = torch.stack([predictor.transform(Image.open(path).convert("RGB")) for path in images])
    with torch.no_grad():
        assert np.allclose(plain(pixels).logits.numpy(), predictor.logits(images), atol=1e-4)
    assert plain.config.id2label == dict(enumerate(sorted(COLOURS)))


def test_merge_without_the_data_still_checks(place: Path, tmp_path: Path, capsys) -> None:
    (place / "pets").rename(place / "away")
    try:
        assert main(["merge", "run", str(tmp_path / "plain")]) == 0
    finally:
        (place / "away").rename(place / "pets")
    assert "16 images of random pixels" in capsys.readouterr().out


def test_compare_inspect_and_sites_read_the_run(capsys) -> None:
    assert main(["compare", "run", "--markdown"]) == 0
    assert "ARC(rank=4)" in capsys.readouterr().out
    assert main(["inspect", "run", "--json"]) == 0
    assert [len(stack["sites"]) for stack in json.loads(capsys.readouterr().out)["stacks"]] == [6, 6]
    assert main(["sites", "run"]) == 0
    assert "ARC" in capsys.readouterr().out


def test_resume_of_a_finished_run_changes_nothing(capsys) -> None:
    before = tree(Path("run"))
    assert main(["train", "--resume", "run"]) == 0
    assert "finished" in capsys.readouterr().err and tree(Path("run")) == before


def test_a_run_folder_is_never_overwritten(capsys) -> None:
    refused(["train", "pets", *FLAGS, "--out", "run"], 2, "run", "--resume", capsys=capsys)
    refused(["train", "pets", *FLAGS, "--out", "pets"], 2, "pets", "--out", capsys=capsys)
    refused(["merge", "run", "pets"], 2, "not empty", capsys=capsys)
    refused(["train", "--resume", "run", "--lr", "0.5"], 2, "lr", "0.5", capsys=capsys)


def test_predict_refuses_what_is_no_image(tmp_path: Path, capsys) -> None:
    (tmp_path / "cut.png").write_bytes(Path("pets/test/red/0.png").read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    refused(["predict", "run", str(tmp_path / "cut.png")], 3, "cut.png", capsys=capsys)
    refused(["predict", "run", str(tmp_path / "absent.png")], 3, "absent.png", capsys=capsys)
    refused(["predict", "run", str(tmp_path / "empty")], 3, "no images", capsys=capsys)
    refused(["predict", "run", "pets/test/red", "--csv", "nowhere/out.csv"], 2, "nowhere", capsys=capsys)
    refused(["predict", "run", "pets/test/red", "--top-k", "0"], 2, "--top-k", capsys=capsys)


def test_evaluate_refuses_other_data(place: Path, tmp_path: Path, capsys) -> None:
    draw(tmp_path / "more", {"train": 2, "val": 1, "test": 1})
    (tmp_path / "more" / "train" / "red").rename(tmp_path / "more" / "train" / "pink")
    refused(["evaluate", "run", "--data", str(tmp_path / "more")], 3, "pink", capsys=capsys)
    shutil.copytree(place / "run", tmp_path / "run")
    assert main(["evaluate", str(tmp_path / "run"), "--data", "pets"]) == 0
    refused(["evaluate", "run", "--split", "tset"], 2, "tset", capsys=capsys)


def test_training_refuses_a_class_that_only_validation_has(tmp_path: Path, capsys) -> None:
    draw(tmp_path / "data", {"train": 2, "val": 1})
    (tmp_path / "data" / "val" / "red").rename(tmp_path / "data" / "val" / "rde")
    refused(["train", str(tmp_path / "data"), *FLAGS, "--out", "never"], 3, "'rde'", "'red'", capsys=capsys)
    assert not Path("never").exists()


def test_training_refuses_a_class_without_images_and_a_bad_image(tmp_path: Path, capsys) -> None:
    draw(tmp_path / "data", {"train": 2})
    (tmp_path / "data" / "train" / "empty").mkdir()
    refused(["train", str(tmp_path / "data"), *FLAGS, "--out", "never"], 3, "empty", capsys=capsys)
    (tmp_path / "data" / "train" / "empty").rmdir()
    (tmp_path / "data" / "train" / "red" / "1.png").write_bytes(b"not a picture")
    refused(["train", str(tmp_path / "data"), *FLAGS, "--out", "never"], 3, "1.png", "check-data", capsys=capsys)


def damaged(place: Path, tmp_path: Path) -> Path:
    shutil.copytree(place / "run", tmp_path / "run")
    return next((tmp_path / "run" / "adapter").glob("*.safetensors"))


@pytest.mark.parametrize("verb", [["evaluate"], ["predict", "pets/test/red"], ["merge", "plain"], ["inspect"]], ids=" ".join)
def test_a_damaged_adapter_is_refused(verb: list[str], place: Path, tmp_path: Path, capsys) -> None:
    weights = damaged(place, tmp_path)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    refused([verb[0], str(tmp_path / "run"), *verb[1:]], 4, weights.name, capsys=capsys)
    weights.write_bytes(b"\x80\x04\x95" + bytes(data))
    refused([verb[0], str(tmp_path / "run"), *verb[1:]], 4, "pickle", capsys=capsys)
    weights.unlink()
    refused([verb[0], str(tmp_path / "run"), *verb[1:]], 4, weights.name, capsys=capsys)


@pytest.mark.long
def test_what_cannot_fold_is_refused_with_the_reason(tmp_path: Path, capsys) -> None:
    run = str(tmp_path / "trunk")
    assert main(["train", "pets", *FLAGS, "--set", "placement=trunk", "--out", run]) == 0
    refused(["merge", run, str(tmp_path / "plain")], 2, "skip connection", "placement='normed'", capsys=capsys)
    assert not (tmp_path / "plain").exists()


def test_the_preset_is_announced_and_never_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    assert main(["train", "pets", "--out", str(tmp_path / "never")]) == 6
    out, err = capsys.readouterr()
    assert "google/vit-base-patch16-224-in21k" in out and "apache-2.0" in out and "MB" in out and "cache" in out
    assert "HF_HUB_OFFLINE" in err and not (tmp_path / "never").exists()


def test_flags_win_over_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('data = "nowhere"\nbackbone = "mini-vit"\nepochs = 9\nmethod = "arc"\n[set]\nrank = 3\ndropout = 0.5\n')
    assert main(["train", str(recipe), "--data", "pets", *FLAGS, "--out", str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["epochs"], result["config"]["rank"], result["config"]["dropout"]) == (1, 4, 0.5)


@pytest.mark.parametrize(("text", "word"), [
    ("epohcs = 3", "'epochs'"), ("epochs = '3'", "epochs='3'"), ("epochs = ", "TOML"), ('method = "acr"', "'arc'"),
    ("[set]\nrnak = 3", "'rank'"), ('precision = "bf61"', "'bf16'"),
])  # fmt: skip
def test_a_bad_recipe_names_file_and_key(text: str, word: str, tmp_path: Path, capsys) -> None:
    recipe = tmp_path / "bad.toml"
    recipe.write_text(f'data = "pets"\nbackbone = "mini-vit"\n{text}\n')
    refused(["train", str(recipe), "--out", "never"], 2, word, capsys=capsys)
