"""The report of a few-shot run: novel classes and harmonic mean beside the base, what decided them, and what may not be claimed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from finished import dataset, run_folder

from inarch.report import write_report
from inarch.reporting import honesty
from inarch.reporting.fewshot import sections, tiles
from inarch.seal import SEAL, sealed

CLASSES = ("cat", "dog", "owl")
FEWSHOT = {"base": 0.75, "novel": 0.5, "harmonic": 0.6, "transfer": {"cars": 0.25, "dots": 0.35}, "transfer_mean": 0.3}
ABOUT = {"dataset": "pets", "protocol": "base-to-novel", "shots": 16, "seed": 3, "classes": {"base": 3, "novel": 2},
         "items_sha256": "f" * 64}


def written(folder: Path, method: str = "adaring", **fewshot: Any) -> tuple[str, str]:
    """``report.html`` and ``report.md``, of three quarters right."""
    splits = dataset(folder / "set.npz", CLASSES)
    logits = np.eye(3, dtype=np.float32)[splits.test.labels] * 4
    logits[:3] = np.roll(logits[:3], 1, axis=1)
    run = run_folder(folder / "run", splits, logits, method=method, config={})
    _rewrite(run.result_file, lambda found: _few(found, fewshot))
    _rewrite(run.card_file, lambda card: card["data"].update({"fewshot": ABOUT, "templates": ["a photo of a {}.", "art of a {}."]}))
    return write_report(run.folder, splits=splits).read_text(), (run.folder / "report.md").read_text()


def _few(found: dict[str, Any], changes: dict[str, Any]) -> None:
    found["fewshot"] = FEWSHOT | changes
    found["metrics"] |= {name: {"accuracy": score, "n": 8, "loss": 1.0} for name, score in (("novel", 0.5), ("cars", 0.25), ("dots", 0.35))}
    found["recipe"] |= {"keep_text": 8.0, "keep_image": 0.0, "keep_logits": 0.0, "keep_scale": 0.0, "probe": "gates"}


def _rewrite(path: Path, change: Any) -> None:
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(sealed(fields) if SEAL in fields else fields))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return written(tmp_path_factory.mktemp("few"))


def test_base_novel_harmonic_mean_and_other_data_lead(pages: tuple[str, str]) -> None:
    html, text = pages
    for title, value in (("test accuracy", "75.0 %"), ("novel accuracy", "50.0 %"), ("harmonic mean", "60.0 %"), ("other data", "30.0 %")):
        assert f"<b>{value}</b><span>{title}</span>" in html and f"| {title} | {value} |" in text
    assert "2 data sets" in html


def test_every_part_has_a_row(pages: tuple[str, str]) -> None:
    for name, score, images in (("test", "75.0 %", "12"), ("novel", "50.0 %", "8"), ("cars", "25.0 %", "8"), ("dots", "35.0 %", "8")):
        assert f"| {name} | {score} | {images} |" in pages[1]


def test_what_decided_the_numbers_is_stated(pages: tuple[str, str]) -> None:
    for fact in ("a photo of a {}.; art of a {}.", "base to novel: half of the classes", "16 a class, drawn by seed 3", "keep_text 8",
                 "3 base, 2 novel", "learned on base classes", "f" * 64):
        assert all(fact in page for page in pages), fact


def test_our_adaring_is_called_what_it_is(pages: tuple[str, str], tmp_path: Path) -> None:
    assert all(honesty.of("adaring") in page for page in pages)
    assert not any("reconstruction" in page for page in written(tmp_path, method="mma"))


def test_what_was_not_scored_has_no_tile() -> None:
    result = {"fewshot": FEWSHOT | {"novel": None, "harmonic": None, "transfer": {}, "transfer_mean": None}}
    assert tiles(result) == () == tiles({}) and sections({}, SimpleNamespace(data={})) == ()
    assert [tile.title for tile in tiles({"fewshot": FEWSHOT})] == ["novel accuracy", "harmonic mean", "other data"]
