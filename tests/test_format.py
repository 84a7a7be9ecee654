"""The formats on disk: what past versions wrote still loads and computes the same, and docs/format.md is enough to read them."""

from __future__ import annotations

import ast
import copy
from functools import cache
from pathlib import Path

import foreign_reader
import numpy as np
import pytest
import torch
from adapter_files import refuses, reseal
from conftest import ROOT
from safetensors.torch import load_file
from torch import nn

import inarch
from inarch import card
from inarch.errors import Corrupt, Mismatch
from inarch.training.generations import Generations
from scripts import format_fixtures as fixtures

PLACE = ROOT / "tests" / "fixtures"
FORMATS = sorted(int(path.name.removeprefix("format-")) for path in PLACE.glob("format-*"))
CELLS = [(number, name) for number in FORMATS for name in fixtures.CASES]


@cache
def pristine(name: str) -> nn.Module:
    return fixtures.filled(fixtures.CASES[name].build)


def backbone(name: str) -> nn.Module:
    return copy.deepcopy(pristine(name))


def test_every_format_that_was_written_is_kept():
    assert list(range(1, card.FORMAT + 1)) == FORMATS
    assert all({path.name for path in (PLACE / f"format-{number}").iterdir()} >= fixtures.CASES.keys() for number in FORMATS)


@pytest.mark.row("A19", "adapters of every format that was ever written: ARC, LoRA, AdaRing, VL-PET, with a thawed and with a brought head")
@pytest.mark.parametrize(("number", "name"), CELLS)
def test_what_past_formats_hold_still_computes_the_same(number, name):
    """Loads, and every output is bit-equal to what was computed when it was written."""
    case, folder = fixtures.CASES[name], PLACE / f"format-{number}" / name
    model = backbone(name)
    assert inarch.load(model, folder) == case.extra
    expected = load_file(PLACE / f"format-{number}" / fixtures.OUTPUTS)[name]
    assert torch.equal(fixtures.output(case, model), expected)


@pytest.mark.row("A19", "an adapter of a format that this inarch does not know")
def test_a_later_format_says_what_it_needs(tmp_path):
    """`Mismatch`: it needs inarch >= x.y, as the file says; a format number that was merely damaged is `Corrupt`."""
    inarch.save(fixtures.trained(fixtures.CASES["arc"]), tmp_path / "a")
    text = (tmp_path / "a" / "adapter.json").read_text()
    reseal(tmp_path / "a", {"format": card.FORMAT + 1, "needs": "3.14", "what": "later formats may hold more"})
    words = rf"format {card.FORMAT + 1} is newer than this inarch reads \({card.FORMAT}\); it needs inarch >= 3.14"
    refuses(tmp_path / "a", Mismatch, words, backbone("arc"))
    (tmp_path / "a" / "adapter.json").write_text(text.replace(f'"format": {card.FORMAT}', f'"format": {card.FORMAT + 1}'))
    refuses(tmp_path / "a", Corrupt, "digest", backbone("arc"))


@pytest.mark.parametrize("key", ["needs", "architecture"])
def test_a_field_of_another_format_is_refused(tmp_path, key):
    inarch.save(fixtures.trained(fixtures.CASES["arc"]), tmp_path / "a")
    reseal(tmp_path / "a", drop=(key,))
    refuses(tmp_path / "a", Corrupt, f"unexpected or missing: {key}", backbone("arc"))
    reseal(tmp_path / "a", {"format": 1, "needs": "0.1.0", "architecture": {}})
    refuses(tmp_path / "a", Corrupt, "unexpected or missing: architecture, needs", backbone("arc"))


def test_what_is_kept_is_never_written_again(tmp_path, monkeypatch, capsys):
    assert fixtures.main() == 1 and "is never written again" in capsys.readouterr().err
    monkeypatch.setattr(fixtures, "FIXTURES", tmp_path)
    assert fixtures.main() == 0
    for path in tmp_path.rglob("*.safetensors"):  # what is written today is what was kept
        assert path.read_bytes() == (PLACE / path.relative_to(tmp_path)).read_bytes(), path


def test_another_reader_is_independent():
    assert Path(foreign_reader.__file__).read_text().split('"""\n', 1)[1].strip() in (ROOT / "docs" / "format.md").read_text()
    code = ast.parse(Path(foreign_reader.__file__).read_text())
    modules = {alias.name for node in ast.walk(code) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(code) if isinstance(node, ast.ImportFrom)}
    assert modules == {"hashlib", "json", "re", "struct", "pathlib", "numpy"}


@pytest.mark.parametrize(("number", "name"), CELLS)
def test_another_reader_finds_the_same_adapter(number, name):
    folder = PLACE / f"format-{number}" / name
    told, tensors = foreign_reader.read_adapter(folder)
    model = backbone(name)
    assert inarch.load(model, folder) == told["extra"]
    scion = model.inarch.scion("default")
    own = {key: value for key, value in tensors.items() if not key.startswith(("base/", "head/"))}
    assert own.keys() == scion.trained().keys() and sorted(key for key in tensors if key.startswith("base/")) == told["thawed"]
    assert all(np.array_equal(own[key], value.detach().numpy()) for key, value in scion.trained().items())
    if told["head"] is not None:
        assert np.array_equal(tensors["head/weight"], model.classifier.weight.detach().numpy())


def test_another_reader_finds_the_same_generation():
    folder = PLACE / "generations-1"
    found = Generations(folder).load()
    latest = (folder / "LATEST").read_text().strip()
    state, tensors = foreign_reader.read_generation(folder / latest)
    assert state == found.state and tensors.keys() == found.tensors.keys() and latest == f"gen-{found.number:06d}"
    for group, values in found.tensors.items():
        assert all(np.array_equal(tensors[group][name], value.numpy()) for name, value in values.items())
