"""``inarch demo classify``: complete in one folder, honest in its table, and never on top of an earlier one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from inarch import demo
from inarch.cli import main
from inarch.errors import ConfigError
from inarch.recipe import Recipe


@pytest.mark.long
def test_the_quick_demo_does_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    small = tuple(entry for entry in demo.ENTRIES if entry.method != "lora")  # LoRA takes the same path as ARC
    monkeypatch.setattr(demo, "ENTRIES", small)
    monkeypatch.setattr(demo, "QUICK", {"epochs": 1, "image_size": 16})  # 5 tokens instead of 65
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "classify", "--quick", "--threads", "1"]) == 0
    said = capsys.readouterr().out
    place = tmp_path / "inarch-demo"
    result = json.loads((place / "arc" / "result.json").read_text())
    assert f"{100 * result['metrics']['test']['accuracy']:.1f} %" in said and f"{result['count']['without_head']:,}" in said
    assert "same class for 597 of 597" in said and "inarch train YOUR-IMAGES/" in said
    with Image.open(place / "digits.png") as plot:
        assert plot.size[0] > 500
    assert (place / "arc-plain" / "model.safetensors").is_file()


def test_a_second_demo_takes_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo.fresh_place(None) == Path("inarch-demo")
    for name in ("inarch-demo", "inarch-demo-2"):
        (tmp_path / name).mkdir()
    assert demo.fresh_place(None) == Path("inarch-demo-3")


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert demo.fresh_place(str(tmp_path / "mine")) == tmp_path / "mine"
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        demo.fresh_place(str(tmp_path / "mine"))


def test_the_recipes_of_the_demo_are_valid_and_train_less_than_lora(tmp_path: Path) -> None:
    import inarch
    from inarch import backbones

    trained = {}
    for entry in demo.ENTRIES:
        recipe = Recipe.parse(demo.recipe_fields(entry, tmp_path, quick=False, threads=1))
        model = backbones.load(demo.BACKBONE, classes=10, device="meta", pretrained=False).model
        trained[entry.method] = inarch.count(inarch.graft(model, recipe.method_config(), thaw="head")).without_head
    assert trained == {"linear": 0, "lora": 24_576, "arc": 5_824}
