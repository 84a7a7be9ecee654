"""Recipes: strict in, resolved out."""

import string
import tomllib
import types
from typing import Annotated, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch.errors import ConfigError
from inarch.recipe import PRESET, Recipe, load_recipe
from inarch.toml import to_toml

BASE = {"data": "digits"}
NAN, INF = float("nan"), float("inf")


def mutations(word: str) -> list[str]:
    """The word with one letter changed, in three places."""
    places = sorted({0, len(word) // 2, len(word) - 1})
    return [word[:i] + ("x" if word[i] != "x" else "y") + word[i + 1 :] for i in places]


@pytest.mark.row("B1", "one letter of a recipe's key changed")
def test_every_one_letter_typo_is_refused_and_nearly_all_are_corrected(tried):
    """`ConfigError` names the key, and the nearest known one in at least 95 % of the typos."""
    typos = {typo: key for key in Recipe.model_fields for typo in mutations(key) if typo not in Recipe.model_fields}
    near = 0
    for typo, key in typos.items():
        with pytest.raises(ConfigError, match=f"unknown key '{typo}'") as caught:
            Recipe.parse(BASE | {typo: 1})
        near += f"did you mean '{key}'?" in str(caught.value)
    assert near >= 0.95 * len(typos), f"{near} of {len(typos)}"
    tried(len(typos))


VALUES = ["4", 4, 4.0, True, None, ["a"], [4], [True], [None], {"a": 1}, [["a"]]]  # of every type that TOML or a program could hand over
FITS = {  # which of them a field of this type may hold; a list of texts is also written with commas
    str: lambda v: type(v) is str, bool: lambda v: type(v) is bool, int: lambda v: type(v) is int,
    float: lambda v: type(v) in (int, float), type(None): lambda v: v is None, dict: lambda v: isinstance(v, dict),
    tuple: lambda v: type(v) is str or (type(v) is list and all(type(item) is str for item in v)),
}


def kinds(annotation) -> set[type]:
    """The plain types below bounds, choices and ``| None``."""
    if get_origin(annotation) in (Union, types.UnionType):
        return set().union(*map(kinds, get_args(annotation)))
    if get_origin(annotation) is Annotated:
        return kinds(get_args(annotation)[0])
    return {str} if get_origin(annotation) is Literal else {get_origin(annotation) or annotation}


@pytest.mark.row("B2", "a value of another type in every field of a recipe")
def test_a_value_of_another_type_is_refused_by_name(tried):
    """`ConfigError` names the field, what was found and what was expected; nothing is coerced."""
    for key, field in Recipe.model_fields.items():
        expected = kinds(field.annotation)
        assert expected <= FITS.keys(), f"{key}: {expected}; give the test its rule"
        for value in VALUES:
            if not any(FITS[kind](value) for kind in expected):
                with pytest.raises(ConfigError, match=rf"{key}(\.\d+)?=.*expected"):
                    Recipe.parse(BASE | {key: value})
                tried(1)


CHOICES = {
    "fit": "trian", "augment": "flop", "normalise": "imagnet", "precision": "fp23", "sampling": "balance", "resize": "sqush",
    "on_bad_image": "skipp", "selection": "vall", "device": "gpu", "head_init": "zero", "class_weights": "balance",
    "schedule": "linaer", "decay": "nobias", "data_order": "publishd",
}


@pytest.mark.parametrize("key, value", CHOICES.items())
def test_an_unknown_choice_names_the_known_ones(key, value):
    with pytest.raises(ConfigError, match=f"{key}='{value}'; expected '.*(did you mean|known)"):
        Recipe.parse(BASE | {key: value})


COUNT, FROM_ZERO = [0, -1, 1 << 31, 10**400], [-1, 1 << 31, 10**400]
NUMBER, ABOVE_ZERO = [-0.1, NAN, INF, -INF, 10**400], [0, -0.1, NAN, INF, -INF, 10**400]
SHARE = [*NUMBER, 1.0]
OUT_OF_RANGE = {
    **dict.fromkeys(("epochs", "batch_size", "accumulate", "keep", "image_size", "eval_batch_size", "beams"), COUNT),
    **dict.fromkeys(("limit", "watch", "workers", "threads", "visual_tokens", "shots", "names_per_update", "least_updates",
                     "most_updates", "skip_nonfinite", "split_seed", "evaluate_every"), FROM_ZERO),
    **dict.fromkeys(("lr", "adam_eps"), ABOVE_ZERO), **dict.fromkeys(("val_fraction", "test_fraction", "probe_share"), SHARE),
    **dict.fromkeys(("weight_decay", "clip", "checkpoint_every", "warmup_epochs", "warmup_lr", "keep_text", "keep_image", "keep_logits",
                     "keep_scale"), NUMBER),
    "seed": [-1, 1 << 63], "data": [""], "backbone": [""], "method": [""],
}


@pytest.mark.row("B3", "a number of a recipe out of its range, infinite, or not a number")
def test_out_of_range_is_refused_by_name(tried):
    """`ConfigError` names the field and its range, for every number that a recipe has."""
    numbers = {key for key, field in Recipe.model_fields.items() if kinds(field.annotation) & {int, float}}
    assert numbers <= OUT_OF_RANGE.keys(), numbers - OUT_OF_RANGE.keys()
    for key, values in OUT_OF_RANGE.items():
        for value in values:
            with pytest.raises(ConfigError, match=f"{key}="):
                Recipe.parse(BASE | {key: value})
        tried(len(values))


TOWERS = {"backbone": "clip:x"}


@pytest.mark.row("B4", "two fields of a recipe that contradict each other")
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
    ({"keep_text": 1.0}, "are of two towers"),
    ({"recipe": "mma"}, "are of two towers"),
    ({"transfer": ["digits"]}, "are of two towers"),
    ({"probe": "gates"}, "compare with the names of classes"),
    (TOWERS | {"protocol": "retrieval", "names_per_update": 99}, "compare with the names of classes"),
    ({"protocol": "retrieval"}, "needs two towers"),
    (TOWERS | {"least_updates": 9, "most_updates": 8}, "most_updates is less than least_updates"),
    (TOWERS | {"names_per_update": 2, "batch_size": 4}, "names_per_update is less than a batch may need"),
    (TOWERS | {"sampling": "balanced"}, "are of classification"),
])
def test_contradictions_and_method_fields_are_refused_early(fields, reason):
    """`ConfigError` names both fields and what to choose, before anything is read."""
    with pytest.raises(ConfigError, match=reason):
        Recipe.parse(BASE | fields)


