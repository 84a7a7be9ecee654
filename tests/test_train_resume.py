"""Stopped anywhere and resumed, a run ends in the same bits; and what a stop, a kill or a change leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from nursery import Nursery

from inarch.errors import ConfigError, DataError, Incomplete, StorageError, TrainingDiverged
from inarch.run import Run
from inarch.train import Interrupted, stored_recipe, train
from inarch.training import score as scoring
from inarch.training.generations import Generations
from inarch.training.lock import locked
from inarch.training.update import Updater

HARD = {"epochs": 3, "batch_size": 4, "accumulate": 2, "set": {"rank": 2, "dropout": 0.3}, "augment": "fgvc", "selection": "val",
        "class_weights": "balanced"}  # 22 images: 3 updates per epoch, the last of 6 images in two passes


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


def send_signal(patch: pytest.MonkeyPatch, at: int, number: int, place: str) -> None:
    """A signal to this process ``before`` update ``at``, ``between`` two of its passes, or ``after`` its last."""
    make, backward = Updater.__call__, Updater._backward

    def making(updater: Updater, k: int, *rest):
        if k == at and place == "before":
            os.kill(os.getpid(), number)
        done = make(updater, k, *rest)
        if k == at and place == "after":
            os.kill(os.getpid(), number)
        return done

    def passing(updater: Updater, k: int, *rest):
        done = backward(updater, k, *rest)
        if k == at and place == "between":
            os.kill(os.getpid(), number)
        return done

    patch.setattr(Updater, "__call__", making)
    patch.setattr(Updater, "_backward", passing)


def outcome(run: Path) -> dict:
    """Everything a run leaves that must not depend on whether it was stopped."""
    found = Run(run)
    timeless = [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in found.lines()]
    with np.load(found.predictions) as arrays:
        predictions = {key: arrays[key].tobytes() for key in arrays}
    result = found.result()
    weights = json.loads((found.adapter / "adapter.json").read_text())["sha256"]
    return {"weights": weights, "lines": timeless, "predictions": predictions} | {key: result[key] for key in ("metrics", "epoch")}


def stopped(recipe, at: int, number: int = signal.SIGINT, resume: bool = False, place: str = "after") -> int:
    """Train until update ``at`` (from 0) and be stopped there; returns the exit code."""
    with pytest.MonkeyPatch.context() as patch:
        send_signal(patch, at, number, place)
        with pytest.raises(Interrupted) as caught:
            train(recipe, resume=resume)
    return caught.value.code


def updates(run: Path) -> int:
    return Generations(run / "checkpoints").load().state["run"]["updates"]


@pytest.fixture(scope="module")
def whole(nursery: Nursery, tmp_path_factory) -> dict:
    return outcome(train(nursery.recipe(tmp_path_factory.mktemp("whole") / "run", **HARD)))


@pytest.mark.row("E6", "stopped by a signal after each of nine updates, in mid-epoch and at its end")
@pytest.mark.parametrize("at", [0, 3, *(pytest.param(n, marks=pytest.mark.faults) for n in (1, 2, 4, 5, 6, 7, 8))])
def test_resumed_equals_uninterrupted_bit_for_bit(nursery, whole, tmp_path, at):
    """Losses, scores, predictions and weights are those of the uninterrupted run, bit for bit."""
    recipe = nursery.recipe(tmp_path / "run", **HARD)
    assert stopped(recipe, at) == 130
    assert updates(tmp_path / "run") == at + 1
    assert outcome(train(recipe, resume=True)) == whole


@pytest.mark.parametrize("place, at", [("before", 4), ("between", 4)])
def test_an_update_that_has_only_begun_is_made_again(nursery, whole, tmp_path, place, at):
    recipe = nursery.recipe(tmp_path / "run", **HARD)
    assert stopped(recipe, at, place=place) == 130
    assert updates(tmp_path / "run") == at
    assert outcome(train(recipe, resume=True)) == whole


def test_stopped_before_the_first_update(nursery, whole, tmp_path):
    recipe = nursery.recipe(tmp_path / "run", **HARD)
    assert stopped(recipe, 0, place="before") == 130
    assert outcome(train(recipe, resume=True)) == whole


@pytest.mark.long
def test_stopped_again_and_again(nursery, whole, tmp_path):
    recipe = nursery.recipe(tmp_path / "run", **HARD)
    for n, at in enumerate((1, 2, 5, 8)):
        assert stopped(recipe, at, signal.SIGTERM, resume=n > 0) == 143
    assert outcome(train(recipe, resume=True)) == whole


@pytest.mark.long
def test_resumed_with_worker_processes(nursery, whole, tmp_path):
    """How many processes read the images is free to change: it decides nothing."""
    recipe = nursery.recipe(tmp_path / "run", **HARD, workers=2)
    assert stopped(recipe, 4) == 130
    assert outcome(train(recipe, resume=True)) == whole


def test_resumed_linear_probe_on_cached_features(nursery, tmp_path):
    whole = outcome(train(nursery.recipe(tmp_path / "whole", method="linear", accumulate=2)))
    recipe = nursery.recipe(tmp_path / "run", method="linear", accumulate=2)
    stopped(recipe, 2)
    assert outcome(train(recipe, resume=True)) == whole


def test_a_checkpoint_after_every_update_changes_nothing(nursery, whole, tmp_path):
    assert outcome(train(nursery.recipe(tmp_path / "run", **HARD, checkpoint_every=0.0))) == whole
    assert not (tmp_path / "run" / "checkpoints").exists()  # finished: the adapter is what counts


def test_stopped_while_scoring_scores_again(nursery, whole, tmp_path, monkeypatch):
    recipe = nursery.recipe(tmp_path / "run", **HARD)
    real = scoring.logits

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "logits", interrupted)
        with pytest.raises(Interrupted):
            train(recipe)
    assert Run(tmp_path / "run").lines() == []
    assert outcome(train(recipe, resume=True)) == whole


@pytest.mark.row("E9", "killed in mid-epoch, the newest checkpoint half written, a log line cut")
def test_killed_in_mid_epoch_without_warning(nursery, whole, tmp_path):
    """The last whole checkpoint counts, epochs logged after it are taken back, and the run ends in the same bits."""
    recipe = nursery.recipe(tmp_path / "run", **HARD, checkpoint_every=0.0)

    class Killed(BaseException):
        pass

    real = Updater.__call__

    def dying(updater, k, *rest):
        if k == 7:
            raise Killed
        return real(updater, k, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Updater, "__call__", dying)
        with pytest.raises(Killed):
            train(recipe)
    newest = sorted((tmp_path / "run" / "checkpoints").glob("gen-*"))[-1]
    (newest / "trained.safetensors").write_bytes(b"half")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "loss"')  # cut in the middle of a line
    assert outcome(train(recipe, resume=True)) == whole


CHANGES = {"lr": 0.5, "seed": 1, "epochs": 4, "batch_size": 2, "augment": "none", "set": {"rank": 3}, "precision": "fp64"}


def test_a_changed_recipe_is_refused_with_the_difference(nursery, tmp_path):
    stopped(nursery.recipe(tmp_path / "run", **HARD), 2)
    for key, value in CHANGES.items():
        with pytest.raises(ConfigError, match=f"cannot resume.*{key}: .* -> "):
            train(nursery.recipe(tmp_path / "run", **HARD | {key: value}), resume=True)


@pytest.mark.row("E7", "one pixel of the data, or one tensor of the backbone, is another")
def test_changed_data_or_backbone_is_refused(tmp_path, tried):
    """DataError (exit code 3) with both digests of the data, ConfigError (2) with both fingerprints; no override lets them pass."""
    tried(2)
    own = Nursery(tmp_path)
    recipe = own.recipe(tmp_path / "run", **HARD)
    stopped(recipe, 2)
    before = Path(own.data).read_bytes()
    arrays = dict(np.load(own.data))
    arrays["x_train"][3, 0, 0, 0] ^= 1
    np.savez(own.data, **arrays)
    with pytest.raises(DataError, match=r"cannot resume: data \(sha256\)"):
        train(recipe, resume=True)
    Path(own.data).write_bytes(before)
    from safetensors.torch import load_file, save_file

    weights = load_file(f"{own.vit}/model.safetensors")
    first = next(name for name in weights if "layer" in name)
    save_file({**weights, first: weights[first] + 0.5}, f"{own.vit}/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="cannot resume: backbone"):
        train(recipe, resume=True)


def test_a_folder_in_use_is_never_overwritten(nursery, tmp_path):
    run = tmp_path / "run"
    recipe = nursery.recipe(run)
    train(recipe)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match=r"already holds a run.*--resume"):
        train(recipe)
    assert train(recipe, resume=True) == run  # finished: nothing to do
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("words")
    with pytest.raises(ConfigError, match="not empty"):
        train(nursery.recipe(tmp_path / "other"))
    with pytest.raises(Incomplete, match="not a run that can be resumed"):
        train(nursery.recipe(tmp_path / "absent"), resume=True)


def test_what_is_refused_leaves_no_folder(nursery, tmp_path):
    for wrong in ({"data": str(tmp_path / "absent.npz")}, {"backbone": "mini-vat"}, {"set": {"rank": 999}}):
        with pytest.raises((ConfigError, DataError)):
            train(nursery.recipe(tmp_path / "run", **wrong))
    assert not (tmp_path / "run").exists()


@pytest.mark.row("E8", "the folder's lock is held by a living process")
def test_the_second_process_on_a_folder_is_refused(nursery, tmp_path):
    """ConfigError (exit code 2) that names the process in the folder."""
    recipe = nursery.recipe(tmp_path / "run", **HARD)
    stopped(recipe, 2)
    with locked(tmp_path / "run"), pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"):
        train(recipe, resume=True)


@pytest.mark.row("E8", "the lock of a dead process, of a pid that is another process now, or bytes that no process wrote")
@pytest.mark.parametrize("owner", [{"pid": 2**22 + 7, "started": 0.0}, {"pid": os.getpid(), "started": 5.0}, None])
def test_a_stale_lock_is_taken_over(tmp_path, owner):
    """The stale lock is taken over, and emptied at the end."""
    import socket

    text = "not json" if owner is None else json.dumps(owner | {"host": socket.gethostname()})
    (tmp_path / ".lock").write_text(text)
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert (tmp_path / ".lock").read_text() == ""


def test_a_lock_of_another_host_counts(tmp_path):
    (tmp_path / ".lock").write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 0.0}))
    with pytest.raises(ConfigError, match="process 1 on elsewhere"), locked(tmp_path):
        pass


@pytest.mark.row("E4", "the disk is full at a checkpoint of a training run")
def test_a_full_disk_stops_the_run_and_keeps_the_last_checkpoint(nursery, whole, tmp_path, monkeypatch):
    """The run stops with StorageError (exit code 6), the checkpoint before is whole, and the resumed run ends in the same bits."""
    recipe = nursery.recipe(tmp_path / "run", **HARD, checkpoint_every=0.0)
    saves = []
    real = os.fsync

    def refusing(descriptor):
        if len(list((tmp_path / "run").glob("checkpoints/gen-*4.tmp"))):
            saves.append(1)
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refusing)
        with pytest.raises(StorageError, match="No space left"):
            train(recipe)
    assert saves and updates(tmp_path / "run") >= 3
    assert outcome(train(recipe, resume=True)) == whole


CHILD = """
import sys; sys.path[:0] = [{tests!r}, {root!r}]
import torch; torch.set_num_threads(1)
from inarch.backbones.torchvision import mend_torchvision; mend_torchvision()
from rich.console import Console
from inarch.recipe import Recipe
from inarch.train import train
train(Recipe.parse({fields!r}), console=Console(width=200))
"""


@pytest.mark.long
def test_ctrl_c_in_a_process_leaves_a_resumable_run(nursery, tmp_path):
    """One SIGINT: exit code 130 within seconds, how to resume is printed, and the run goes on from the saved update."""
    recipe = nursery.recipe(tmp_path / "run", epochs=100_000)
    here = Path(__file__).parent
    script = CHILD.format(tests=str(here), root=str(here.parent), fields=recipe.model_dump())
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not (tmp_path / "run" / "metrics.jsonl").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    sent = time.monotonic()
    said, complaint = child.communicate(timeout=60)
    assert child.returncode == 130, complaint
    assert time.monotonic() - sent < 10
    assert f"inarch train --resume {tmp_path / 'run'}" in said
    assert "Traceback" not in complaint
    at = updates(tmp_path / "run")
    assert at > 0
    assert stopped(stored_recipe(tmp_path / "run"), at + 2, resume=True) == 130
    assert updates(tmp_path / "run") == at + 3


@pytest.mark.row("E5", "a second signal")
def test_the_second_signal_ends_the_process_at_once():
    """It ends there and then, exit code 143 for SIGTERM."""
    script = ("import os, signal\nfrom inarch.training.interrupt import Interrupts\nwith Interrupts():\n"
              "    os.kill(os.getpid(), signal.SIGTERM)\n    os.kill(os.getpid(), signal.SIGTERM)\nprint('still here')")
    root = Path(__file__).parent.parent
    ended = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (143, "")


def test_a_loss_that_is_not_finite_stops_before_the_update(nursery, tmp_path, monkeypatch):
    """The values kept are those of the update before, bit for bit, and the image is named."""
    from inarch.tasks.classify import Objective

    real, calls = Objective.losses, iter(range(1000))

    def poisoned(objective, logits, labels):
        losses = real(objective, logits, labels)
        return torch.where(torch.arange(len(losses)) == 1, float("nan"), losses) if next(calls) == 4 else losses

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "losses", poisoned)
        with pytest.raises(TrainingDiverged, match=r"update 5 \(lr .*\): loss nan is not finite, from x_train\[\d+\];"):
            train(nursery.recipe(tmp_path / "run"))
    kept = Generations(tmp_path / "run" / "checkpoints").load()
    stopped(nursery.recipe(tmp_path / "good"), 3)  # finishes update 3 (0-based), that is the fourth
    good = Generations(tmp_path / "good" / "checkpoints").load()
    assert kept.state["run"]["updates"] == good.state["run"]["updates"] == 4
    for group in ("trained", "optimizer"):
        assert all(torch.equal(value, good.tensors[group][name]) for name, value in kept.tensors[group].items())
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_gradient_that_is_not_finite_names_its_tensor(nursery, tmp_path, monkeypatch):
    real = Updater._clipped

    def poisoned(updater):
        next(p for name, p in updater.trained.items() if name.endswith("scale")).grad[0, 0] = float("inf")
        return real(updater)

    monkeypatch.setattr(Updater, "_clipped", poisoned)
    with pytest.raises(TrainingDiverged, match=r"update 1 .*gradient of inarch\.default\.vision_attn_16\.scale is not finite"):
        train(nursery.recipe(tmp_path / "run"))


def test_logits_that_are_not_finite_in_scoring_stop_the_run(nursery, tmp_path, monkeypatch):
    from inarch.tasks.classify import Classifier

    real = Classifier.forward
    monkeypatch.setattr(Classifier, "forward", lambda net, x: real(net, x) * (1 if torch.is_grad_enabled() else float("inf")))
    with pytest.raises(TrainingDiverged, match=r"val: the logits of 7 of 7 images are not finite"):
        train(nursery.recipe(tmp_path / "run"))
