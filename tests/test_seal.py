"""A result shows that it was changed after the run wrote it; and it says what a forward kept for its backward."""

import json

import pytest
import torch
from nursery import Nursery
from torch import nn

from inarch.errors import Corrupt
from inarch.run import Run
from inarch.seal import SEAL, check_seal, sealed
from inarch.train import train
from inarch.training.kept import counted


def test_what_is_sealed_passes_and_any_change_is_named(tmp_path):
    fields = sealed({"score": 0.5, "names": ["é"], "deep": {"seed": 1}})
    check_seal(json.loads(json.dumps(fields)), tmp_path)
    for changed in (fields | {"score": 0.6}, fields | {"more": 1}, {k: v for k, v in fields.items() if k != "names"}):
        with pytest.raises(Corrupt, match="was changed after the run wrote it"):
            check_seal(changed, tmp_path / "result.json")


def test_a_new_seal_takes_the_place_of_the_old_and_none_is_no_fault(tmp_path):
    check_seal(sealed(sealed({"score": 0.5}) | {"score": 0.6}), tmp_path)
    check_seal({"score": 0.5}, tmp_path)


def test_a_run_seals_its_result_and_says_what_was_kept_and_how_it_fitted(tmp_path):
    run = Run(train(Nursery(tmp_path).recipe(tmp_path / "run", epochs=1)))
    result = run.result()
    assert SEAL in result and result["saved_bytes"] > 0 and result["saved_examples"] == run.recipe().batch_size
    assert result["train_loss"] == run.lines()[-1]["loss"] > 0
    run.result_file.write_text(run.result_file.read_text().replace('"epochs": 1', '"epochs": 9'))
    with pytest.raises(Corrupt, match=r"result\.json was changed"):
        run.result()


def test_bytes_kept_are_those_of_distinct_storages_that_are_no_parameters():
    layer, x = nn.Linear(4, 3, bias=False), torch.randn(5, 4)
    with counted(layer) as kept:
        y = layer(x)
        (y.sigmoid() + y.tanh()).sum()
    assert kept.bytes == 4 * (5 * 4 + 2 * 5 * 3)  # x, and what sigmoid and tanh said; neither the weight nor y
