"""``--to torch`` and ``--to onnx``: the same logits from a program alone, for any number of images; or nothing is written."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import Exported, tree

from inarch.cli import main
from inarch.evaluate import rebuild
from inarch.exports import graph


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("graph"))


RUNS = {
    "arc": {}, "trunk": {"set": {"rank": 2, "placement": "trunk"}}, "double": {"precision": "fp64"},
    "non-linear": {"method": "adaring", "set": {"ranks": [1, 2], "bottleneck": 4}},
}  # fmt: skip


def exported(run: Path, to: str, out: Path) -> dict:
    assert main(["export", str(run), "--to", to, "--out", str(out)]) == 0
    return json.loads((out / "model.json").read_text())


def expected(run: Path, pixels: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return rebuild(run).net(pixels).float()


@pytest.mark.long
@pytest.mark.parametrize("library", ["vit", "timm"])
@pytest.mark.parametrize("kind", RUNS)
def test_a_torch_program_gives_the_logits_of_the_run(kind: str, library: str, made: Exported, tmp_path: Path, capsys) -> None:
    run = made.run(f"{library}-{kind}", **{"backbone": getattr(made, library), **RUNS[kind]})
    fields = exported(run, "torch", tmp_path / "out")
    assert fields["folded"] == (kind in ("arc", "double")) and fields["classes"] == ["amber", "beryl", "coral"]
    assert "largest difference of a logit" in capsys.readouterr().out and fields["largest_difference"] < 1e-5
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    for count in (1, 7):
        pixels = torch.randn(count, 3, 16, 16)
        torch.testing.assert_close(program(pixels), expected(run, pixels), rtol=0, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize(("library", "kind"), [("vit", "arc"), ("timm", "arc"), ("vit", "trunk")])
def test_onnxruntime_gives_the_logits_of_the_run(kind: str, library: str, made: Exported, tmp_path: Path) -> None:
    import onnxruntime

    run = made.run(f"{library}-{kind}", **{"backbone": getattr(made, library), **RUNS[kind]})
    fields = exported(run, "onnx", tmp_path / "out")
    assert {*tree(tmp_path / "out")} == {"README.md", "model.json", "model.onnx"} and fields["folded"] == (kind == "arc")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 7):
        pixels = torch.randn(count, 3, 16, 16)
        (found,) = session.run(["logits"], {"pixels": pixels.numpy()})
        assert np.allclose(found, expected(run, pixels).numpy(), rtol=0, atol=1e-4)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A form that writes a text, and whose program says zeros: tracing takes seconds."""
    form = graph.Form("model.txt", (), lambda net, pixels, file: file.write_text("x"), lambda file: lambda pixels: pixels.new_zeros(1), "")
    monkeypatch.setitem(graph.FORMS, "torch", form)


def test_a_program_that_says_something_else_is_refused(made: Exported, quick: None, capsys) -> None:
    run = made.run("vit-arc")
    before = tree(made.folder)
    assert main(["export", str(run), "--to", "torch"]) == 2
    assert "differ by" in capsys.readouterr().err and tree(made.folder) == before


def test_a_model_that_cannot_be_traced_is_refused(made: Exported, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def fail(*given: object, **more: object) -> None:
        raise RuntimeError("Constraints violated (batch)!\nmuch more")

    monkeypatch.setattr(torch.export, "export", fail)
    run = made.run("vit-arc")
    before = tree(made.folder)
    assert main(["export", str(run), "--to", "torch"]) == 2
    said = capsys.readouterr().err
    assert "Constraints violated (batch)!" in said and "much more" not in said and tree(made.folder) == before


def test_a_second_program_needs_a_wish(made: Exported, quick: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(graph, "TOLERANCE", 1e9)
    line = ["export", str(made.run("vit-arc")), "--to", "torch", "--out", str(tmp_path / "out")]
    assert main(line) == 0
    before = tree(tmp_path)
    assert main(line) == 2
    assert "not empty" in capsys.readouterr().err and tree(tmp_path) == before
    assert main([*line, "--overwrite"]) == 0


def test_onnx_without_its_packages_names_the_extra(made: Exported, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "onnxscript" else found(name, *more))
    run = made.run("vit-arc")
    before = tree(made.folder)
    assert main(["export", str(run), "--to", "onnx"]) == 2
    assert "inarch[onnx]" in capsys.readouterr().err and tree(made.folder) == before
