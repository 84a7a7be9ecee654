"""What an update of a few-shot run is: stopped and resumed, from kept parts, with several templates, names by lot, terms that keep near."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fewshot_fixtures import NAMES as CLASSES
from matching_run import NAMES, Field
from safetensors.torch import load_file
from test_fewshot_data_leakage import images, opened  # noqa: F401  # a fixture
from test_train_resume import outcome, stopped, updates

from inarch import backbones
from inarch.backbones.two_tower import TwoTower
from inarch.data import Transform
from inarch.data.fewshot import read_fewshot
from inarch.errors import ConfigError, Corrupt
from inarch.evaluate import rebuild
from inarch.run import Run
from inarch.tasks import learner, probing
from inarch.tasks.match import prompts_of
from inarch.train import train
from inarch.training.update import Updater

pytestmark = pytest.mark.long  # whole runs: seconds each

HARD = {"augment": "clip", "selection": "val", "keep_scale": 0.5, "names_per_update": 4, "templates": ["a photo of a {}.", "the {}."],
        "epochs": 3, "least_updates": 9, "most_updates": 9, "accumulate": 2, "checkpoint_every": 0.0}


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Field:
    return Field(tmp_path_factory.mktemp("field"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(next((run / "adapter").glob("*.safetensors")))


# stopped and resumed


@pytest.fixture(scope="module")
def whole(field, tmp_path_factory) -> Path:
    return train(field.recipe(tmp_path_factory.mktemp("whole") / "run", **HARD))


@pytest.mark.long
@pytest.mark.parametrize("at", [0, 4])
def test_resumed_equals_uninterrupted_bit_for_bit(field, whole, tmp_path, at, monkeypatch):
    """The gates of the probe are found once: a resumed run reads them."""
    recipe = field.recipe(tmp_path / "run", **HARD)
    assert stopped(recipe, at) == 130 and updates(tmp_path / "run") == at + 1
    monkeypatch.setattr(probing, "run", None)
    train(recipe, resume=True)
    assert outcome(tmp_path / "run") == outcome(whole)
    assert (tmp_path / "run" / "gates.safetensors").read_bytes() == (whole / "gates.safetensors").read_bytes()


def test_gates_are_those_of_the_probe_to_the_end(whole):
    gates, trained = load_file(whole / "gates.safetensors"), weights(whole)
    assert gates and all(torch.equal(trained[next(n for n in trained if n.endswith(name))], value) for name, value in gates.items())
    assert any(float(value.abs().max()) > 0 for value in gates.values())


def test_a_damaged_file_of_gates_is_refused(field, tmp_path):
    recipe = field.recipe(tmp_path / "run", **HARD)
    stopped(recipe, 1)
    place = tmp_path / "run" / "gates.safetensors"
    place.write_bytes(place.read_bytes()[:-4])
    with pytest.raises(Corrupt, match="gates"):
        train(recipe, resume=True)


# kept parts


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in Run(run).lines()]


@pytest.mark.long
@pytest.mark.parametrize("method, settings", [("adaring", {"layers": "-1:"}), ("lora", {"layers": "2:", "rank": 2}), ("clipadapter", {}),
                                              ("context", {})])
def test_kept_parts_change_nothing(field, tmp_path, method, settings):
    """Losses to 1e-6, not bit for bit: the kept parts are computed in batches of eight, the others four at a time."""
    kept, plain = (field.recipe(tmp_path / str(cached), method, set=settings, augment="none", cache_features=cached, keep_image=1.0,
                                keep_text=1.0, keep_logits=0.5) for cached in (True, False))
    seen: list[dict] = []
    with pytest.MonkeyPatch.context() as patch:
        real = learner.Learner.forward

        def noting(self, shown):
            seen.append(learner.described(self))
            return real(self, shown)

        patch.setattr(learner.Learner, "forward", noting)
        train(kept)
        count = len(seen)
        train(plain)
    assert seen[0] == {"texts": method != "context", "images": True} and seen[count] == {"texts": False, "images": False}
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=1e-6)
    a, b = weights(tmp_path / "True"), weights(tmp_path / "False")
    assert max(float((a[name] - b[name]).abs().max()) for name in a) < 1e-4
    scores = [Run(tmp_path / str(cached)).result()["metrics"]["novel"]["loss"] for cached in (True, False)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


def test_augmented_images_are_not_kept(field, tmp_path, monkeypatch):
    seen = []
    real = learner.Learner.forward
    monkeypatch.setattr(learner.Learner, "forward", lambda self, shown: (seen.append(learner.described(self)), real(self, shown))[1])
    train(field.recipe(tmp_path / "run", "lora", set={"layers": "2:", "rank": 2}))
    assert seen[0] == {"texts": True, "images": False}


# what may be seen


@pytest.mark.parametrize("method", ["adaring", "lora"])
def test_novel_images_and_names_wait_for_the_last_update(field, tmp_path, method, monkeypatch, opened):  # noqa: F811
    made, told, seen = [], [], []
    real_update, real_tokens = Updater.__call__, TwoTower.tokens

    def updating(self, number, *rest):
        done = real_update(self, number, *rest)
        made.append(number)
        seen[:] = [path for path in images(opened, field.folder)]
        return done

    def telling(self, prompts):
        told.append((len(made), [*prompts]))
        return real_tokens(self, prompts)

    monkeypatch.setattr(Updater, "__call__", updating)
    monkeypatch.setattr(TwoTower, "tokens", telling)
    opened.clear()
    train(field.recipe(tmp_path / "run", method, probe="gates" if method == "adaring" else "off"))
    assert made == [*range(6)]
    assert seen and not [path for path in seen if any(f"/{name}/" in path for name in CLASSES[4:])]
    early = [prompt for count, prompts in told for prompt in prompts if count < 6]
    late = [prompt for count, prompts in told for prompt in prompts if count == 6]
    assert early and not [prompt for prompt in early for name in NAMES["novel"] if name in prompt]
    assert [prompt for prompt in late for name in NAMES["novel"] if name in prompt]
    assert any(f"/{CLASSES[4]}/test" in path for path in images(opened, field.folder))


# settings


def features(run: Path, field: Field) -> tuple[torch.Tensor, torch.Tensor]:
    """f of the base test images and w of the base names, as the run's own model gives them."""
    rebuilt = rebuild(run)
    half = read_fewshot(field.data, shots=2).learn()
    assert half.test is not None
    pixels = torch.stack([Transform(rebuilt.card.view)(half.test.image(i)) for i in range(len(half.test))])
    with torch.no_grad():
        f, w = rebuilt.net.model.images(pixels), rebuilt.net.features(prompts_of(rebuilt.net.model, half.classes, ["a photo of a {}."]))
    return torch.nn.functional.normalize(f, dim=-1), w