@pytest.mark.row("B3", "NUL, or bytes that are not UTF-8, in a text of a recipe")
@pytest.mark.parametrize("bad", ["a\0b", "\udcff"])
def test_text_that_could_not_be_stored_is_refused_by_name(bad, tried):
    """`ConfigError` names the field: what a run stores could not be read again."""
    for key in ("data", "out", "backbone", "tower", "image_column"):
        with pytest.raises(ConfigError, match=f"{key} holds "):
            Recipe.parse(BASE | {key: bad})
        tried(1)
    for key, value in {"thaw": ["head", bad], "templates": bad, "set": {"targets": [bad]}}.items():
        with pytest.raises(ConfigError, match=f"{key} holds "):
            Recipe.parse(BASE | {key: value})
        tried(1)


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


@pytest.mark.row("B5", "a byte-order mark, Windows line ends and tabs")
def test_bom_and_windows_line_ends_are_read(tmp_path):
    """The recipe is read as if they were not there."""
    path = tmp_path / "r.toml"
    path.write_bytes(b"\xef\xbb\xbfdata = 'digits'\r\n\tlr\t=\t1\r\n[set]\r\nspans = ['attn']\r\n")
    recipe = load_recipe(path)
    assert recipe.lr == 1.0 and recipe.method_config().fields()["spans"] == ["attn"]


def test_a_recipe_that_could_not_be_read_again_is_not_written():
    with pytest.raises(ConfigError, match="at most 65,536 are read again"):
        to_toml({"templates": ["a photo of a {}."] * 4000})


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
