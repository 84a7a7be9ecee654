"""bench compile: eager and compiled twins of every subject, the goals about them, and their table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_bench import CLASSES, SIDE, batch, tiny
from torch import Tensor, nn

from inarch import anatomy
from inarch.bench import compiled, report, results
from inarch.bench.vision import VISION, loss
from inarch.cli import main
from inarch.errors import ConfigError


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A model of two blocks, and a compiler that generates no code."""
    settings = {"side": SIDE, "classes": CLASSES}
    monkeypatch.setattr(compiled, "VISION", replace(VISION, base=lambda address: tiny(), batch=batch, settings=settings))
    plain = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda model, **how: plain(model, **how, backend="aot_eager"))
    yield
    torch._dynamo.reset()


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")
def test_every_subject_is_measured_eager_and_in_one_graph(small: None, tmp_path: Path):
    ticks: list[str] = []
    found = compiled.bench_compile(["ti"], batch=2, repeats=2, tick=ticks.append)
    assert len(ticks) == compiled.steps(["ti"], 2)
    entry = found["models"]["ti"]
    rows = entry["methods"]
    assert set(rows) == set(compiled.labels()) and all(len(row["steps"]) == 2 for row in rows.values())
    assert rows["floor"]["time_ratio"] == rows["floor:compiled"]["time_ratio"] == {"median": 1, "low": 1, "high": 1}
    paired = sorted(a / b for a, b in zip(rows["arc:compiled"]["steps"], rows["arc"]["steps"], strict=True))
    assert rows["arc:compiled"]["over_eager"] == {"median": sum(paired) / 2, "low": paired[0], "high": paired[1]}
    assert "over_eager" not in rows["arc"] and rows["arc:compiled"]["first"] > 0
    assert [(goal["name"], goal["most"]) for goal in entry["goals"]] == [("P1", 1.02), ("P1, our LoRA", 1.02), ("P12", 1.0)]
    results.store(found, tmp_path / "compile.json")
    page = report.report(tmp_path)
    assert "## Compiled training step, ViT-Ti/16, batch 2" in page and page.count("| ARC r=50 ") == 1
    assert "step time: ARC r=50, compiled over ARC r=50" in page


def test_the_floor_asks_for_the_gradient_of_all_that_enters_the_first_block():
    """And of nothing before it; what is added is nothing."""
    model = tiny()
    pixels, labels = batch(2)
    before = loss(model, (pixels, labels))
    model = compiled.floor(model)
    entered: list[Tensor] = []
    first = next(block for block in anatomy.blocks(model) if block.row.matrices)
    first.module.register_forward_pre_hook(lambda block, args: args[0].retain_grad() or entered.append(args[0]))
    found = loss(model, (pixels, labels))
    assert torch.equal(found, before)
    found.backward()
    asked = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name for name in asked if not name.startswith("classifier.")} == {"asked.number"}
    (gradient,) = (x.grad for x in entered)
    assert gradient.abs().amax(-1).all()  # of every token; their sum, which the norms make nearly nothing, is the number's
    torch.testing.assert_close(model.asked.number.grad, gradient.sum())


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"no C\+\+ compiler on the PATH"):
        compiled.bench_compile()
    assert main(["bench", "compile", "--family", "vl"]) == 2 and "--family has no effect" in capsys.readouterr().err
