"""Few-shot runs of two towers, end to end: every method, what a folder holds, how it is scored again and asked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matching_run import METHODS, NAMES, Field

import inarch
from inarch import backbones
from inarch.cli import main
from inarch.data.fewshot import prompts, read_fewshot
from inarch.errors import ConfigError, DataError
from inarch.evaluate import evaluate
from inarch.recipe import Recipe
from inarch.run import Run
from inarch.tasks.matching import harmonic
from inarch.tasks.wording import named
from inarch.train import train


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Field:
    return Field(tmp_path_factory.mktemp("field"))


@pytest.fixture(scope="module")
def runs(field, tmp_path_factory) -> dict[str, Path]:
    """A finished run of every method."""
    place = tmp_path_factory.mktemp("runs")
    return {method: train(field.recipe(place / method, method)) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_scores_base_and_novel_classes(runs, method):
    run = Run(runs[method])
    result, card = run.result(), run.card()
    base, novel = (result["metrics"][part]["accuracy"] for part in ("test", "novel"))
    assert result["fewshot"] == {"base": base, "novel": novel, "harmonic": harmonic(base, novel), "transfer": {}, "transfer_mean": None}
    assert card.classes == NAMES["base"] and card.data["templates"] == ["a photo of a {}."]
    assert [row["name"] for row in result["metrics"]["novel"]["per_class"]] == [*NAMES["novel"]]
    assert result["data"]["items_sha256"] == card.data["fewshot"]["items_sha256"]
    assert len(run.lines()) == (0 if method == "frozen" else 2)
    assert (run.folder / "gates.safetensors").exists() == (method == "adaring")
    with np.load(run.predictions) as kept:
        assert [kept[f"{part}_logits"].shape for part in ("val", "test", "novel")] == [(8, 4), (12, 4), (12, 4)]


@pytest.mark.parametrize("method", [method if method in ("adaring", "lora") else pytest.param(method, marks=pytest.mark.long)
                                    for method in METHODS])
def test_something_is_learned_and_the_base_is_not(runs, field, method):
    """The loss on what was seen falls (CLIP-Adapter does not start as the frozen model), and the backbone stays as it is."""
    first = backbones.load(field.clip).model
    again = inarch.Predictor(runs[method]).model
    own = dict(first.named_parameters())
    assert all(torch.equal(p, own[name]) for name, p in again.named_parameters() if name in own)
    now, before = (evaluate(runs[each], "train", device="cpu")["loss"] for each in (method, "frozen"))
    assert now < before + {"lora": 0, "context": 0, "clipadapter": 0.1}.get(method, 1e-3)


@pytest.mark.parametrize("method", ["adaring", "context", "frozen"])
@pytest.mark.parametrize("split", ["val", "test", "novel"])
def test_evaluate_gives_the_numbers_of_the_run(runs, method, split):
    assert evaluate(runs[method], split, device="cpu") == Run(runs[method]).result()["metrics"][split]


def test_evaluate_on_the_command_line(runs, capsys):
    assert main(["evaluate", str(runs["lora"]), "--split", "novel", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == Run(runs["lora"]).result()["metrics"]["novel"]


def test_a_run_without_adaptation_is_the_frozen_model(runs, field):
    """Base and novel logits are those of transformers' own CLIP on the same pixels and prompts."""
    from inarch.data import Transform

    backbone = backbones.load(field.clip)
    data, run = read_fewshot(field.data, shots=2), Run(runs["frozen"])
    with np.load(run.predictions) as kept:
        for part, half in (("test", data.learn()), ("novel", data.held())):
            assert half is not None and half.test is not None
            transform = Transform(run.card().view)
            pixels = torch.stack([transform(half.test.image(i)) for i in range(len(half.test))])
            words = backbone.model.tokenizer(prompts(half.classes), return_tensors="pt", padding=True)
            asked = {key: words[key] for key in ("input_ids", "attention_mask")}
            with torch.no_grad():
                expected = backbone.model.stock(pixel_values=pixels, **asked).logits_per_image
            assert np.allclose(kept[f"{part}_logits"], expected.numpy(), atol=1e-5, rtol=1e-5)


