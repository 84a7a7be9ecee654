"""Several processes on one run that answers: the numbers of one process, every example answered once."""

from __future__ import annotations

import json

import pytest
from chatter import Chatter
from test_train_dist import far, launch, weights

from inarch.run import Run
from inarch.train import train

pytestmark = pytest.mark.dist
TASKS = ("vqa", "gqa", "nlvr", "caption")


@pytest.fixture(scope="module", autouse=True)
def without_java():
    """METEOR starts a Java machine for seconds; here there is none on the PATH, as may be for any user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        yield


@pytest.fixture(scope="module")
def chatter(tmp_path_factory) -> Chatter:
    return Chatter(tmp_path_factory.mktemp("chatter"))


CASES = {  # nothing divides by two; the small gate sees how far a text is padded
    "four tasks, fp64, small gate": ({"tasks": TASKS, "precision": "fp64", "batch_size": 5, "beams": 1,
                                      "set": {"gate": "small", "rank": 4, "value_rank": 4}}, 1e-10),
    "own questions, fp32, accumulated": ({"batch_size": 5, "accumulate": 2, "selection": "val"}, 1e-3),
}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one(chatter, tmp_path, name):
    changes, tolerance = CASES[name]
    changes = changes | ({"data": str(chatter.root)} if "tasks" in changes else {})
    one = train(chatter.recipe(tmp_path / "one", **changes))
    two = tmp_path / "two"
    ended = launch(chatter.recipe(two, **changes))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert far(weights(two), weights(one)) < tolerance
    losses = [[line["loss"] for line in Run(run).lines()] for run in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=max(tolerance, 1e-6))
    for part in ("val", "test"):
        a, b = ([json.loads(line) for line in Run(run).answers(part).read_text().splitlines()] for run in (one, two))
        assert [line["key"] for line in a] == [line["key"] for line in b]
        assert sum(x["prediction"] == y["prediction"] for x, y in zip(a, b, strict=True)) >= len(a) - 1
    assert Run(two).card().processes == 2


def test_divergence_in_one_process_ends_both(chatter, tmp_path):
    ended = launch(chatter.recipe(tmp_path / "run", checkpoint_every=0.0), "diverges", at=2)
    assert ended.returncode != 0 and "SAID TrainingDiverged update 3 " in ended.stdout and "look at these examples" in ended.stdout


def test_features_are_made_by_one_process_and_read_by_all(chatter, tmp_path):
    common = {"features": "", "tower": "mini-vit", "visual_tokens": 16, "epochs": 1, "image_size": 32}
    ended = launch(chatter.recipe(tmp_path / "run", **common))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (next((tmp_path / "features").iterdir()) / "index.json").is_file()
