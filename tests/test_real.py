"""Real weights, real images: two epochs of ARC on a real ViT-Tiny, then everything that a finished run is asked for."""

import json
from pathlib import Path

import numpy as np
import pytest

from inarch import Predictor
from inarch.evaluate import evaluate
from inarch.folding import fold_run
from inarch.recipe import Recipe
from inarch.train import train

pytestmark = pytest.mark.real
WEIGHTS = "vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors"
MAJORITY = 0.12  # of eurosat10's test part, to two places


@pytest.fixture(scope="module")
def run(shared, tmp_path_factory) -> Path:
    fields = {
        "data": str(shared / "data" / "eurosat10.npz"), "image_size": 64, "epochs": 2, "lr": 1e-2, "seed": 0, "set": {"rank": 50},
        "backbone": f"timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k@{shared / 'data' / WEIGHTS}",
        "out": str(tmp_path_factory.mktemp("real") / "run"), "tensorboard": False,
    }
    return train(Recipe.parse(fields))


def test_two_epochs_learn(run):
    result = json.loads((run / "result.json").read_text())
    assert result["count"]["adapter"] == 2 * (192 * 50 + 12 * (50 + 192)) == 25_008
    assert result["metrics"]["test"]["accuracy"] > 4 * MAJORITY
    assert (run / "report.html").is_file()


def test_the_run_alone_gives_the_same_numbers(run, shared):
    result = json.loads((run / "result.json").read_text())
    assert evaluate(run)["accuracy"] == result["metrics"]["test"]["accuracy"]
    with np.load(run / "predictions.npz", allow_pickle=False) as kept, np.load(shared / "data" / "eurosat10.npz") as data:
        found = Predictor(run).logits(list(data["x_test"][:256]))
        assert np.array_equal(found, kept["test_logits"][:256])


def test_folded_to_a_plain_model_with_the_same_class_for_every_image(run, tmp_path):
    folded = fold_run(run, tmp_path / "plain")
    assert folded.images == folded.same == 1000 and folded.difference < 1e-3
    assert (tmp_path / "plain" / "model.safetensors").is_file()
