"""LoRA against ``peft``: the same numbers in both give the same outputs, grafted and merged; and the same trained count."""

import copy

import pytest
import torch
from families import FAMILIES, pristine

import inarch
from inarch import LoRA

TARGETS = {"q": "q_proj", "v": "v_proj", "o": "o_proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft reads what transformers renamed
@pytest.mark.parametrize("targets", [("q", "v"), ("q", "v", "o", "fc1", "fc2")])
def test_outputs_and_counts_equal(targets):
    from peft import LoraConfig, get_peft_model

    family, ours = FAMILIES["hf-vit"], copy.deepcopy(pristine("hf-vit"))
    config = LoraConfig(r=3, lora_alpha=6, target_modules=[TARGETS[t] for t in targets], lora_dropout=0.0)
    theirs = get_peft_model(copy.deepcopy(pristine("hf-vit")), config).double().eval()
    inarch.graft(ours, LoRA(rank=3, alpha=6, targets=targets))
    for target in targets:
        adapter = next(a for key, a in ours.inarch.default.adapters().items() if key.startswith(f"vision_{target}_"))
        for i in range(3):
            layer = next(m for n, m in theirs.named_modules() if n.endswith(f"layers.{i}.{_path(target)}"))
            layer.lora_B["default"].weight.data.normal_()
            adapter.down.data[i] = layer.lora_A["default"].weight.data
            adapter.up.data[i] = layer.lora_B["default"].weight.data
    expected = family.run(theirs)
    assert (family.run(ours) - expected).abs().max() < 1e-12
    assert inarch.count(ours).adapter == theirs.get_nb_trainable_parameters()[0]
    with torch.no_grad():
        merged = family.run(theirs.merge_and_unload())
        assert (family.run(inarch.merge(ours)) - merged).abs().max() < 1e-12


def _path(target: str) -> str:
    return TARGETS[target] if "." in TARGETS[target] else f"attention.{TARGETS[target]}"
