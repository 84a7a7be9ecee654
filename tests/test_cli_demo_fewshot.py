"""``inarch demo fewshot``: complete in one folder, its table says what its runs say, its recipes train what they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import inarch
from inarch import backbones, demo_fewshot
from inarch.cli import main
from inarch.data.readers import things as reader
from inarch.recipe import Recipe
from inarch.scenes import things


@pytest.mark.long
def test_the_quick_demo_does_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(things, "PER_CLASS", {"train": 4, "val": 1, "test": 2})
    reader._drawn.cache_clear()
    monkeypatch.setattr(demo_fewshot, "ENTRIES", (demo_fewshot.ENTRIES[0], demo_fewshot.ENTRIES[3]))  # the others take the same path
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "fewshot", "--quick", "--threads", "1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    place = tmp_path / "inarch-demo"
    for name in ("zero-shot", "adaring"):
        result = json.loads((place / name / "result.json").read_text())
        assert f"{100 * result['fewshot']['harmonic']:.1f}" in said and f"{result['count']['trainable']:,}" in said
    assert "inarch compare" in said
    assert main(["compare", str(place)]) == 0
    assert main(["inspect", str(place / "adaring")]) == 0
    assert "gates" in capsys.readouterr().out


def test_the_recipes_of_the_demo_are_valid_and_what_they_train(tmp_path: Path) -> None:
    trained = {}
    for entry in demo_fewshot.ENTRIES:
        recipe = Recipe.parse(demo_fewshot.recipe_fields(entry, tmp_path, quick=False, threads=1))
        assert recipe.kind == "match" and recipe.probe == ("gates" if entry.method == "adaring" else "off")
        model = backbones.load(demo_fewshot.BACKBONE, device="meta", pretrained=False).model
        trained[entry.folder] = inarch.count(inarch.graft(model, recipe.method_config())).adapter
    assert trained == {"zero-shot": 0, "clip-lora": 18_432, "mma": 71_040, "adaring": 12_288}


def test_pictures_are_drawn_once_and_are_nobodys_to_change() -> None:
    style, _ = reader.style_and_seed("things:plain@3")
    first, again = (reader._drawn(style, 3, "val", 1) for _ in range(2))
    assert first is again and not first.flags.writeable
