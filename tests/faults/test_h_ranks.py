"""Two processes of one run: equal to one, equal to each other, and stopping together with one cause."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import pair
from nursery import Nursery
from plays import Play, Seen, heard, play, played
from test_train_dist import far, weights

from inarch.run import Run
from inarch.train import train
from inarch.training.generations import Generations

pytestmark = pytest.mark.faults
CALM = {"epochs": 5, "batch_size": 3, "accumulate": 2}  # 22 images: 4 updates per epoch, the last of 4 images in two passes
EQUAL = {"fp64": ({"precision": "fp64"}, 1e-12), "fp32": ({"optimizer": "sgd", "lr": 0.002}, 1e-6)}
SAVED = {"checkpoint_every": 0.0}


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


def fields(nursery: Nursery, out: Path, **changes) -> dict:
    return nursery.recipe(out, **CALM | changes).model_dump()


@pytest.fixture(scope="module")
def together(nursery, tmp_path_factory) -> tuple[Path, dict[str, tuple[Seen, Seen]]]:
    """What two processes saw, all in one launch: the runs to compare, a stop, resumes of one's and of the other's, a loss of NaN."""
    place = tmp_path_factory.mktemp("together")
    assert play(Play(fields(nursery, place / "of one"), event="stopped", at=3)).ended == "Interrupted"
    plays = {name: Play(fields(nursery, place / name, **changes)) for name, (changes, _) in EQUAL.items()} | {
        "stopped": Play(fields(nursery, place / "of two"), event="stopped", at=3),
        "resumed of one": Play(fields(nursery, place / "of one"), resume=True),
        "diverges": Play(fields(nursery, place / "diverges", **SAVED), event="diverges", at=5)}
    children = pair(played, list(plays.values()), str(place / "found"), said=place / "said")
    assert [child.end() for child in children] == [0, 0], children[0].err + children[1].err
    return place, dict(zip(plays, zip(heard(place / "found", 0), heard(place / "found", 1), strict=True), strict=True))


def mapped(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Bias beside weight: the bias's gradients cancel over classes that are equally frequent, so that rounding weighs more in it alone."""
    rest = {name: value for name, value in weights.items() if not name.startswith("base/head.")}
    return rest | {"head": torch.cat([weights["base/head.weight"], weights["base/head.bias"][:, None]], 1)}


@pytest.mark.row("H1", "two gloo processes against one, the same global batch, 20 updates, fp64 and fp32")
@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_equal_one_after_every_update(nursery, together, tmp_path, name, tried):
    """Losses and weights agree with one process's to 1e-12 (fp64) and 1e-6 (fp32, SGD; the head as one map); the two are bit-equal."""
    place, seen = together
    changes, tolerance = EQUAL[name]
    one = play(Play(fields(nursery, tmp_path / "one", **changes)))
    two, other = seen[name]
    assert len(one.losses) == 20 and two.losses == other.losses and two.digests == other.digests
    assert np.abs(np.array(two.losses) / np.array(one.losses) - 1).max() <= tolerance
    mine, theirs = weights(place / name), weights(tmp_path / "one")
    if name == "fp32":
        mine, theirs = mapped(mine), mapped(theirs)
    assert far(mine, theirs) <= tolerance
    tried(20)


@pytest.mark.row("H2", "22, 7 and 9 images over two processes, passes of 3 and a last one of 1, scored 8 at a time")
def test_every_image_is_counted_once(nursery, together, tmp_path, tried):
    """Metrics are over exactly 7 and 9 images; their logits, in their order, and every metric are those of one process."""
    place, _ = together
    one, two = Run(train(nursery.recipe(tmp_path / "one", **CALM, precision="fp64"))), Run(place / "fp64")
    assert [line["val"]["n"] for line in two.lines()] == [7] * 5 and two.result()["metrics"]["test"]["n"] == 9
    assert [line["val"] for line in two.lines()] == [pytest.approx(line["val"], rel=1e-9) for line in one.lines()]
    with np.load(one.predictions) as a, np.load(two.predictions) as b:
        assert all(np.array_equal(a[key], b[key]) for key in a if not key.endswith("logits"))
        assert all(np.allclose(a[key], b[key], rtol=1e-9) and len(b[key]) == {"val": 7, "test": 9}[key.split("_")[0]]
                   for key in a if key.endswith("logits"))
    tried(7 + 9)


