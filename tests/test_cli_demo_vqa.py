"""``inarch demo vqa``: complete in one folder, honest in its table, on weights that are what their record says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT

from inarch import backbones, demo_vqa
from inarch.backbones.address import WEIGHTS
from inarch.backbones.eyes import load_eyes
from inarch.cli import main
from inarch.recipe import Recipe
from inarch.scenes import read


@pytest.mark.long
def test_the_quick_demo_does_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(read, "PICTURES", {"train": 24, "val": 6, "test": 12})
    monkeypatch.setattr(demo_vqa, "ENTRIES", demo_vqa.ENTRIES[2:])  # the others take the same path
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "vqa", "--quick", "--threads", "1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    place = tmp_path / "inarch-demo"
    result = json.loads((place / "vlpet-large" / "result.json").read_text())
    assert f"{100 * result['metrics']['test']['exact_match']:.1f} %" in said and f"{result['count']['trainable']:,}" in said
    assert "as it comes" in said and "inarch compare" in said
    page = (place / "vqa.html").read_text()
    assert page.count("<img") == demo_vqa.SHOWN and page.count("as it comes:") == demo_vqa.SHOWN
    answers = [json.loads(line) for line in (place / "vlpet-large" / "predictions-test.jsonl").read_text().splitlines()]
    assert len(answers) == result["metrics"]["test"]["n"]


def test_the_recipes_of_the_demo_are_valid_and_what_they_train(tmp_path: Path) -> None:
    import inarch

    trained = {}
    for entry in demo_vqa.ENTRIES:
        recipe = Recipe.parse(demo_vqa.recipe_fields(entry, tmp_path, quick=False, threads=1))
        assert recipe.generates
        model = backbones.load(demo_vqa.BACKBONE, device="meta", pretrained=False).model
        trained[entry.folder] = inarch.count(inarch.graft(model, recipe.method_config())).trainable
    assert trained == {"lora": 59_008, "vlpet-small": 55_302, "vlpet-large": 79_200}


def test_the_weights_are_small_and_those_of_the_record() -> None:
    record = json.loads((ROOT / "results/mini-vl/pretrain.json").read_text())
    assert sum(path.stat().st_size for name in ("mini-vl", "mini-eyes") for path in (WEIGHTS / name).rglob("*.safetensors")) < 4_000_000
    for name in ("mini-vl", "mini-eyes"):
        assert json.loads((WEIGHTS / name / "origin.json").read_text())["sha256"] == record["weights"][name]["sha256"]
        assert record["weights"][name]["sha256"] in (ROOT / "WEIGHTS.md").read_text()
    answers = record["answers"]
    assert answers["plain"]["all"] > 90 and answers["blackboard"]["all"] < answers["plain"]["all"] - 20


def test_mini_vl_answers_as_its_record_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few plain pictures, eyes and language as an address gives them."""
    monkeypatch.setattr(read, "PICTURES", {"train": 1, "val": 40, "test": 1})
    import numpy as np
    import torch

    model, eyes = backbones.load("mini-vl").model, load_eyes("mini-vl")
    assert eyes.grid == (6, 6) and eyes.width == model.visual.width
    pairs = read.read_scenes("scenes:plain@5")
    asked = [e for e in pairs.parts["val"] if e.group in ("color", "size", "exists", "digit")][:80]
    pixels = torch.from_numpy(np.stack([pairs.images[e.images[0]] for e in asked])).permute(0, 3, 1, 2) / 127.5 - 1
    told = model.tokenizer([e.text for e in asked], padding=True, return_tensors="pt")
    ids = model.generate(told.input_ids, told.attention_mask, eyes(pixels)[:, None], max_length=6)
    said = [text.strip() for text in model.tokenizer.batch_decode(ids, skip_special_tokens=True)]
    assert np.mean([answer == e.references[0] for answer, e in zip(said, asked, strict=True)]) > 0.9
