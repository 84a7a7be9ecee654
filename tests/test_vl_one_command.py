"""VQAv2, GQA, NLVR2 and COCO captions in their published formats: features, training, scores and report from one command line."""

import json

import chatter
import pytest
from chatter import save_backbone
from conftest import ROOT
from vl_fixtures import write_image_text

from inarch.cli import main

RECIPES = ("vlpet-bart-image-large.toml", "vlpet-t5-image-small.toml")


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_published_recipe_runs_on_the_published_formats(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")  # METEOR's Java would take seconds
    monkeypatch.setattr(chatter, "WORDS", [*chatter.WORDS, "yellow", "black", "white", "grey", "brown", "purple", "orange"])
    write_image_text(tmp_path / "datasets")
    backbone = save_backbone(tmp_path / "tiny", recipe.split("-")[1])
    out = tmp_path / "run"
    flags = ["--data", str(tmp_path / "datasets"), "--backbone", backbone, "--tower", "mini-vit", "--image-size", "64",
             "--visual-tokens", "36", "--epochs", "1", "--batch-size", "10", "--set", "rank=4", "--set", "gate_rank=4",
             "--set", "value_rank=4", "--out", str(out), "--device", "cpu", "--no-tensorboard"]
    assert main(["train", str(ROOT / "recipes" / recipe), *flags]) == 0
    result = json.loads((out / "result.json").read_text())
    assert set(result["tasks"]) == {"vqa", "gqa", "nlvr", "caption"}
    assert result["metrics"]["test"].keys() >= {"vqa", "nlvr", "caption"} and "gqa" in result["metrics"]["val"]
    assert (out / "report.html").is_file() and list((tmp_path / "run" / "adapter").glob("*.safetensors"))
    capsys.readouterr()
    assert main(["evaluate", str(out), "--split", "test", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result["metrics"]["test"]
    assert main(["compare", str(out)]) == 0
