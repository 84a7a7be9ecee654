"""ImageNet, ten other sets and four shifted ones in their published formats: training, scores, report and tables from one command line."""

import json
from pathlib import Path

import pytest
import tiny_clip
from conftest import ROOT
from fewshot_fixtures import write_sets

from inarch.cli import main
from inarch.data.fewshot import SETS
from scripts.fewshot_average import OTHERS, SHIFTED, page

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """``datasets/`` with all fifteen, and a tiny CLIP."""
    place = tmp_path_factory.mktemp("home")
    write_sets(place / "datasets", classes=8, sizes={"train": 3, "val": 1, "test": 2})
    tiny_clip.folder(place / "clip")
    return place


@pytest.mark.parametrize("recipe", ["fewshot-imagenet-adaring.toml", "fewshot-imagenet-mma.toml"])
def test_imagenet_to_ten_sets_and_four_shifted_ones(recipe, place, monkeypatch, capsys):
    monkeypatch.chdir(place)  # so that datasets/ is where the recipe has it
    out = f"runs/{recipe}"
    flags = ["--backbone", "clip:clip", "--epochs", "2", "--least-updates", "4", "--most-updates", "4", "--batch-size", "8", "--out", out,
             "--set", "layers=-2:", "--warmup-epochs", "0", "--device", "cpu", "--no-tensorboard"]
    assert main(["train", str(ROOT / "recipes" / recipe), *flags]) == 0
    result = json.loads(Path(out, "result.json").read_text())
    assert set(result["fewshot"]["transfer"]) == set(SETS) - {"ImageNet"} == {*OTHERS, *SHIFTED}
    assert result["metrics"]["ImageNetA"]["n"] == 8 and result["metrics"]["UCF101"]["n"] == 16
    report = Path(out, "report.md").read_text()
    assert "ImageNetSketch" in report and "other data" in report and Path(out, "report.html").is_file()
    capsys.readouterr()
    assert main(["evaluate", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result["metrics"]["test"]
    assert main(["evaluate", out, "--data", "coop:DTD@datasets", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result["metrics"]["DescribableTextures"]
    assert main(["compare", out]) == 0 and "ImageNet" in capsys.readouterr().out
    assert "10 others" in page([Path("runs")]) and "4 shifted" in page([Path("runs")])


def test_base_to_novel_over_sets_and_seeds(place, monkeypatch, capsys):
    """Two seeds of two sets become a row for each set, and an average."""
    monkeypatch.chdir(place)
    for name in ("EuroSAT", "DTD"):
        for seed in ("1", "2"):
            flags = ["--data", f"coop:{name}@datasets", "--seed", seed, "--backbone", "clip:clip", "--set", "layers=-2:", "--epochs", "1",
                     "--shots", "2", "--out", f"novel/{name}-{seed}", "--device", "cpu", "--no-tensorboard", "--no-report"]
            assert main(["train", str(ROOT / "recipes" / "fewshot-mma.toml"), *flags]) == 0
    table = page([Path("novel")])
    lines = [line for line in table.splitlines() if "| DescribableTextures |" in line or "| EuroSAT |" in line]
    assert len(lines) == 2 and all(line.rstrip("| ").endswith(" 2") for line in lines) and "average of 2" in table
    capsys.readouterr()
    assert main(["compare", "novel"]) == 0
    said = capsys.readouterr().out
    assert "EuroSAT" in said and "MMA" in said