@pytest.mark.row("H4", "a checkpoint after every update, and one when stopped")
def test_the_first_process_alone_saves(together):
    """One checkpoint is written for each of them, none by the second process."""
    _, seen = together
    assert [[one.saves for one in seen[name]] for name in ("diverges", "stopped")] == [[5, 0], [1, 0]]


@pytest.mark.row("H5", "resume 2 -> 1 and 1 -> 2 processes")
def test_a_run_of_another_number_of_processes_is_not_resumed(nursery, together, tried):
    """Refused with the two numbers, exit code 2: what is drawn by process would be drawn otherwise."""
    place, seen = together
    for end in (*seen["resumed of one"], play(Play(fields(nursery, place / "of two"), resume=True))):
        assert end.ended == "ConfigError" and re.search("cannot resume: processes: (1 -> 2|2 -> 1);", end.said)
    tried(2)


@pytest.mark.row("H3", "a signal to one of two processes")
def test_a_signal_to_one_stops_both(together):
    """Both stop after the same update, with the exit code of the signal; the checkpoint is of that update."""
    place, seen = together
    assert [(one.ended, one.said, len(one.losses)) for one in seen["stopped"]] == [("Interrupted", "130", 4)] * 2
    assert updates(place / "of two") == 4


@pytest.mark.row("H3", "the loss of one of two processes is NaN")
def test_a_loss_of_nan_in_one_stops_both(together):
    """Both stop before the update with TrainingDiverged, which names the images of that process; the checkpoint is of the update before."""
    place, seen = together
    assert seen["diverges"][0].said == seen["diverges"][1].said and seen["diverges"][0].ended == "TrainingDiverged"
    assert re.match(r"update 6 .*loss nan is not finite, from x_train\[\d+\], x_train\[\d+\];", seen["diverges"][0].said)
    assert updates(place / "diverges") == 5


@pytest.mark.parametrize("event", [
    pytest.param("dies", marks=pytest.mark.row("H3", "SIGKILL of one of two processes")),
    pytest.param("bad_image", marks=pytest.mark.row("H3", "one of two processes meets a bad image")),
    pytest.param("other_killed_in_save", marks=pytest.mark.row("H4", "the second process is killed while the first saves")),
    pytest.param("main_killed_in_save", marks=pytest.mark.row("H4", "the first process is killed while it saves"))])
def test_one_process_lost_ends_both(nursery, tmp_path, event):
    """Both end within 30 s: the one that met the cause says it, the other that one is gone; the checkpoint is whole."""
    began = time.monotonic()
    children = pair(played, [Play(fields(nursery, tmp_path / "run", **SAVED), event=event, at=3)], str(tmp_path / "found"),
                    said=tmp_path / "said")
    codes = [child.end(within=30) for child in children]
    lost = 0 if event == "main_killed_in_save" else 1
    assert time.monotonic() - began < 30
    survivor = heard(tmp_path / "found", 1 - lost)[0]
    assert survivor.ended == "InarchError" and "another process of this run is gone" in survivor.said
    if event == "bad_image":
        assert re.match(r"x_train\[\d+\] cannot be decoded \(image \d+, epoch 0\)", heard(tmp_path / "found", lost)[0].said)
    else:
        assert codes[lost] == -9
    assert updates(tmp_path / "run") == (2 if event == "main_killed_in_save" else 3)
    assert not (tmp_path / "run" / "result.json").exists()


def updates(run: Path) -> int:
    found = Generations(run / "checkpoints").load()
    assert not found.notes
    return found.state["run"]["updates"]
