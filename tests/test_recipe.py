"""Recipes: strict in, resolved out."""

import string
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.errors import ConfigError
from inarch.recipe import PRESET, Recipe, load_recipe
from inarch.toml import to_toml

BASE = {"data": "digits"}
NAN = float("nan")


def mutations(word: str) -> list[str]:
    """The word with one letter changed, in three places."""
    places = sorted({0, len(word) // 2, len(word) - 1})
    return [word[:i] + ("x" if word[i] != "x" else "y") + word[i + 1 :] for i in places]


def test_every_one_letter_typo_is_refused_and_nearly_all_are_corrected():
    typos = {typo: key for key in Recipe.model_fields for typo in mutations(key) if typo not in Recipe.model_fields}
    near = 0
    for typo, key in typos.items():
        with pytest.raises(ConfigError, match=f"unknown key '{typo}'") as caught:
            Recipe.parse(BASE | {typo: 1})
        near += f"did you mean '{key}'?" in str(caught.value)
    assert near >= 0.95 * len(typos), f"{near} of {len(typos)}"


WRONG = {  # a value of another type for every kind of field
    str: [4, 4.0, True, None, ["a"]],
    int: ["4", 4.0, True, None, [4]],
    float: ["0.1", True, None, [0.1], {"a": 1}],
    bool: ["true", 1, 0.0, None],
    dict: ["rank=4", 4, None, [1]],
}
FIELDS = {
    str: "data backbone method out image_column label_column features tower",
    int: "seed epochs batch_size accumulate workers threads keep evaluate_every eval_batch_size limit watch",
    float: "lr weight_decay clip val_fraction test_fraction checkpoint_every adam_eps",
    bool: "multilabel test tensorboard cache_features backbone_noise report",
    dict: "set",
}
KINDS = {name: kind for kind, names in FIELDS.items() for name in names.split()}


@pytest.mark.parametrize("key, kind", KINDS.items())
def test_a_value_of_another_type_is_refused_by_name(key, kind):
    for value in WRONG[kind]:
        with pytest.raises(ConfigError, match=f"{key}="):
            Recipe.parse(BASE | {key: value})


CHOICES = {
    "fit": "trian", "augment": "flop", "normalise": "imagnet", "precision": "fp23", "sampling": "balance", "resize": "sqush",
    "on_bad_image": "skipp", "selection": "vall", "device": "gpu", "head_init": "zero", "class_weights": "balance",
    "schedule": "linaer", "decay": "nobias", "data_order": "publishd",
}


@pytest.mark.parametrize("key, value", CHOICES.items())
def test_an_unknown_choice_names_the_known_ones(key, value):
    with pytest.raises(ConfigError, match=f"{key}='{value}'; expected '.*(did you mean|known)"):
        Recipe.parse(BASE | {key: value})


OUT_OF_RANGE = {
    "epochs": [0, -1], "batch_size": [0], "accumulate": [0], "lr": [0.0, -1e-3, NAN, float("inf")], "weight_decay": [-0.1],
    "clip": [-1.0, NAN], "val_fraction": [1.0, -0.1], "seed": [-1], "keep": [0], "image_size": [0], "data": [""],
    "checkpoint_every": [-1.0], "warmup_epochs": [-1.0], "workers": [-1], "eval_batch_size": [0],
    "limit": [-1], "watch": [-1], "beams": [0], "visual_tokens": [-1], "adam_eps": [0.0],
}


@pytest.mark.parametrize("key, values", OUT_OF_RANGE.items())
def test_out_of_range_is_refused_by_name(key, values):
    for value in values:
        with pytest.raises(ConfigError, match=f"{key}="):
            Recipe.parse(BASE | {key: value})


@pytest.mark.parametrize("fields, reason", [
    ({"epochs": 5, "warmup_epochs": 6.0}, "warmup_epochs"),
    ({"fit": "train+val", "selection": "val"}, "nothing to select on"),
    ({"sampling": "balanced", "class_weights": "balanced"}, "twice"),
    ({"multilabel": True, "sampling": "balanced"}, "one label per image"),
    ({"val_fraction": 0.6, "test_fraction": 0.4}, "no training images"),
    ({"tasks": ["vqa"]}, "tasks are answered by a vision-language backbone"),
    ({"features": "grids"}, "features or tower feed a vision-language backbone"),
    ({"tower": "mini-vit"}, "features or tower feed a vision-language backbone"),
    ({"data_order": "published"}, "is the order of a vision-language run"),
    ({"backbone": "vl:x", "tasks": ["vqa", "vqa"]}, "names a task twice"),
    ({"backbone": "vl:x", "multilabel": True}, "are of classification"),
    ({"backbone": "vl:x", "class_weights": "balanced"}, "are of classification"),
    ({"method": "arcs"}, "did you mean 'arc'"),
    ({"set": {"rnk": 4}}, "did you mean 'rank'"),
    ({"set": {"rank": 0}}, "rank=0"),
    ({"method": "linear", "set": {"rank": 4}}, "rank"),
])
def test_contradictions_and_method_fields_are_refused_early(fields, reason):
    with pytest.raises(ConfigError, match=reason):
        Recipe.parse(BASE | fields)


def test_missing_data_and_bad_files(tmp_path):
    with pytest.raises(ConfigError, match="data is missing"):
        Recipe.parse({})
    with pytest.raises(ConfigError, match="no recipe"):
        load_recipe(tmp_path / "absent.toml")
    bad = {"twice": b"lr = 0.1\nlr = 0.2\n", "no": b"lr = = 2", "bytes": b"data = '\xff'", "deep": b"a=" + b"[" * 100_000}
    for name, content in bad.items():
        path = tmp_path / f"{name}.toml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=f"{name}.toml"):
            load_recipe(path)


def test_bom_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "r.toml"
    path.write_bytes(b"\xef\xbb\xbfdata = 'digits'\r\nlr = 1\r\n[set]\r\nspans = ['attn']\r\n")
    recipe = load_recipe(path)
    assert recipe.lr == 1.0 and recipe.method_config().fields()["spans"] == ["attn"]


def test_resolved_recipe_reads_back_the_same(tmp_path):
    recipe = Recipe.parse({
        "data": 'odd "name"\\\n\x7f é', "backbone": "mini-vit", "set": {"rank": 7, "spans": ["mlp"], "layers": "2:"},
        "report_to": ["wandb"], "image_size": 32, "lr": 3e-5, "warmup_epochs": 0.5})
    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(recipe.model_dump()), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert load_recipe(path).differences(recipe) == []


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
plain = st.one_of(st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False), names,
                  st.lists(st.integers(), max_size=3), st.lists(names, max_size=3))


keys = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(keys, plain, max_size=5), st.dictionaries(names, plain, max_size=3))
def test_toml_writer_is_the_inverse_of_the_reader(flat, table):
    fields = flat | ({"zz-table": table} if table else {})
    assert tomllib.loads(to_toml(fields)) == fields