def test_several_templates_are_averaged(field, tmp_path):
    """Of every name the mean of its normalised features, normalised again."""
    sentences = ["a photo of a {}.", "the {}.", "red picture of the {}"]
    run = train(field.recipe(tmp_path / "run", "frozen", templates=sentences))
    model = backbones.load(field.clip).model
    with torch.no_grad():
        each = [model.texts(model.tokens([sentence.replace("{}", name) for name in NAMES["base"]])) for sentence in sentences]
        w = sum(torch.nn.functional.normalize(w, dim=-1) for w in each)
        expected = model.scale * features(run, field)[0] @ torch.nn.functional.normalize(w, dim=-1).T
    with np.load(Run(run).predictions) as kept:
        assert np.allclose(kept["test_logits"], expected.numpy(), atol=1e-5)


def test_names_by_lot(field, tmp_path, monkeypatch):
    """Every update compares with the names of its own images, and others up to as many."""
    seen = []
    real = learner.Learner.chosen

    def choosing(self, labels):
        names = real(self, labels)
        seen.append((labels.unique().tolist(), names.tolist()))
        return names

    monkeypatch.setattr(learner.Learner, "chosen", choosing)
    train(field.recipe(tmp_path / "run", "lora", batch_size=2, names_per_update=3))
    assert len(seen) == 6 and all({*own} <= {*names} and len(names) == 3 and names == sorted(names) for own, names in seen)
    assert len({tuple(names) for _, names in seen}) > 1


