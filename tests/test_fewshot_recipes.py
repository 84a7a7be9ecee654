"""The few-shot recipes: every file parses, says what it is and what was run, counts rightly, and takes a step on the data's formats."""

import re
from pathlib import Path

import pytest
import tiny_clip
from fewshot_fixtures import write_sets

import inarch
from inarch import backbones
from inarch.data.fewshot import SETS
from inarch.recipe import load_recipe
from inarch.run import Run
from inarch.train import train

RECIPES = Path(__file__).parents[1] / "recipes"
FILES = sorted(RECIPES.glob("fewshot-*.toml"))
TEN = ("Caltech101", "OxfordPets", "StanfordCars", "OxfordFlowers", "Food101", "FGVCAircraft", "SUN397", "DTD", "EuroSAT", "UCF101")
FOUR = ("ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR")
MMA = {"optimizer": "sgd", "lr": 1.5e-3, "weight_decay": 5e-4, "schedule": "cosine-epochs", "clip": 0.0, "augment": "clip",
       "keep_text": 0.0, "keep_image": 0.0, "keep_logits": 0.0, "probe": "off", "least_updates": 0, "most_updates": 0}

each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def test_every_method_of_the_frame_has_its_recipe():
    few = {"zero-shot", "adaring", "adaring-parity", "mma", "clip-lora", "coop", "clip-adapter"}
    assert {path.stem.removeprefix("fewshot-") for path in FILES} == few | {f"imagenet-{name}" for name in ("zero-shot", "adaring", "mma")}


@each
def test_a_recipe_parses_and_is_what_it_says(path):
    recipe = load_recipe(path)
    assert recipe.backbone == "clip:openai/clip-vit-base-patch16" and recipe.shots == 16 and recipe.kind == "match" and recipe.thaw == ()
    assert recipe.templates == (("coop",) if recipe.method == "frozen" else ("a photo of a {}.",))
    imagenet = "imagenet" in path.stem
    assert recipe.protocol == ("all" if imagenet else "base-to-novel")
    assert recipe.transfer == (tuple(f"coop:{name}@datasets" for name in (*TEN, *FOUR)) if imagenet else ())
    if recipe.recipe == "mma":
        assert {key: getattr(recipe, key) for key in MMA} == MMA
        assert (recipe.batch_size, recipe.epochs) == ((128, 1) if imagenet else (16, 5))


@each
def test_a_recipe_opens_with_its_command_and_says_what_was_run(path):
    top = path.read_text().split("\ndata = ")[0].splitlines()
    data = "ImageNet" if "imagenet" in path.stem else "EuroSAT"
    assert top[0] == f"# inarch train recipes/{path.name} --data coop:{data}@datasets --seed 1"
    assert all(line.startswith("#") and len(line) <= 140 for line in top)
    assert any(line.startswith("# Published") for line in top) and any(line.startswith("# Here: not run") for line in top)


@each
def test_the_numbers_in_a_recipe_are_counted(path):
    recipe = load_recipe(path)
    model = backbones.load("config:clip-vit-b16", device="meta", pretrained=False).model
    (said,) = re.findall(r"counted: ([\d,]+)", path.read_text())
    assert inarch.count(inarch.graft(model, recipe.method_config())).trainable == int(said.replace(",", ""))


def column(path: Path) -> list[tuple[float, float]]:
    """Base and novel of the eleven sets, as the recipe prints them."""
    return [(float(a), float(b)) for a, b in re.findall(r"(?:ImageNet|\w*\d*) (\d\d\.\d\d)/(\d\d\.\d\d)(?=   |\n)", path.read_text())]


@pytest.mark.parametrize("name, base, novel", [("zero-shot", 69.34, 74.22), ("mma", 83.20, 76.80), ("coop", 82.69, 63.22)])
def test_printed_columns_have_the_printed_average(name, base, novel):
    found = column(RECIPES / f"fewshot-{name}.toml")
    assert len(found) == 11
    for k, average in enumerate((base, novel)):
        assert sum(pair[k] for pair in found) / 11 == pytest.approx(average, abs=0.011)
    assert f"average {base:.2f}/{novel:.2f}" in (RECIPES / f"fewshot-{name}.toml").read_text()


def test_parity_changes_the_parameterisation_alone():
    flat = [load_recipe(RECIPES / f"fewshot-{name}.toml").model_dump() for name in ("mma", "adaring-parity")]
    assert {key for key in flat[0] if flat[0][key] != flat[1][key]} == {"method", "set"}
    ring = load_recipe(RECIPES / "fewshot-adaring-parity.toml").method_config()
    assert (ring.scale, ring.bias, ring.init, len(ring.ranks), ring.layers, ring.bottleneck) == (0.001, True, "mma", 1, "-8:", 32)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A few sets of every layout, with classes enough for a probe, and a tiny backbone."""
    place = tmp_path_factory.mktemp("datasets")
    write_sets(place, classes=8, sizes={"train": 3, "val": 1, "test": 1},
               names=["ImageNet", "EuroSAT", "DescribableTextures", "FGVCAircraft", "ImageNetA", "ImageNetV2"])
    tiny_clip.folder(place / "clip", text_depth=tiny_clip.DEPTH)
    return place


def fitted(path: Path, root: Path, data: str, out: Path):
    """The recipe on the fixtures, at a size that takes a second: one epoch, one update, layers and ranks that the tiny towers have."""
    recipe = load_recipe(path)
    place = f"coop:{data}@{root}"
    own = recipe.set | ({"layers": "-2:"} if "layers" in recipe.set else {})
    few = {"epochs": 1, "least_updates": 0, "most_updates": 1, "warmup_epochs": 0.0}
    transfer = tuple(f"coop:{name}@{root}" for name in ("EuroSAT", "DTD", "ImageNetA")) if recipe.transfer else ()
    return recipe.model_copy(update={
        "data": place, "backbone": f"clip:{root / 'clip'}", "out": str(out), "set": own, "transfer": transfer, "tensorboard": False,
        "report": False, "device": "cpu", "templates": ("a photo of a {}.",) if recipe.templates == ("coop",) else recipe.templates,
        "batch_size": 8, "eval_batch_size": 16} | few)


@pytest.mark.long
@each
def test_a_recipe_takes_a_step(path, root, tmp_path):
    data = "ImageNet" if "imagenet" in path.stem else "EuroSAT"
    run = Run(train(fitted(path, root, data, tmp_path / "run")))
    result = run.result()
    assert [line["updates"] for line in run.lines()] == ([] if result["method"] == "frozen" else [1])
    if data == "ImageNet":
        assert set(result["fewshot"]["transfer"]) == {"EuroSAT", "DescribableTextures", "ImageNetA"} and len(run.card().classes) == 8
    else:
        assert result["fewshot"]["harmonic"] is not None and len(run.card().classes) == 4


@pytest.mark.long
@pytest.mark.parametrize("name", ["ImageNet", "FGVCAircraft", "DescribableTextures"])
def test_a_recipe_works_for_another_set_by_its_name(name, root, tmp_path):
    assert name in SETS
    run = Run(train(fitted(RECIPES / "fewshot-mma.toml", root, name, tmp_path / "run")))
    assert run.result()["fewshot"]["novel"] is not None and run.result()["data"]["dataset"] == name