def test_differences_ignore_only_what_cannot_change_the_result():
    recipe = Recipe.parse(BASE)
    assert recipe.differences(Recipe.parse(BASE | {"out": "x", "workers": 2, "keep": 5, "set": {"rank": 50}})) == []
    assert recipe.differences(Recipe.parse(BASE | {"lr": 0.5, "set": {"rank": 8}})) != []


def test_learning_rate_depends_on_the_method_unless_it_is_given():
    assert [Recipe.parse(BASE | {"method": m}).lr for m in ("arc", "linear", "lora", "full")] == [1e-2, 1e-2, 5e-3, 5e-5]
    assert Recipe.parse(BASE | {"method": "full", "lr": 0.1}).lr == 0.1


@pytest.mark.parametrize("backbone, generates", [
    ("vl:facebook/bart-base", True), ("config:vl-t5-base", True), ("mini-vl", True), ("mini-vit", False), ("hf:vl:odd", False),
    ("mini-vlx", False),
])
def test_the_backbone_says_which_kind_of_run_it_is(backbone, generates):
    recipe = Recipe.parse(BASE | {"backbone": backbone})
    assert recipe.generates == generates
    assert (recipe.method, recipe.epochs, recipe.thaw, recipe.lr) == (
        ("vlpet", 20, (), 1e-3) if generates else ("arc", 100, ("head",), 1e-2))


def test_defaults_of_a_run_that_generates_give_way():
    fields = BASE | {"backbone": "vl:x"}
    assert Recipe.parse(fields | {"method": "full"}).lr == 1e-4 and Recipe.parse(fields | {"method": "lora"}).lr == 1e-3
    recipe = Recipe.parse(fields | {"epochs": 3, "lr": 0.5, "method": "lora", "thaw": ["norms"]})
    assert (recipe.epochs, recipe.lr, recipe.method, recipe.thaw) == (3, 0.5, "lora", ("norms",))


def test_a_vision_language_folder_without_its_scheme_gets_it(tmp_path):
    (tmp_path / "vision_language.json").write_text("{}")
    assert Recipe.parse(BASE | {"backbone": str(tmp_path)}).backbone == f"vl:{tmp_path}"


def test_folder_names_what_is_trained():
    fields = {"data": "../shared/data/pets.npz", "backbone": "timm:vit_tiny@w/x.safetensors", "method": "lora", "seed": 3}
    recipe = Recipe.parse(fields)
    assert str(recipe.folder()) == "runs/pets-vit_tiny-lora-3"


def test_the_preset_is_the_documented_one():
    from inarch.backbones import HUB_PRESET

    assert HUB_PRESET.address == PRESET
