"""Frozen lower blocks run once per image: the run is the one without, and below the first adapter nothing is computed twice."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from nursery import Nursery

from inarch import backbones
from inarch.run import Run
from inarch.train import train
from inarch.training import shelf


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


def outcome(run) -> tuple[list[float], np.ndarray]:
    with np.load(run / "predictions.npz") as found:
        return [line["loss"] for line in Run(run).lines()], found["test_logits"]


@pytest.mark.parametrize("settings", [{"method": "arc", "set": {"rank": 2, "layers": "-1:", "dropout": 0.2}},
                                      {"method": "ssf", "set": {"layers": "-1:"}, "accumulate": 2, "selection": "val"}])
def test_a_run_from_behind_the_frozen_blocks_is_the_run_without(nursery, tmp_path, settings):
    common = {"precision": "fp64", "epochs": 3, **settings}
    kept, plain = (outcome(train(nursery.recipe(tmp_path / str(flag), cache_features=flag, **common))) for flag in (True, False))
    assert kept[0] == pytest.approx(plain[0], rel=1e-12) and np.allclose(kept[1], plain[1], rtol=0, atol=1e-12)


def calls(monkeypatch, recipe) -> tuple[int, int]:
    """How many images went through block 0 and block 1 in all."""
    seen, real = [0, 0], backbones.load

    def counted(*args, **kwargs):
        found = real(*args, **kwargs)
        for k, block in enumerate(found.model.vit.layers):
            block.layernorm_before.register_forward_pre_hook(lambda m, args, k=k: seen.__setitem__(k, seen[k] + len(args[0])))
        return found
    monkeypatch.setattr(backbones, "load", counted)
    train(recipe)
    return seen[0], seen[1]


def test_an_image_goes_through_the_frozen_blocks_once(nursery, tmp_path, monkeypatch):
    settings = {"method": "arc", "set": {"rank": 2, "layers": "-1:"}, "epochs": 4}
    below, above = calls(monkeypatch, nursery.recipe(tmp_path / "kept", **settings))
    once, scored = 22 + 7, 7 + 9  # recorded; and the final scores, by the whole net
    first = 8  # a batch, to see that its logits follow from what is kept
    assert below == first + once + scored
    assert above == 2 * first + once + 4 * (22 + 7) + scored


@pytest.mark.parametrize("changes", [{"set": {"rank": 2}}, {"augment": "fgvc"}, {"backbone_noise": True}, {"cache_features": False}])
def test_nothing_is_kept_where_it_would_not_be_exact(nursery, tmp_path, monkeypatch, changes):
    settings = {"method": "arc", "set": {"rank": 2, "layers": "-1:"}, "epochs": 2} | changes
    below, _ = calls(monkeypatch, nursery.recipe(tmp_path / "plain", **settings))
    assert below == 2 * (22 + 7) + 7 + 9


def test_what_would_not_fit_is_not_kept(nursery, tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "CAP", 100)
    settings = {"method": "arc", "set": {"rank": 2, "layers": "-1:"}, "epochs": 2}
    below, _ = calls(monkeypatch, nursery.recipe(tmp_path / "plain", **settings))
    assert below == 8 + 2 * (22 + 7) + 7 + 9


def test_logits_that_come_out_otherwise_end_the_shortcut(nursery, tmp_path, monkeypatch):
    """A head that also looks at the pixels: what was kept is not the whole story."""
    real = backbones.logits
    monkeypatch.setattr(backbones, "logits", lambda model, pixels: real(model, pixels) + pixels.mean((1, 2, 3))[:, None])
    settings = {"method": "arc", "set": {"rank": 2, "layers": "-1:"}, "epochs": 2, "precision": "fp64"}
    kept, plain = (outcome(train(nursery.recipe(tmp_path / str(flag), cache_features=flag, **settings))) for flag in (True, False))
    assert kept[0] == plain[0] and np.array_equal(kept[1], plain[1])


def test_the_run_says_it(nursery, tmp_path, capsys):
    import io

    from rich.console import Console

    file = io.StringIO()
    train(nursery.recipe(tmp_path / "run", set={"rank": 2, "layers": "-1:"}), console=Console(file=file, width=150))
    assert "blocks below 1 are frozen and went over every image once" in file.getvalue()
    assert math.isfinite(torch.tensor(outcome(tmp_path / "run")[0]).sum())
