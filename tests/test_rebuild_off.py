"""``rebuild = false``: adapters as plain operations, the same gradients, more kept, and no node of ours in the graph."""

from __future__ import annotations

import copy

import pytest
import torch
from families import FAMILIES, pristine
from grid import METHODS
from nursery import Nursery
from test_rebuild import nodes
from test_recompute import gradients

import inarch
from inarch.run import Run
from inarch.switching import rebuild
from inarch.train import train
from inarch.training.kept import counted
from inarch.training.recompute import recompute

OURS = {"ThinBackward", "ArcNodeBackward"}


def kept(model: torch.nn.Module, family: str) -> int:
    with counted(model) as found:
        FAMILIES[family].run(model)
    return found.bytes


@pytest.mark.parametrize(("family", "method"), [
    ("hf-vit", "arc"), ("timm-vit", "bottleneck"), ("timm-swin", "bottleneck"), ("vl-bart", "vlpet"), ("vl-t5", "vlpet-small"),
    ("hf-clip", "adaring"), ("vl-bart", "compacter")])
def test_the_gradients_are_the_same_and_more_is_kept(family, method):
    model = copy.deepcopy(pristine(family))
    inarch.graft(model, METHODS[method])
    again, thin = gradients(model, family), kept(model, family)
    assert OURS & {*nodes(FAMILIES[family].run(model))}
    plain = rebuild(model, False)
    assert kept(plain, family) > thin and not OURS & {*nodes(FAMILIES[family].run(copy.deepcopy(plain)))}
    found = gradients(plain, family)
    assert set(found) == set(again) and all((found[name] - again[name]).abs().max() < 1e-11 for name in found)
    assert kept(rebuild(copy.deepcopy(plain), True), family) == thin
    recompute(plain)  # a second run keeps to it too
    twice = gradients(plain, family)
    assert all((found[name] - twice[name]).abs().max() < 1e-11 for name in found)


@pytest.mark.parametrize("changes", [
    {"method": "arc", "set": {"rank": 2}}, {"method": "houlsby", "set": {"rank": 2}}, {"method": "linear"}])
def test_a_run_that_rebuilds_nothing_keeps_more_and_learns_the_same(tmp_path, changes):
    nursery = Nursery(tmp_path)
    runs = [Run(train(nursery.recipe(tmp_path / str(flag), rebuild=flag, **changes))) for flag in (True, False)]
    thin, plain = (run.result() for run in runs)
    assert [line["loss"] for line in runs[0].lines()] == pytest.approx([line["loss"] for line in runs[1].lines()], abs=1e-5)
    more = plain["saved_bytes"] - thin["saved_bytes"]
    assert more == 0 if changes["method"] == "linear" else more > 0
