"""Suites: the package's parse and are what they say, a file of one's own is read strictly, nothing in it leads out of the root."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT

from inarch.data.fewshot.sets import SETS
from inarch.data.readers.vtab import CLASSES
from inarch.errors import ConfigError
from inarch.recipe import Recipe, load_recipe
from inarch.suites import load_suite, names
from inarch.suites.suite import below

OWN = """
title = "Mine"
backbone = "mini-vit"
methods = ["arc", "pkg.mod:Mine"]
[recipe]
epochs = 3
[rates]
arc = [1e-2, 1e-3]
[settings.arc]
set = { rank = 4 }
[tasks.pets]
data = "pets"
group = "natural"
recipe = { epochs = 5 }
"""


def own(folder: Path, text: str = OWN, name: str = "mine.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_the_names_of_the_package() -> None:
    assert names() == ["fewshot-11", "fgvc", "local", "local-8", "vl-image", "vl-video", "vtab-1k"]


@pytest.mark.parametrize("name", names())
def test_a_suite_says_where_its_data_come_from_and_who_reads_them(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name and suite.tasks and suite.methods and len(suite.seeds) == 3
    assert suite.about.keys() == {"papers", "protocol", "layout", "reader", "download"} and all(suite.about.values())
    folder, *rest = suite.about["reader"].split(", ")
    files = [folder, *(one if "/" in one else f"{Path(folder).parent}/{one}" for one in rest)]
    assert all((ROOT / file).is_file() for file in files), files
    assert all(1 <= len(suite.rates_of(method)) <= 3 for method in suite.methods)


def test_vtab_has_the_nineteen_tasks_of_the_reader_in_three_groups() -> None:
    suite = load_suite("vtab-1k")
    assert [task.name for task in suite.tasks] == [*CLASSES]
    assert {group: len(tasks) for group, tasks in suite.groups.items()} == {"natural": 7, "specialised": 4, "structured": 8}
    assert all(task.download for task in suite.tasks)


def test_fewshot_has_the_eleven_sets_with_their_published_sizes() -> None:
    suite = load_suite("fewshot-11")
    assert [task.name for task in suite.tasks] == [*SETS][:11] and suite.seeds == (1, 2, 3)
    for task in suite.tasks[1:]:  # ImageNet's training part is stated in words
        assert "/".join(f"{size:,}" for size in SETS[task.name].sizes) in task.download, task.name


def test_local_has_a_set_of_every_group_and_the_eight_two_at_least() -> None:
    assert {task.name for task in load_suite("local").tasks} == {"eurosat10", "clothing10", "nlvr_xtop8", "omniglot8"}
    assert [*load_suite("local").groups] == ["natural", "specialised", "structured"]
    assert {group: len(tasks) for group, tasks in load_suite("local-8").groups.items()} == {"natural": 2, "specialised": 3, "structured": 3}
    fields = load_suite("local").fields(load_suite("local").tasks[0], "/data", "arc")
    assert fields["data"] == "/data/clothing10.npz" and fields["set"] == {"rank": 50, "dropout": 0.1}
    assert fields["backbone"].startswith("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k@/data/vit_tiny") and "{" not in fields["backbone"]


RECIPES = [("fewshot-11", "EuroSAT", method, f"fewshot-{file}", 1) for method, file in
           {"mma": "mma", "context": "coop", "lora": "clip-lora", "clipadapter": "clip-adapter", "adaring": "adaring"}.items()]
RECIPES += [("vl-image", "image-text", method, f"vl-bart-image-{method}", 42) for method in
            ("bitfit", "prompt", "compacter", "hyperformer", "lora", "bottleneck", "full")]
RECIPES += [(f"vl-{kind}", f"{kind}-text", "vlpet", f"vlpet-bart-{kind}-large", 42) for kind in ("image", "video")]


@pytest.mark.parametrize("suite, task, method, recipe, seed", RECIPES, ids=[row[3] for row in RECIPES])
def test_a_suite_runs_a_method_as_its_recipe_does(suite: str, task: str, method: str, recipe: str, seed: int) -> None:
    """Two places say the published settings; they say the same."""
    found = load_suite(suite)
    one = next(each for each in found.tasks if each.name == task)
    (rate,) = found.rates_of(method)
    mine = Recipe.parse(found.fields(one, "datasets", method) | {"method": method, "lr": rate, "seed": seed})
    assert [line for line in mine.differences(load_recipe(ROOT / "recipes" / f"{recipe}.toml")) if not line.startswith("data:")] == []


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    suite = load_suite(own(tmp_path))
    (task,) = suite.tasks
    assert (suite.name, suite.seeds, suite.methods, suite.groups) == ("mine", (0, 1, 2), ("arc", "pkg.mod:Mine"), {"natural": ("pets",)})
    assert suite.rates_of("arc") == (1e-2, 1e-3) and suite.rates_of("lora") == (1e-2, 3e-3, 1e-3)
    assert suite.fields(task, "root", "arc") == {"epochs": 5, "set": {"rank": 4}, "data": "root/pets", "backbone": "mini-vit"}


def test_addresses_below_the_root() -> None:
    assert below("a/b.npz", "root") == "root/a/b.npz" and below(".", "root") == "root"
    assert below("coop:EuroSAT@{data}", "root") == "coop:EuroSAT@root"
    assert below("digits", "root") == "digits" and below("datasets:org/pets", "root") == "datasets:org/pets"


@pytest.mark.parametrize("change, said", [
    (("epochs = 3", "epoch = 3"), "recipe: unknown key 'epoch'; did you mean 'epochs'"),
    (("[recipe]", "[recipes]"), "unknown key 'recipes'; did you mean 'recipe'"),
    (("group =", "grup ="), "tasks.pets: unknown key 'grup'; did you mean 'group'"),
    (("epochs = 3", "epochs = 'many'"), "recipe: epochs='many'; expected a valid integer"),
    (("epochs = 5", "lr = 0.1"), "tasks.pets: lr is not the recipe's in a suite; give rates"),
    (("epochs = 5", "set = {}"), "give it to the settings of a method"),
    (('data = "pets"', 'data = "../pets"'), "tasks.pets: data is '../pets', which leaves the root"),
    (('data = "pets"', 'data = "/etc/pets"'), "'/etc/pets', which leaves the root"),
    (('data = "pets"', 'data = "~/pets"'), "which leaves the root"),
    (('data = "pets"', 'data = "coop:EuroSAT@/data"'), "which leaves the root"),
    (('data = "pets"', 'data = "coop:EuroSAT@{data}/../x"'), "which leaves the root"),
    (('"mini-vit"', '"timm:vit@{data}/../w.safetensors"'), "backbone is .* which leaves the root"),
    (('data = "pets"\n', ""), "tasks.pets: data is missing"),
    (("[tasks.pets]", '[tasks."../pets"]'), "expected a table .tasks.NAME., its name of letters"),
    (('["arc", ', '["ark", '), "methods: no method 'ark'; did you mean 'arc'"),
    (("arc = [1e-2, 1e-3]", "arc = [0]"), "rates.arc is .0.; expected a list of learning rates above 0"),
    (("arc = [1e-2, 1e-3]", "arc = []"), "rates.arc is ..; expected a list"),
    (("rank = 4", "rnk = 4"), "did you mean 'rank'"),
    (("[recipe]", "seeds = [1, 1]\n[recipe]"), "seeds is .1, 1.; expected different whole numbers"),
    (("[recipe]", "seeds = [true]\n[recipe]"), "seeds is .True.; expected different whole numbers"),
    (('title = "Mine"', "title = 3"), "title is 3; expected a text"),
    (('title = "Mine"', ""), "title is missing or empty"),
])  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert OWN.count(change[0]) == 1
    with pytest.raises(ConfigError, match=said) as refused:
        load_suite(own(tmp_path, OWN.replace(*change)))
    assert "mine.toml" in str(refused.value)


def test_an_unknown_suite_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape("no suite 'lokal'; did you mean 'local'?; one of your own is the path of a .toml")):
        load_suite("lokal")
    with pytest.raises(ConfigError, match=r"no suite .*gone\.toml"):
        load_suite(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load_suite(own(tmp_path, "title = "))
