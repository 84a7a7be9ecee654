"""Resumed at every update, with everything that draws at random; what may not change, what may when it is said, and fall-back."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from campaign.resumes import points, recipes
from nursery import Nursery
from test_generations import DAMAGE
from test_train_resume import outcome, stopped, updates

from inarch import cli
from inarch.errors import ConfigError, DataError
from inarch.recipe import FREE, Recipe
from inarch.run import Run
from inarch.train import train
from inarch.training.override import OVERRIDABLE

# 22 images: 4 updates per epoch, the last of 4 images in two passes; 20 updates; warm-up, then cosine; a best epoch is remembered
TWENTY = {"epochs": 5, "batch_size": 3, "accumulate": 2, "set": {"rank": 2, "dropout": 0.3}, "augment": "fgvc", "selection": "val",
          "warmup_epochs": 1.5}


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


@pytest.fixture(scope="module")
def whole(nursery, tmp_path_factory) -> dict:
    return outcome(train(nursery.recipe(tmp_path_factory.mktemp("whole") / "run", **TWENTY)))


@pytest.fixture(scope="module")
def twenty(nursery, tmp_path_factory) -> Recipe:
    """A run stopped after its last update, with the checkpoints of all of them."""
    recipe = nursery.recipe(tmp_path_factory.mktemp("twenty") / "run", **TWENTY, checkpoint_every=0.0, keep=20)
    assert stopped(recipe, 19) == 130
    return recipe


@pytest.mark.faults
@pytest.mark.row("E6", "gone on from the checkpoint of each of 20 updates, most in mid-epoch: dropout, augmentation, warm-up, accumulation")
@pytest.mark.parametrize("first", [1, 2, 3, 4])
def test_resumed_after_every_one_of_twenty_updates(twenty, whole, tmp_path, first, tried):
    """Losses, scores, predictions and weights are those of the uninterrupted run, bit for bit."""
    for kept in range(first, 21, 4):
        run = Path(shutil.copytree(twenty.out, tmp_path / str(kept)))
        for later in range(kept + 1, 21):
            shutil.rmtree(run / "checkpoints" / f"gen-{later:06d}")
        assert updates(run) == kept
        assert outcome(train(twenty.model_copy(update={"out": str(run)}), resume=True)) == whole, kept
        tried(1)


@pytest.mark.faults
@pytest.mark.row("E6", "stopped again and again, with 0 or 2 data workers in turn")
def test_resumed_with_other_workers_in_turn(nursery, whole, tmp_path, tried):
    """Bit for bit the uninterrupted run: how many processes read the images decides nothing."""
    for k, at in enumerate((2, 7, 11, 18)):
        recipe = nursery.recipe(tmp_path / "run", **TWENTY, workers=k % 2 * 2)
        assert stopped(recipe, at, signal.SIGTERM, resume=k > 0) == 143
    assert outcome(train(nursery.recipe(tmp_path / "run", **TWENTY, workers=2), resume=True)) == whole
    tried(4)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict:
    return recipes(tmp_path_factory.mktemp("made") / "data")


@pytest.mark.faults
@pytest.mark.row("E6", "AdaRing of two towers and VL-PET of a talking BART, stopped early and late in an epoch")
@pytest.mark.parametrize("name", ["AdaRing", "VLPET"])
def test_other_methods_and_tasks_resume_alike(made, tmp_path, name, tried):
    """Every loss, the weights after every update, scores and predictions are those of the uninterrupted run, bit for bit."""
    found = points(made[name], tmp_path, stops=(1, 13))
    assert found["unequal"] == []
    tried(found["points"])


# what may change

@pytest.mark.row("E7", "the class list is another")
def test_another_class_list_is_refused(tmp_path):
    """DataError (exit code 3) that names both lists; the run can still be resumed with the old one."""
    own = Nursery(tmp_path)
    recipe = own.recipe(tmp_path / "run", **TWENTY)
    stopped(recipe, 2)
    arrays = dict(np.load(own.data))
    np.savez(own.data, **arrays | {"classes": np.array(["amber", "beryl", "copal"])})
    with pytest.raises(DataError, match=r"cannot resume: data \(sha256\).*classes: \('amber', 'beryl', 'coral'\) -> .*'copal'"):
        train(recipe, resume=True)
    assert updates(tmp_path / "run") == 3


@pytest.fixture
def begun(nursery, tmp_path) -> Recipe:
    """A run stopped after update 7 of 20."""
    recipe = nursery.recipe(tmp_path / "run", **TWENTY)
    stopped(recipe, 6)
    return recipe


@pytest.mark.row("E7", "the recipe is another in one field, not said by --override")
def test_a_change_that_is_not_said_is_refused(begun, tried):
    """ConfigError (exit code 2) with field, old and new value; the cure is --override where the field can change, else a new run."""
    changes = {"lr": 0.5, "seed": 1, "batch_size": 2, "accumulate": 1, "epochs": 6, "augment": "none", "clip": 0.5, "set": {"rank": 3}}
    for key, value in changes.items():
        with pytest.raises(ConfigError, match=f"cannot resume.*{key}: .* -> .*--override KEY=VALUE"):
            train(begun.model_copy(update={key: value}), resume=True)
        if key not in OVERRIDABLE:
            with pytest.raises(ConfigError, match=f"cannot override {key}"):
                train(begun.model_copy(update={key: value}), resume=True, override=[key])
    assert not OVERRIDABLE & FREE and set(Recipe.model_fields) > OVERRIDABLE
    tried(len(changes))


@pytest.mark.row("E7", "what may change is changed with --override")
def test_an_override_is_said_and_recorded(begun, capsys, tried):
    """The run goes on with it; recipe, overrides.jsonl and result.json say after which update what was changed, for good."""
    run = Path(begun.out)
    assert cli.main(["train", "--resume", str(run), "--override", "lr=0.005", "--override", "epochs=6"]) == 0
    said = capsys.readouterr().err
    assert "overridden after update 7: " in said and "lr: 0.02 -> 0.005" in said
    found = Run(run).result()["overrides"]
    assert [line["after_update"] for line in found] == [7]
    assert found[0]["changed"] == ["epochs: 5 -> 6", "lr: 0.02 -> 0.005"]
    assert [json.loads(line) for line in (run / "overrides.jsonl").read_text().splitlines()] == found
    assert (Run(run).recipe().lr, Run(run).recipe().epochs, len(Run(run).lines())) == (0.005, 6, 6)
    tried(2)


@pytest.mark.parametrize("words, said", [
    (["--override", "batch_size=6"], "cannot override batch_size"),
    (["--override", "epochs=1", "--override", "warmup_epochs=0.5"], "epochs=1 have 4 updates, 7 are made"),
    (["--override", "lr"], "--override 'lr'; expected KEY=VALUE"), (["--override", "lrr=1"], "unknown key 'lrr'"),
    (["--lr", "0.5"], "say what is to change with --override")])
def test_an_override_that_cannot_be_is_refused(begun, capsys, words, said):
    before = (Path(begun.out) / "recipe.toml").read_bytes()
    assert cli.main(["train", "--resume", begun.out, *words]) == 2 and said in capsys.readouterr().err
    assert (Path(begun.out) / "recipe.toml").read_bytes() == before and updates(Path(begun.out)) == 7


def test_an_override_without_resume_is_refused(nursery, tmp_path, capsys):
    assert cli.main(["train", nursery.data, "--out", str(tmp_path / "run"), "--override", "lr=1"]) == 2
    assert "is for --resume RUN" in capsys.readouterr().err


# fall-back

NINE = ("cut", "flipped", "of another generation", "weights gone", "state gone", "state edited", "manifest gone", "manifest empty",
        "folder empty")


@pytest.mark.faults
@pytest.mark.row("E9", "the newest checkpoint is damaged, in nine ways; all are")
def test_a_damaged_newest_checkpoint_is_passed_over(begun, tmp_path, capsys, tried):
    """inarch train --resume says which one cannot be used and goes on from the one before, exit code 0; when all are damaged, 4."""
    kept = stopped_with_two(begun, tmp_path)
    for k, name in enumerate(NINE):
        run = Path(shutil.copytree(kept, tmp_path / str(k) / "run"))
        DAMAGE[name](newest(run))
        assert cli.main(["train", "--resume", str(run)]) == 0, name
        said = capsys.readouterr().err.replace("\n", " ")
        assert "cannot be used" in said and "going on from gen-" in said and "resumed after update 7 of 20" in said, name
    run = Path(shutil.copytree(kept, tmp_path / "all" / "run"))
    for path in (run / "checkpoints").glob("gen-*"):
        DAMAGE["cut"](path)
    assert cli.main(["train", "--resume", str(run)]) == 4
    assert "none of 2 checkpoints is whole" in capsys.readouterr().err
    tried(len(NINE) + 1)


def stopped_with_two(recipe: Recipe, place: Path) -> Path:
    """The run folder, stopped once more: checkpoints of updates 7 and 10."""
    stopped(recipe, 9, resume=True)
    assert updates(Path(recipe.out)) == 10
    return Path(recipe.out)


def newest(run: Path) -> Path:
    """The newest checkpoint; the one before gets the name that the ways of damage know."""
    return sorted((run / "checkpoints").glob("gen-*"))[-1]