FREE = {"lr": 0.05, "set": {"layers": "1:", "scale": 1.0, "dropout": 0.0, "expert_dropout": 0.0}, "probe": "off", "keep_text": 0.0,
        "keep_image": 0.0, "keep_logits": 0.0}


@pytest.fixture(scope="module")
def parted(field, tmp_path_factory):
    """Features of the frozen model, and how far a run that nothing keeps near it goes: images, names, logits."""
    place = tmp_path_factory.mktemp("parted")
    frozen = features(train(field.recipe(place / "frozen", "frozen")), field)
    return frozen, far(frozen, features(train(field.recipe(place / "free", **FREE)), field))


def far(one, other) -> dict[str, float]:
    (f0, w0), (f, w) = one, other
    return {"keep_image": float((f - f0).norm()), "keep_text": float((w - w0).norm()), "keep_logits": float((f @ w.T - f0 @ w0.T).norm()),
            "keep_scale": float((f - f0).norm() + (w - w0).norm())}


@pytest.mark.parametrize("term", ["keep_text", "keep_image", "keep_logits", "keep_scale"])
def test_what_keeps_near_the_frozen_model(field, parted, tmp_path, term):
    """Heavily weighted, each term holds what it is about."""
    frozen, free = parted
    held = far(frozen, features(train(field.recipe(tmp_path / "run", **FREE | {term: 100.0})), field))
    assert held[term] < 0.7 * free[term], (held, free)


def test_keep_scale_needs_a_scale(field, tmp_path):
    with pytest.raises(ConfigError, match="no scale to change"):
        train(field.recipe(tmp_path / "run", "lora", keep_scale=1.0))


def test_half_precision_and_double(field, tmp_path):
    runs = {precision: Run(train(field.recipe(tmp_path / precision, "lora", precision=precision))).result()["metrics"]["novel"]["loss"]
            for precision in ("fp32", "bf16", "fp64")}
    assert runs["bf16"] == pytest.approx(runs["fp32"], rel=0.05) and runs["fp64"] == pytest.approx(runs["fp32"], rel=1e-3)


# several processes

RANK = """
import sys; sys.path[:0] = [{tests!r}, {root!r}]
import json, torch; torch.set_num_threads(1)
from inarch.backbones.torchvision import mend_torchvision; mend_torchvision()
from inarch.recipe import Recipe
from inarch.train import train
train(Recipe.parse(json.load(open({fields!r}))))
"""


@pytest.mark.dist
@pytest.mark.parametrize("changes", [
    {"batch_size": 3, "augment": "clip"},
    {"augment": "none", "batch_size": 3, "set": {"layers": "2:", "dropout": 0.0, "expert_dropout": 0.0}},
])
def test_two_processes_equal_one(field, tmp_path, changes):
    """The same rows in an update, wherever they are computed; in the method there is nothing drawn by chance."""
    changes = {"set": {"layers": "1:", "dropout": 0.0, "expert_dropout": 0.0}, "precision": "fp64", **changes}
    one = train(field.recipe(tmp_path / "one", **changes))
    recipe = field.recipe(tmp_path / "two", **changes)
    fields, script, tests = tmp_path / "fields.json", tmp_path / "rank.py", Path(__file__).parent
    fields.write_text(json.dumps(recipe.model_dump()))
    script.write_text(RANK.format(tests=str(tests), root=str(tests.parent), fields=str(fields)))
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=240, env=alone)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    a, b = weights(one), weights(tmp_path / "two")
    assert a.keys() == b.keys() and max(float((a[name] - b[name]).abs().max()) for name in a) < 1e-8
    assert losses(tmp_path / "two") == pytest.approx(losses(one), rel=1e-8)
    mine, theirs = (Run(run).result() for run in (one, tmp_path / "two"))
    assert theirs["fewshot"] == mine["fewshot"] and Run(tmp_path / "two").card().processes == 2
