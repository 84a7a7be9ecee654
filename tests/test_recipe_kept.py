"""A run's recipe as its folder keeps it: what is read again is what was trained, a None that is no default among it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from inarch.errors import InarchError
from inarch.methods import configured
from inarch.methods.registry import METHODS, SETTINGS
from inarch.recipe import Recipe
from inarch.run import Run

NAMES = sorted({*METHODS, *SETTINGS, "peft:lora"})


def read_again(recipe: Recipe, folder: Path) -> Recipe:
    run = Run(folder)
    run.write_recipe(recipe)
    return run.recipe()


@pytest.mark.parametrize("name", NAMES)
def test_a_method_is_read_as_it_was_written_whatever_is_none(tmp_path, name):
    usual = configured(name, {})
    for field in [None, *(field.name for field in dataclasses.fields(usual))]:
        try:
            set = usual.fields() | ({field: None} if field else {})
            recipe = Recipe.parse({"data": "digits", "backbone": "mini-vit", "method": name, "set": set, "out": str(tmp_path)})
        except InarchError:  # a field that cannot be None
            continue
        assert read_again(recipe, tmp_path).method_config() == recipe.method_config(), field


def test_all_layers_of_adaring_stay_all(tmp_path):
    """Its default is the last eight blocks: left out of the file, None would come back as these."""
    recipe = Recipe.parse({"data": "digits", "backbone": "mini-vit", "method": "adaring", "set": {"layers": None}, "out": str(tmp_path)})
    assert read_again(recipe, tmp_path).method_config().layers is None
    assert 'layers = "null"' in (tmp_path / "recipe.toml").read_text()
    assert configured("adaring", {"layers": "null"}).layers is None


@pytest.mark.parametrize("backbone", ["mini-vit", "mini-clip", "mini-vl"])
def test_a_recipe_is_read_as_it_was_written_whatever_is_none(tmp_path, backbone):
    usual = Recipe.parse({"data": "x.npz", "backbone": backbone, "out": str(tmp_path)})
    free = [name for name, field in Recipe.model_fields.items() if field.default is None]
    assert free
    for name in free:
        recipe = Recipe.parse(usual.model_dump() | {name: None, "set": usual.method_config().fields()})
        assert read_again(recipe, tmp_path).model_dump() == recipe.model_dump() | {"set": read_again(recipe, tmp_path).set}, name
