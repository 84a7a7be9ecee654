"""The vision-language recipes: every file parses, says what it is, and carries the published settings; an ablation changes one thing."""

import re
from pathlib import Path

import pytest

import inarch
from inarch import backbones
from inarch.recipe import Recipe, load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
FILES = sorted([*RECIPES.glob("vlpet-*.toml"), *RECIPES.glob("vl-*.toml"), *RECIPES.glob("ablations/*.toml")])
GATES = ("small", "middleX", "middleY", "large")
VIDEO = ("tvqa", "how2qa", "tvc", "yc2c")
BASE = {"vl:facebook/bart-base": "config:vl-bart-base", "vl:t5-base": "config:vl-t5-base"}
RATE = {"image": {"vl:facebook/bart-base": (1e-3, 500), "vl:t5-base": (3e-4, 300)}, "video": {"vl:facebook/bart-base": (7e-4, 50)}}


def test_every_variant_has_its_recipe():
    names = {path.stem for path in RECIPES.glob("vlpet-*.toml")}
    assert names == {f"vlpet-{kind}-{gate}" for kind in ("bart-image", "t5-image", "bart-video") for gate in GATES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_parses_and_is_as_published(path):
    recipe = load_recipe(path)
    kind = "video" if recipe.tasks == VIDEO else "image"
    assert (recipe.epochs, recipe.warmup(), recipe.schedule, recipe.adam_eps, recipe.weight_decay, recipe.decay, recipe.clip) == (
        20, 2, "linear", 1e-6, 0.01, "no-bias", 5)
    assert recipe.backbone_noise and recipe.data_order == "published" and recipe.precision == "fp32" and recipe.generates
    assert (recipe.selection, recipe.visual_tokens) == (("val", 64) if kind == "video" else ("none", None))
    rate, batch = RATE[kind][recipe.backbone]
    assert recipe.batch_size == batch
    if recipe.method == "vlpet":
        assert recipe.lr == rate and recipe.set["gate"] in (*GATES, "none")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recipe_opens_with_its_command_and_says_what_was_run(path):
    top = path.read_text().split("\ndata = ")[0].splitlines()
    assert top[0] == f"# inarch train {path.relative_to(RECIPES.parent)} --data datasets/ --seed 42"
    assert all(line.startswith("#") and len(line) <= 140 for line in top)
    assert any(line.startswith("# Published") for line in top) and any(line.startswith("# Here: not run") for line in top)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_numbers_in_a_recipe_are_counted(path):
    recipe = load_recipe(path)
    place = BASE[recipe.backbone] + ("-video" if recipe.tasks == VIDEO else "")
    model = backbones.load(place, device="meta", pretrained=False).model
    count = inarch.count(inarch.graft(model, recipe.method_config(), thaw=recipe.thaw))
    (said,) = re.findall(r"counted: ([\d,]+)", path.read_text())
    assert count.trainable == int(said.replace(",", ""))
    for percent in re.findall(r"([\d.]+) % trained\n", path.read_text()) + re.findall(r"counted: .* = ([\d.]+) %", path.read_text()):
        assert round(count.percent, 2) == float(percent)


def changed(path: Path) -> dict[str, tuple[object, object]]:
    """What differs from the recipe of VL-PET small, fields of the method as well."""
    flat = lambda recipe: recipe.model_dump(exclude={"set"}) | recipe.method_config().fields()  # noqa: E731
    one, other = flat(load_recipe(RECIPES / "vlpet-bart-image-small.toml")), flat(load_recipe(path))
    return {key: (one[key], other[key]) for key in one if one[key] != other[key]}


ABLATIONS = {"encoder-norms-frozen": {"encoder_norms": (True, False)}, "gate-none": {"gate": ("small", "none")},
             "decoder-key": {"decoder": (["value"], ["key"])}, "decoder-cross": {"decoder": (["value"], ["cross"])},
             "decoder-attn": {"decoder": (["value"], ["attn"])},
             "single-task": {"tasks": (("vqa", "gqa", "nlvr", "caption"), ("nlvr",))}}


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_changes_one_thing(name):
    assert changed(RECIPES / "ablations" / f"vlpet-bart-image-{name}.toml") == ABLATIONS[name]


def test_no_ablation_is_left_out_here():
    assert {path.stem.removeprefix("vlpet-bart-image-") for path in RECIPES.glob("ablations/*.toml")} == set(ABLATIONS)


def test_a_wrong_key_would_be_refused(tmp_path):
    text = FILES[0].read_text().replace("batch_size", "batchsize")
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(inarch.InarchError, match="batchsize"):
        load_recipe(tmp_path / "r.toml")
    assert isinstance(load_recipe(FILES[0]), Recipe)
