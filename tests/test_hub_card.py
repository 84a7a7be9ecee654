"""The model card: its front is what the hub reads, its numbers are those of the files, and its code runs."""

# ruff: noqa: F811 (fixtures from hub_parts)
from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from adapter_files import fresh, reseal
from exported import Exported, tree
from hub_parts import hub, outputs, pets, saved  # noqa: F401 (fixtures)
from hub_stub import Hub
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

import inarch
from inarch import methods
from inarch.files import sha256
from inarch.hub.card import equation_of
from inarch.run import Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("runs"))


def pushed(run: Path, out: Path, **more: str) -> str:
    inarch.push(run, out, **more)
    return (out / "README.md").read_text(encoding="utf-8")


def fences(card: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", card, re.M | re.S)


def play(card: str, **names: object) -> dict[str, object]:
    """Run every Python fence, in order, with shared names."""
    for fence in fences(card):
        exec(compile(fence, "README.md", "exec"), names)
    return names


@pytest.mark.parametrize("name", sorted(methods.METHODS))
def test_every_method_says_its_rule(name: str) -> None:
    """A first line in words; an equation wherever the method adds numbers of its own."""
    title, rule = equation_of(methods.METHODS[name])
    assert title and "\n\n" not in title and not title.startswith(" ")
    assert bool(rule) != issubclass(methods.METHODS[name], methods.Full.__mro__[1]) and (not rule or "=" in rule.splitlines()[0])


def test_the_card_of_an_adapter(saved: Path, tmp_path: Path) -> None:
    card = pushed(saved, tmp_path / "out", licence="mit")
    data = ModelCard(card).data
    assert (data.library_name, data.tags, data.license, data.base_model) == ("inarch", ["inarch", "arc", "adapter"], "mit", None)
    model = fresh()
    inarch.load(model, saved)
    count = inarch.count(model)
    assert f"| of the adapter itself | {count.adapter:,} |" in card
    assert f"| of the backbone and its own head, trained too | {count.thawed:,} |" in card
    assert "H = U + dropout(U (W * c_l)) W^T + b_l" in card and "ARC(rank=4, " in card
    for name, content in tree(saved).items():
        assert f"| `{name}` | {len(content):,} | `{sha256(content)}` |" in card
    fields = json.loads((saved / "adapter.json").read_bytes())
    assert all(value in card for key, value in fields["fingerprint"].items() if value)


def test_a_backbone_of_the_hub_is_named_to_the_hub(saved: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(saved, tmp_path / "named")
    fields = json.loads((folder / "adapter.json").read_bytes())
    reseal(folder, {"fingerprint": fields["fingerprint"] | {"source": "google/vit-base-patch16-224-in21k + timm/other.tag"}})
    data = ModelCard(pushed(folder, tmp_path / "out")).data
    assert data.base_model == ["google/vit-base-patch16-224-in21k", "timm/other.tag"]
    assert data.to_dict()["base_model_relation"] == "adapter"


def test_the_code_of_an_adapters_card_runs_from_the_hub(pets: Hub, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    card = pets.repositories["ada/pets"].main["README.md"].decode()
    parts = fences(card)
    model = fresh()
    exec(parts[0], {"model": model})
    other = fresh()
    inarch.load(other, saved)
    assert torch.equal(outputs(model), outputs(other)) and len(parts) == 3
    names: dict[str, object] = {}
    exec(parts[-1], names)
    assert sum(tensor.numel() for tensor in names["tensors"].values()) == inarch.count(model).trainable


@pytest.mark.long
def test_the_bridge_in_the_card_gives_the_same_outputs(pets: Hub, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"model": fresh()}
    exec(fences(pets.repositories["ada/pets"].main["README.md"].decode())[1], names)
    other = fresh()
    inarch.load(other, saved)
    with torch.no_grad():
        pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        assert torch.equal(names["peft_model"].eval()(pixel_values=pixels).logits, outputs(other))


@pytest.mark.long
def test_the_card_of_a_run(made: Exported, tmp_path: Path) -> None:
    run = made.run("arc")
    card, result = pushed(run, tmp_path / "out", licence="apache-2.0"), Run(run).result()
    data = ModelCard(card).data
    assert data.pipeline_tag == "image-classification"
    found = {(one.dataset_split, one.metric_type): one for one in data.eval_results}
    name, results = data.model_name, model_index_to_eval_results(data.to_dict()["model-index"])[1]
    assert name and len(results) == len(found)
    for part in ("test", "val"):
        one = found[part, "accuracy"]
        assert one.metric_value == result["metrics"][part]["accuracy"] and one.dataset_args == {"sha256": result["data"]["sha256"]}
    facts = [result["commit"], result["data"]["sha256"], f"| seed | {result['seed']} |", f"torch {result['versions']['torch']}",
             f"{result['count']['without_head']:,} without the head, {result['count']['trainable']:,} with it", "amber, beryl, coral"]
    assert [fact for fact in facts if fact not in card] == []
    assert "Left out: `predictions.npz`." in card and not (tmp_path / "out" / "predictions.npz").exists()


@pytest.mark.long
@pytest.mark.parametrize("method", ["arc", "vlpet", "linear"])
def test_the_code_of_a_runs_card_runs(made: Exported, hub: Hub, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capsys) -> None:
    """From the hub and in a folder; what does not fold is not offered, with the reason."""
    from inarch import backbones

    inarch.push(made.run(method, method=method), "hf:ada/pets")
    card = hub.repositories["ada/pets"].main["README.md"].decode()
    assert ("an ordinary LoRA folder is the same function" in card) == (method == "arc")
    assert ("Not as an ordinary LoRA: " in card) == (method != "arc")
    assert ("As a plain model it cannot be written: " in card) == (method == "vlpet")
    monkeypatch.chdir(tmp_path)
    names = play(card, model=backbones.load(made.vit, classes=3).model)
    said = capsys.readouterr().out
    assert said.splitlines()[0] in ("amber", "beryl", "coral") and names["tensors"]
    assert ("pets-lora: LoRA of" in said) == (method == "arc") and (tmp_path / "pets-native").exists() == (method != "vlpet")
    inarch.push(made.run(method, method=method), tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    play((tmp_path / "here" / "README.md").read_text(), model=backbones.load(made.vit, classes=3).model)
