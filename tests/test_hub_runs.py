"""Runs on the hub: every verb that reads a run takes its address, in this process and in one of its own; unfinished ones stay here."""

# ruff: noqa: F811 (fixtures from hub_parts)
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_clip
from chatter import Chatter, write_lines
from exported import Exported, tree
from fewshot_fixtures import NAMES, save
from hub_parts import hub, saved  # noqa: F401 (fixtures)
from hub_stub import TOKEN, Hub, serving
from huggingface_hub import ModelCard
from matching_run import Field
from nursery import arrays
from PIL import Image

import inarch
from inarch.cli import main
from inarch.errors import Corrupt, InarchError
from inarch.evaluate import evaluate
from inarch.recipe import Recipe
from inarch.run import Run
from inarch.train import stored_recipe, train
from inarch.training.lock import locked

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(made: Exported, hub: Hub) -> Path:
    """Pushed to hf:ada/pets."""
    found = made.run("arc")
    inarch.push(found, "hf:ada/pets")
    return found


def test_a_run_from_the_hub_is_the_run(made: Exported, run: Path) -> None:
    images = list(arrays()["x_test"])
    mine, theirs = (inarch.Predictor(where).logits(images) for where in (run, "hf:ada/pets"))
    assert np.array_equal(mine, theirs)
    found = evaluate("hf:ada/pets", data=made.nursery.data)
    assert found["accuracy"] == Run(run).result()["metrics"]["test"]["accuracy"]


def test_every_verb_that_reads_a_run_takes_the_address(run: Path, made: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                       capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16, 16)).save("grey.png")
    for words in ("predict hf:ada/pets grey.png", f"evaluate hf:ada/pets --data {made.nursery.data}", "merge hf:ada/pets plain",
                  "export hf:ada/pets --to native", "inspect hf:ada/pets", "compare hf:ada/pets"):
        assert main(words.split()) == 0, f"{words}: {capsys.readouterr().err}"
        assert capsys.readouterr().out
    assert (tmp_path / "pets-native" / "config.json").exists() and (tmp_path / "plain").is_dir()
    assert main(["train", "--resume", "hf:ada/pets"]) == 0 and "is finished; nothing to resume" in capsys.readouterr().err
    assert stored_recipe("hf:ada/pets").method == "arc"


def test_what_is_told_of_this_machine(run: Path, made: Exported, tmp_path: Path, capsys) -> None:
    """Absolute paths, which the recipe of this run has, are pointed at before anybody else reads them."""
    assert main(["push", str(run), str(tmp_path / "out"), "--dry-run"]) == 0
    assert re.search(rf"note: \S+ names {re.escape(made.nursery.data)}, which its readers will see", capsys.readouterr().out)


def test_predictions_are_sent_only_when_asked_for(run: Path, hub: Hub) -> None:
    assert "predictions.npz" not in hub.repositories["ada/pets"].main
    assert inarch.push(run, "hf:ada/pets", also=["predictions.npz"]).left == ()
    assert hub.repositories["ada/pets"].main["predictions.npz"] == (run / "predictions.npz").read_bytes()


def test_an_unfinished_run_stays_here(run: Path, hub: Hub, tmp_path: Path, capsys) -> None:
    before = hub.repositories["ada/pets"].heads["main"]
    part = shutil.copytree(run, tmp_path / "part")
    (part / "result.json").unlink()
    assert main(["push", str(part), "hf:ada/pets"]) == 4
    assert f"{part} has no result yet; finish it by `inarch train --resume {part}`" in capsys.readouterr().err
    with locked(run):
        assert main(["push", str(run), "hf:ada/pets"]) == 2
        assert "is in use by process" in capsys.readouterr().err
    assert hub.repositories["ada/pets"].heads["main"] == before


