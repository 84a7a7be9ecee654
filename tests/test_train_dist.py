"""Several processes on one run: the numbers of one process, every image counted once, one clear end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from nursery import Nursery
from safetensors.torch import load_file

from inarch.run import Run
from inarch.train import train
from inarch.training.generations import Generations

pytestmark = pytest.mark.dist

RANK = """
import sys; sys.path[:0] = [{tests!r}, {root!r}]
import json, os, signal
import torch; torch.set_num_threads(1)
from inarch.backbones.torchvision import mend_torchvision; mend_torchvision()
from inarch.cli import known
from inarch.recipe import Recipe
from inarch.train import train
from inarch.training.update import Updater
fault, at = {fault!r}, {at}
real = Updater.__call__
def faulty(updater, k, *rest):
    mine = updater.engine.process_index == 1
    if k == at and fault == "dies" and mine:
        os.kill(os.getpid(), signal.SIGKILL)
    if k == at and fault == "asked" and mine:
        os.kill(os.getpid(), signal.SIGTERM)
    if k == at and fault == "diverges" and mine:
        losses = updater.task.losses
        object.__setattr__(updater.task, "losses", lambda *a: losses(*a) * float("nan"))
    return real(updater, k, *rest)
Updater.__call__ = faulty
recipe = json.load(open({fields!r}))
try:
    train(Recipe.parse(recipe), resume={resume})
except Exception as problem:
    error = known(problem)
    os.write(1, f"SAID {{type(problem).__name__}} {{problem}}\\n".encode())  # one call: two processes share this pipe
    sys.exit(error.exit_code if error else 1)
"""


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


def launch(recipe, fault: str = "", at: int = 0, resume: bool = False) -> subprocess.CompletedProcess:
    """Two gloo processes under torchrun."""
    tests = Path(__file__).parent
    out = Path(recipe.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    fields = out.parent / f"{out.name}.json"
    fields.write_text(json.dumps(recipe.model_dump()))
    script = out.parent / f"{out.name}.py"
    script.write_text(RANK.format(tests=str(tests), root=str(tests.parent), fields=str(fields), fault=fault, at=at, resume=resume))
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=240)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(next((run / "adapter").glob("*.safetensors")))


def far(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[k] - b[k]).abs().max() / b[k].abs().max().clamp(min=1e-30)) for k in a)


CASES = {  # 22 training images, 7 to watch, 9 to test: nothing divides by two, and batches of 7 leave a last one of 1 image
    "fp64, a last batch of one image": ({"precision": "fp64", "batch_size": 7, "class_weights": "balanced"}, 1e-11),
    "fp32, accumulated, augmented": ({"batch_size": 5, "accumulate": 2, "augment": "fgvc", "selection": "val"}, 1e-4),
    "cached linear probe, on what is there": ({"method": "linear", "precision": "fp64", "batch_size": 7, "device": "auto"}, 1e-11),
}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one(nursery, tmp_path, name):
    """Every metric is over exactly the images of its part, in their order, none counted twice: the numbers of one process."""
    changes, tolerance = CASES[name]
    one = train(nursery.recipe(tmp_path / "one", **changes))
    two = tmp_path / "two"
    ended = launch(nursery.recipe(two, **changes))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert far(weights(two), weights(one)) < tolerance
    for a, b in zip(Run(one).lines(), Run(two).lines(), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=max(tolerance, 1e-6))
        assert b["val"]["n"] == 7 and b["val"] == pytest.approx(a["val"], rel=1e-4)
    with np.load(one / "predictions.npz") as a, np.load(two / "predictions.npz") as b:
        assert b["test_logits"].shape == (9, 3) and np.allclose(a["test_logits"], b["test_logits"], atol=1e-4)
        assert np.array_equal(a["test_labels"], b["test_labels"])
    assert Run(two).card().processes == 2


def test_resume_with_two_processes_and_not_with_one(nursery, tmp_path):
    """A signal to one process stops both after the same update; the resumed run ends as the uninterrupted one, bit for bit."""
    changes = {"batch_size": 7, "set": {"rank": 2, "dropout": 0.3}, "epochs": 3}
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert launch(nursery.recipe(whole, **changes)).returncode == 0
    recipe = nursery.recipe(halves, **changes)
    ended = launch(recipe, "asked", at=5)
    assert ended.returncode != 0
    assert Generations(halves / "checkpoints").load().state["run"]["updates"] == 6
    with pytest.raises(Exception, match="processes: 2 -> 1"):
        train(recipe, resume=True)
    assert launch(recipe, resume=True).returncode == 0
    assert far(weights(halves), weights(whole)) == 0


@pytest.mark.parametrize("fault, said", [("dies", ""), ("diverges", "TrainingDiverged update 3 ")])
def test_one_process_in_trouble_ends_both(nursery, tmp_path, fault, said):
    recipe = nursery.recipe(tmp_path / "run", batch_size=7, checkpoint_every=0.0)
    began = time.monotonic()
    ended = launch(recipe, fault, at=2)
    assert ended.returncode != 0 and time.monotonic() - began < 120
    assert said in ended.stdout
    assert Generations(tmp_path / "run" / "checkpoints").load().state["run"]["updates"] == 2
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_folder_in_use_is_refused_by_every_process(nursery, tmp_path):
    recipe = nursery.recipe(tmp_path / "run")
    train(recipe)
    ended = launch(recipe)
    assert ended.returncode != 0 and ended.stdout.count("SAID ConfigError") == 2 and "already holds a run" in ended.stdout