# other data and other names


@pytest.fixture(scope="module")
def other(field, tmp_path_factory) -> str:
    from fewshot_fixtures import write_sets

    root = write_sets(tmp_path_factory.mktemp("sets"), classes=4, names=["EuroSAT", "DescribableTextures", "Caltech101"])
    return str(root)


def test_other_data_is_scored_at_the_end_and_again(field, other, tmp_path):
    places = [f"coop:EuroSAT@{other}", f"coop:DTD@{other}", f"coop:EuroSAT@{other}"]
    run = train(field.recipe(tmp_path / "run", "lora", transfer=places))
    result = Run(run).result()
    scores = result["fewshot"]["transfer"]
    assert sorted(scores) == ["DescribableTextures", "EuroSAT", "EuroSAT-2"] and scores["EuroSAT"] == scores["EuroSAT-2"]
    assert result["fewshot"]["transfer_mean"] == pytest.approx(sum(scores.values()) / 3)
    for name, place in zip(("EuroSAT", "DescribableTextures"), places, strict=False):
        assert evaluate(run, data=place, device="cpu") == result["metrics"][name]


def test_coop_templates_follow_the_data(field, other, tmp_path):
    run = train(field.recipe(tmp_path / "run", "frozen", data=f"coop:Caltech101@{other}", templates="coop", transfer=[f"coop:dtd@{other}"]))
    assert Run(run).card().data["templates"] == ["a photo of a {}."]
    own = train(field.recipe(tmp_path / "own", "frozen", data=f"coop:dtd@{other}", templates="{} texture.", protocol="all"))
    assert Run(own).result()["metrics"]["test"] == Run(run).result()["metrics"]["DescribableTextures"]


def test_own_names_at_prediction(runs, field, capsys):
    predictor = inarch.Predictor(runs["lora"])
    images = str(field.folder / "red_circle")
    assert {found.label for found in predictor.predict(images)} <= {*NAMES["base"]}
    own = predictor.predict(images, top_k=9, names=[*NAMES["novel"]])
    assert set(own[0].labels) == {*NAMES["novel"]} and sum(own[0].probabilities) == pytest.approx(1)
    with np.load(Run(runs["lora"]).predictions) as kept:
        rows = [i for i, name in enumerate(kept["novel_names"]) if "red_circle" in name]
        best = [NAMES["novel"][k] for k in kept["novel_logits"][rows].argmax(1)]
    assert best == [found.label for found in own if "/test_" in found.name]
    assert {found.label for found in predictor.predict(images)} <= {*NAMES["base"]}  # as before
    assert main(["predict", str(runs["lora"]), images, "--names", "red circle, moon"]) == 0
    assert {line.split("  ")[1].rsplit(" ", 1)[0] for line in capsys.readouterr().out.splitlines()} <= {"red circle", "moon"}


@pytest.mark.parametrize("names", [["cat"], ["cat", "cat"], ["cat", " "], "cat"])
def test_names_that_leave_no_choice(runs, names):
    with pytest.raises(ConfigError, match="expected two names or more"):
        inarch.Predictor(runs["frozen"]).predict(np.zeros((8, 8), np.uint8), names=names)


def test_a_head_reads_no_names(tmp_path):
    from nursery import Nursery

    nursery = Nursery(tmp_path)
    run = train(nursery.recipe(tmp_path / "run", method="linear", epochs=1))
    with pytest.raises(ConfigError, match="a head for its own classes"):
        inarch.Predictor(run).predict(np.zeros((8, 8), np.uint8), names=["cat", "dog"])


# refused before anything is learned