@pytest.mark.parametrize("what", ["run.json", "result.json", "recipe.toml", "adapter/adapter.json", "weights", "backbone"])
def test_a_run_that_does_not_load_stays_here(run: Path, made: Exported, hub: Hub, tmp_path: Path, what: str) -> None:
    before = hub.repositories["ada/pets"].heads["main"]
    bad = shutil.copytree(run, tmp_path / "bad")
    path = next(bad.glob("adapter/*.safetensors")) if what == "weights" else bad / what
    if what == "backbone":
        recipe = (bad / "recipe.toml").read_text()
        (bad / "recipe.toml").write_text(recipe.replace(made.vit, made.timm))
    else:
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InarchError):
        inarch.push(bad, "hf:ada/pets")
    assert hub.repositories["ada/pets"].heads["main"] == before


def test_a_damaged_run_of_the_hub_is_refused_by_name(run: Path, hub: Hub) -> None:
    files = hub.repositories["ada/pets"].main
    files["run.json"] = files["run.json"][:-20]
    with pytest.raises(Corrupt, match=r"run\.json is not valid JSON"):
        inarch.Predictor("hf:ada/pets")
    hub.damage["recipe.toml"] = files["recipe.toml"].replace(b"arc", b"abc")
    hub.repositories["ada/pets"].commit("main", files | {"recipe.toml": files["recipe.toml"] + b"\n"})
    with pytest.raises((Corrupt, InarchError), match=r"recipe\.toml|hf:ada/pets"):
        inarch.Predictor("hf:ada/pets")


@pytest.mark.parametrize("kind", ["match", "retrieve", "generate", "generate without a tower"])
def test_the_card_of_every_kind_of_run_has_code_that_runs(hub: Hub, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                         capsys) -> None:
    run = _trained(kind, tmp_path)
    inarch.push(run, "hf:ada/other")
    card = hub.repositories["ada/other"].main["README.md"].decode()
    assert f"its task is '{kind.split()[0]}'" in card and str(run) not in card.partition("## With inarch")[2]
    assert {one.metric_type for one in ModelCard(card).data.eval_results} & {"n", "empty"} == set()
    monkeypatch.chdir(tmp_path)
    first = re.findall(r"^```python\n(.*?)^```$", card, re.M | re.S)[0]
    exec(compile(first, "README.md", "exec"), {})
    assert (capsys.readouterr().out == "") == ("without" in kind)


def _trained(kind: str, folder: Path) -> Path:
    if kind.startswith("generate"):
        (folder / "chatter").mkdir()
        looks = {} if "without" in kind else {"features": "", "tower": "mini-vit", "visual_tokens": 16, "image_size": 32}
        return train(Chatter(folder / "chatter").recipe(folder / "run", **looks))
    if kind == "match":
        return train(Field(folder).recipe(folder / "run"))
    rows = [{"image": f"{part}-{c}-{i}.png", "captions": [f"a photo of a {NAMES[c].replace('_', ' ')}"], "split": part}
            for part, count in (("train", 4), ("val", 2), ("test", 2)) for c in range(8) for i in range(count)]
    for row in rows:
        save(folder / row["image"], int(row["image"].split("-")[1]), 3)
    data = write_lines(folder / "captions.jsonl", rows)
    return train(Recipe.parse({"data": data, "backbone": f"clip:{tiny_clip.folder(folder / 'clip')}", "protocol": "retrieval",
                               "method": "lora", "set": {"rank": 4}, "out": str(folder / "run"), "epochs": 1, "batch_size": 16,
                               "lr": 0.01, "eval_batch_size": 8, "tensorboard": False, "report": False, "device": "cpu"}))


def test_a_process_of_its_own_reads_the_endpoint_from_the_environment(saved: Path, tmp_path: Path) -> None:
    """As a user runs it: HF_ENDPOINT, HF_TOKEN and HF_HOME; with xet switched off, which the stub does not speak."""
    with serving() as hub:
        plain = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        place = plain | {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0",
                         "HF_HUB_DISABLE_XET": "1"}
        hub.mode = "lfs"
        for words in (["push", str(saved), "hf:ada/pets", "--private"], ["inspect", "hf:ada/pets"]):
            done = subprocess.run([sys.executable, "-m", "inarch", *words], capture_output=True, text=True, env=place, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert TOKEN not in done.stdout + done.stderr
        assert hub.repositories["ada/pets"].private and tree(saved).items() <= hub.repositories["ada/pets"].main.items()
        assert "ARC(rank=4" in done.stdout or "arc" in done.stdout
