"""A linear probe on few-shot data: the classification task reads the shots of the classes to be learned, and no others."""

from pathlib import Path

import pytest
import tiny_clip
from fewshot_fixtures import write_sets

from inarch.data.fewshot import read_fewshot
from inarch.errors import DataError
from inarch.evaluate import evaluate
from inarch.recipe import load_recipe
from inarch.run import Run
from inarch.train import train

RECIPE = Path(__file__).parents[1] / "recipes/probe-clip-fewshot.toml"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    place = tmp_path_factory.mktemp("probe")
    write_sets(place / "datasets", classes=8, sizes={"train": 3, "val": 1, "test": 2}, names=("EuroSAT",))
    tiny_clip.folder(place / "clip")
    changes = {"data": f"coop:EuroSAT@{place / 'datasets'}", "backbone": f"hf:{place / 'clip'}", "out": str(place / "run"), "shots": 2,
               "epochs": 2, "report": False, "tensorboard": False, "threads": 1}
    return Run(train(load_recipe(RECIPE).model_copy(update=changes)))


def test_it_learns_the_shots_of_the_base_classes(run: Run) -> None:
    half = read_fewshot(run.recipe().data, shots=2, seed=1).learn()
    assert run.card().classes == half.classes and len(half.classes) == 4
    assert run.card().data["sha256"] == half.sha256 and run.result()["data"]["train"] == 8 == len(half.train)
    assert run.result()["count"]["adapter"] == 0 and run.result()["count"]["head"] == 4 * (48 + 1)


def test_evaluate_gives_its_number_again(run: Run) -> None:
    assert evaluate(run.folder)["accuracy"] == run.result()["metrics"]["test"]["accuracy"]


def test_other_classes_are_refused(run: Run, tmp_path: Path) -> None:
    write_sets(tmp_path, classes=6, sizes={"train": 3, "val": 1, "test": 2}, names=("DescribableTextures",))
    with pytest.raises(DataError, match="not those of this run"):
        evaluate(run.folder, data=f"coop:DescribableTextures@{tmp_path}")