@pytest.mark.parametrize("changes, said", [
    ({"backbone": "config:clip-vit-b16"}, "has no tokenizer"),
    ({"templates": ["a photo of a picture of the red orange yellow green blue purple circle square triangle cross star moon x {}."],
      "data": "LONG"}, "is 2[5-9] tokens long.*shorten the class name"),
    ({"templates": ["no hole"]}, "holds {} 0 times"),
    ({"templates": "coop"}, "none is published"),
    ({"transfer": ["coop:EuroSAT@nowhere"]}, "there is no nowhere/eurosat"),
    ({"transfer": ["coop:EuroSATT@nowhere"]}, "EuroSAT"),
    ({"transfer": ["nowhere.json"]}, "there is no nowhere.json"),
    ({"limit": 3}, "limit and fit"),
    ({"fit": "train+val"}, "limit and fit"),
    ({"method": "context", "set": {"length": 4}, "templates": ["{} texture."]}, "0 tokens before the class name.*length=4"),
    ({"method": "context", "set": {"length": 5}}, "'a photo of a {}.' has 4 tokens before"),
])
def test_refused(field, tmp_path, changes, said):
    if changes.get("data") == "LONG":
        changes = {**changes, "data": field.data}
    with pytest.raises((ConfigError, DataError), match=said):
        train(field.recipe(tmp_path / "run", **{"method": "frozen", **changes, "set": changes.get("set", {})}))
    assert not (tmp_path / "run").exists()


def test_context_from_nothing_brings_its_own_template(field, tmp_path):
    run = train(field.recipe(tmp_path / "run", "context", set={"length": 3, "init": "normal"}))
    assert Run(run).card().data["templates"] == ["X X X {}."]


def test_too_few_base_classes_for_a_probe(field, other, tmp_path):
    recipe = field.recipe(tmp_path / "run", data=f"coop:EuroSAT@{other}")
    with pytest.raises(ConfigError, match="2 base classes are too few"):
        train(recipe)
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize("address, name, place", [
    ("coop:dtd@x", "DescribableTextures", "x/dtd"), ("split:a/split_zhou_EuroSAT.json@b", "EuroSAT", "a/split_zhou_EuroSAT.json"),
    ("shots:f_train.jsonl@coop:UCF101@r", "UCF101", "f_train.jsonl"), ("pets/", "pets", "pets"), ("things:plain@1", None, None),
    ("digits", None, None),
])
def test_where_other_data_must_be(address, name, place):
    found = named(address)
    assert found[1] == (None if place is None else Path(place)) and (name is None or found[0] == name)


def test_harmonic():
    assert harmonic(None, 0.5) is None and harmonic(0.0, 0.0) == 0.0 and harmonic(0.5, 0.5) == 0.5


# settings


def test_recipe_mma_sets_the_released_optimisation(field, tmp_path):
    recipe = field.recipe(tmp_path / "run", recipe="mma")
    wanted = {"optimizer": "sgd", "lr": 0.0015, "epochs": 5, "weight_decay": 5e-4, "schedule": "cosine-epochs", "clip": 0.0,
              "warmup_epochs": 0.0, "warmup_lr": None, "keep_text": 0.0, "keep_image": 0.0, "keep_logits": 0.0, "probe": "off",
              "least_updates": 0, "most_updates": 0, "augment": "clip", "templates": ("a photo of a {}.",)}
    assert {key: getattr(recipe, key) for key in wanted} == wanted
    assert field.recipe(tmp_path / "run", recipe="mma", epochs=7).epochs == 7
    assert Recipe.parse({"data": "x", "backbone": field.clip, "recipe": "mma"}).batch_size == 16


def test_defaults_of_our_adaring():
    recipe = Recipe.parse({"data": "x", "backbone": "clip:x"})
    assert (recipe.method, recipe.probe, recipe.keep_text, recipe.keep_image, recipe.keep_logits, recipe.lr, recipe.batch_size) == (
        "adaring", "gates", 8.0, 2.0, 0.5, 1e-3, 16)
    single = Recipe.parse({"data": "x", "backbone": "clip:x", "set": {"ranks": [5]}})
    assert (single.probe, Recipe.parse({"data": "x", "backbone": "clip:x", "method": "mma"}).keep_text) == ("off", 0.0)
