"""A finished run, rebuilt from its folder alone."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from nursery import Nursery, arrays
from PIL import Image

import inarch
from inarch.errors import ConfigError, Corrupt, DataError, Incomplete, Mismatch
from inarch.evaluate import evaluate, rebuild, table_logits
from inarch.run import Run
from inarch.train import train


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


@pytest.fixture(scope="module")
def run(nursery, tmp_path_factory) -> Path:
    return train(nursery.recipe(tmp_path_factory.mktemp("predict") / "run", epochs=3))


@pytest.fixture
def copy(run, tmp_path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def test_logits_equal_those_of_training_and_evaluate(run):
    """Bit for bit at the same batching; the predictor takes arrays, paths and pictures alike."""
    with np.load(run / "predictions.npz") as stored:
        expected = stored["test_logits"]
    predictor = inarch.Predictor(run)
    images = arrays()["x_test"]
    assert np.array_equal(predictor.logits(list(images), batch_size=8), expected)
    assert np.array_equal(predictor.logits([Image.fromarray(i) for i in images], batch_size=8), expected)
    assert np.array_equal(predictor.logits(images, batch_size=8), expected)
    from inarch.data import load_splits

    rebuilt = rebuild(run)
    assert np.array_equal(table_logits(rebuilt, load_splits(rebuilt.recipe.data).test, 8), expected)
    assert evaluate(run, device="cpu") == Run(run).result()["metrics"]["test"]


def test_evaluate_scores_every_part(run):
    assert evaluate(run, "val", device="cpu") == Run(run).result()["metrics"]["val"]
    assert evaluate(run, "train", device="cpu")["n"] == 22
    ticks = []
    evaluate(run, "test", device="cpu", progress=lambda done, total: ticks.append((done, total)))
    assert ticks == [(8, 9), (9, 9)]
    with pytest.raises(ConfigError, match="did you mean 'test'"):
        evaluate(run, "tset")


def test_predictions(run, tmp_path):
    predictor = inarch.Predictor(run)
    images = arrays()["x_test"]
    for i in range(3):
        Image.fromarray(images[i]).save(tmp_path / f"{i}.png")
    (tmp_path / "deep").mkdir()
    Image.fromarray(images[3]).save(tmp_path / "deep" / "3.PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    found = predictor.predict(tmp_path, top_k=2)
    assert [Path(p.name).name for p in found] == ["0.png", "1.png", "2.png", "3.PNG"]
    assert all(len(p.labels) == len(p.probabilities) == 2 and p.probabilities[0] >= p.probabilities[1] for p in found)
    assert {p.label for p in found} <= {"amber", "beryl", "coral"}
    whole = predictor.predict([tmp_path / "0.png", images[1], Image.fromarray(images[2]), str(tmp_path / "deep")], top_k=99)
    assert [p.name for p in whole][1:3] == ["image 1", "image 2"]
    assert [p.labels[:2] for p in whole] == [p.labels for p in found]
    assert sum(whole[0].probabilities) == pytest.approx(1)
    assert predictor.predict(images[0])[0].labels == whole[0].labels
    logits = predictor.logits(images[:1])[0].astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum()
    said = dict(zip(whole[0].labels, whole[0].probabilities, strict=True))
    assert said == pytest.approx(dict(zip(predictor.classes, shares, strict=True)))


def test_input_that_cannot_be_used_is_named(run, tmp_path):
    predictor = inarch.Predictor(run)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (tmp_path / "empty").mkdir()
    for images, reason in ((tmp_path / "broken.png", "broken.png"), (tmp_path / "absent.png", "absent.png"),
                           (tmp_path / "empty", "no images in it"), (np.zeros((4, 4), dtype=np.float32), "float32")):
        with pytest.raises(DataError, match=reason):
            predictor.predict(images)
    assert predictor.predict([]) == [] and predictor.logits([]).shape == (0, 3)
    for wrong in ({"top_k": 0}, {"batch_size": 0}):
        with pytest.raises(ConfigError, match="expected 1 or more"):
            predictor.predict(tmp_path / "broken.png", **wrong)
    with pytest.raises(ConfigError, match="device='quantum'"):
        inarch.Predictor(run, device="quantum")


def test_a_run_can_be_moved_and_read_from_anywhere(tmp_path, monkeypatch):
    """Relative addresses count from where the run was started, and go with the run when both move."""
    place = tmp_path / "first"
    place.mkdir()
    nursery = Nursery(place)
    monkeypatch.chdir(place)
    odd = place / "we@home 1:1"  # characters that mean something in an address
    odd.mkdir()
    shutil.move(nursery.data, odd / "data.npz")
    run = train(nursery.recipe("runs/one", data="we@home 1:1/data.npz", backbone="./vit"))
    assert str(tmp_path) not in (run / "recipe.toml").read_text() + (run / "run.json").read_text()
    expected = evaluate(run, device="cpu")
    monkeypatch.chdir(tmp_path)
    place.rename(tmp_path / "second")
    moved = tmp_path / "second" / "runs" / "one"
    assert evaluate(moved, device="cpu") == expected
    monkeypatch.chdir(moved)
    assert evaluate(Path("."), device="cpu") == expected


def test_an_unfinished_or_foreign_folder_is_refused(copy, tmp_path):
    with pytest.raises(Incomplete, match="not a run folder"):
        inarch.Predictor(tmp_path)
    shutil.rmtree(copy / "adapter")
    with pytest.raises(Incomplete, match="--resume"):
        inarch.Predictor(copy)


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name, damage, error", [
    ("class renamed", lambda f: _edit(f / "run.json", '"amber"', '"umber"'), Mismatch),
    ("key lost", lambda f: _edit(f / "run.json", '"multilabel"', '"multylabel"'), Corrupt),
    ("newer format", lambda f: _edit(f / "run.json", '"format": 1', '"format": 2'), Mismatch),
    ("not JSON", lambda f: (f / "run.json").write_text("{"), Corrupt),
    ("recipe key", lambda f: _edit(f / "recipe.toml", "epochs =", "epoch ="), ConfigError),
    ("weights cut", lambda f: os.truncate(next((f / "adapter").glob("*.safetensors")), 100), Corrupt),
    ("other preprocessing", lambda f: _edit(f / "run.json", '"squash"', '"crop"'), Mismatch),
])
def test_a_damaged_run_is_refused(copy, name, damage, error):
    damage(copy)
    with pytest.raises(error):
        inarch.Predictor(copy)


def test_evaluate_refuses_data_that_has_changed(tmp_path):
    nursery = Nursery(tmp_path)
    run = train(nursery.recipe(tmp_path / "run"))
    changed = arrays(seed=1)
    np.savez(nursery.data, **changed)
    with pytest.raises(DataError, match="not the data this run was trained on"):
        evaluate(run, device="cpu")
    assert evaluate(run, device="cpu", data=nursery.data)["n"] == 9
    np.savez(nursery.data, **{k: v for k, v in changed.items() if not k.endswith("_test")})
    with pytest.raises(DataError, match="has no test part; found: train, val"):
        evaluate(run, device="cpu", data=nursery.data)
