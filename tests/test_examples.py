"""The examples as a user runs them: each file by its path, then what it wrote, loaded anew."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import nn
from transformers import TrainerCallback

import inarch

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))


def pictures(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.linspace(-1, 1, 256).reshape(4, 1, 8, 8)).logits


def fell(losses: list[float], share: float = 0.9) -> bool:
    part = len(losses) // 4
    return sum(losses[-part:]) < share * sum(losses[:part])


class Crash(TrainerCallback):
    """Ends the process's training the moment a checkpoint has been written."""

    def on_save(self, *args: Any, **kwargs: Any) -> None:
        raise InterruptedError


def trained(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def resumed(parts: dict[str, Any], folder: Path, out: Callable[[nn.Module], torch.Tensor]) -> list[float]:
    """Train once without a break and once with a crash; both must end in the same numbers. The losses of the resumed run."""
    torch.manual_seed(1)
    whole, _ = parts["main"](str(folder / "whole"))
    torch.manual_seed(1)
    start = get_peft_model(parts["backbone"](), whole.peft_config["default"])
    ours = [name for name in trained(whole) if ".inarch." in name]
    assert ours and not any(torch.equal(trained(whole)[name], trained(start)[name]) for name in ours)
    torch.manual_seed(1)
    with pytest.raises(InterruptedError):
        parts["main"](str(folder / "cut"), callbacks=[Crash()])
    assert len(list((folder / "cut").glob("checkpoint-*"))) == 1
    torch.manual_seed(2)  # so that what is not restored begins elsewhere
    again, losses = parts["main"](str(folder / "cut"), "resume")
    assert trained(again).keys() == trained(whole).keys()
    assert all(torch.equal(value, trained(whole)[name]) for name, value in trained(again).items())
    saved = PeftModel.from_pretrained(parts["backbone"](), str(folder / "cut" / "adapter"))
    assert torch.equal(out(saved.get_base_model()), out(whole.get_base_model()))
    return losses


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_short_enough_to_read(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.parametrize("name", ["plain_pytorch", "accelerate_loop"])
def test_a_loop_of_ones_own(name, tmp_path):
    torch.manual_seed(1)
    parts = example(name)
    model, losses = parts["main"](str(tmp_path / "out"), epochs=3)
    assert fell(losses)
    again = parts["backbone"]()
    assert not torch.equal(pictures(again), pictures(model))
    inarch.load(again, tmp_path / "out")
    assert torch.equal(pictures(again), pictures(model))


@pytest.mark.long
def test_trainer_resumes_bit_for_bit(tmp_path):
    assert fell(resumed(example("trainer"), tmp_path, pictures))


def answers(model: nn.Module) -> torch.Tensor:
    ids = torch.arange(2, 14).reshape(3, 4)
    with torch.no_grad():
        return model.eval()(input_ids=ids, labels=ids).logits


@pytest.mark.long
def test_seq2seq_trainer_resumes_bit_for_bit(tmp_path):
    assert fell(resumed(example("seq2seq_trainer"), tmp_path, answers))
    log = json.loads((tmp_path / "cut" / "checkpoint-64" / "trainer_state.json").read_text())["log_history"]
    assert [entry["eval_right"] for entry in log if "eval_right" in entry][-1] > 0.7  # chance is 0.5; generated, not teacher-forced


def test_a_segmentation_head_on_dinov2(tmp_path):
    torch.manual_seed(1)
    parts = example("segmentation")
    model, head, losses = parts["main"](str(tmp_path), epochs=2)
    assert fell(losses, 0.5)
    again, pictures = parts["backbone"](), torch.linspace(-1, 1, 512).reshape(2, 1, 16, 16)
    inarch.load(again, tmp_path)
    other = nn.Linear(32, 2)
    other.load_state_dict(load_file(tmp_path / "head.safetensors"))
    masks = parts["masks"](again.eval(), other, pictures)
    assert masks.shape == (2, 2, 16, 16) and torch.equal(masks, parts["masks"](model, head, pictures))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec", "ignore:.*does not have many workers",
                            "ignore:.*exists and is not empty")
def test_lightning_trains_and_its_checkpoint_restores_ours(tmp_path, monkeypatch):
    torch.manual_seed(1)
    parts = example("lightning_loop")
    adapter = parts["main"](str(tmp_path), epochs=2)
    before, after = parts["backbone"](), parts["backbone"]()
    inarch.load(after, adapter)
    images, labels = torch.tensor(load_digits().images[:64] / 8 - 1).float()[:, None], torch.tensor(load_digits().target[:64])
    with torch.no_grad():
        start, end = (model.eval()(images, labels=labels).loss for model in (before, after))
    assert end < 0.8 * start
    kept = {file.name: file.read_bytes() for file in adapter.glob("*.safetensors")}
    shutil.rmtree(adapter)
    monkeypatch.setattr(parts["Digits"], "training_step", lambda self, batch: pytest.fail("nothing is left to train"))
    parts["main"](str(tmp_path), epochs=2, resume=str(next(tmp_path.rglob("*.ckpt"))))
    assert kept and {file.name: file.read_bytes() for file in adapter.glob("*.safetensors")} == kept


@pytest.mark.long
def test_a_decoder_only_vision_language_model_learns_to_answer(tmp_path):
    parts = example("decoder_vlm")
    parts["main"](str(tmp_path), steps=60)
    model = parts["backbone"]().eval()
    inarch.load(model, tmp_path)
    asked = parts["examples"](1200, 1600)
    prompts = {"pixel_values": asked["pixel_values"], "input_ids": asked["input_ids"][:, :-1]}
    said = model.generate(**prompts, max_new_tokens=1, do_sample=False)[:, -1]
    with inarch.disabled(model):
        before = model.generate(**prompts, max_new_tokens=1, do_sample=False)[:, -1]
    right = asked["labels"][:, -1]
    assert (said == right).float().mean() > 0.6 > 0.3 > (before == right).float().mean()
