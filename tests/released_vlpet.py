"""The released VL-PET's numbers under the names that this library gives its tensors, and stock models that carry its weights."""

from __future__ import annotations

from pathlib import Path

import torch
from test_golden_arc import Golden, close
from tiny_vl import bart, t5
from torch import Tensor, nn
from wide_norms import widened

import inarch
from inarch import VLPET

GATES = {"large": "large_x", "middleX": "middle_xy_add", "middleY": "middle_ia3_add", "small": "small_xy_cat"}
SPANS = {"attn": ("attn", "layer.0."), "mlp": ("ff", "layer.1.")}  # ours -> theirs, and T5's sub-layer
PROJECTOR = {"feature": "feat_embedding.0", "feature_norm": "feat_embedding.1", "box": "absolute_vis_pos_embedding.0",
             "box_norm": "absolute_vis_pos_embedding.1", "image_order": "img_order_embedding"}
VALUE = {"down": "down_sampler.weight", "down_bias": "down_sampler.bias", "up": "up_sampler.weight", "up_bias": "up_sampler.bias"}


class Released(Golden):
    """``used``: names of the gradients that a test has compared, so that none is left out."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.kind = "t5" if "_t5_" in path.name else "bart"
        self.used: set[str] = set()
        self.worst = 0.0

    def take(self, kind: str, name: str) -> Tensor:
        self.used.add(name)
        return self[f"{kind}/{name}"]

    @property
    def method(self) -> VLPET:
        c = self.config
        return VLPET(gate=self.meta.get("gate", "large"), rank=c["r"], gate_rank=c["rg"], value_rank=c["rd"], scale=self.meta.get("s", 1.0))

    def gated(self, kind: str, span: str, layers: list[str]) -> dict[str, Tensor]:
        """``encoder_attn_32`` or ``encoder_mlp_32``: update and gate of each layer (``layers``: their prefixes), stacked."""
        theirs, sub = SPANS[span]
        rows = [self._one(kind, layer + (sub if self.kind == "t5" else ""), theirs) for layer in layers]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _one(self, kind: str, prefix: str, span: str) -> dict[str, Tensor]:
        stem = f"{prefix}{span}_adapter_multihead"
        heads = {leaf: torch.cat([self.take(kind, f"{stem}_down.{h}.{leaf}") for h in range(self.config["nh"])])
                 for leaf in ("weight", "bias")}
        gate = f"{prefix}encoder_{span}_adapter_gating_{GATES[self.meta['gate']]}"
        found = {"update.down": heads["weight"], "update.down_bias": heads["bias"]}
        found |= self._linear(kind, "update.up", f"{stem}_up")
        if self.meta["gate"] == "large":
            return found | self._linear(kind, "gate.look.down", f"{gate}_down") | self._linear(kind, "gate.look.up", f"{gate}_up")
        if self.meta["gate"] == "middleY":
            return found | {"gate.z": self.take(kind, gate)}
        return found | {f"gate.{leaf}": self.take(kind, f"{gate}.{leaf}") for leaf in ("weight", "bias")}

    def _linear(self, kind: str, ours: str, theirs: str) -> dict[str, Tensor]:
        return {ours: self.take(kind, f"{theirs}.weight"), f"{ours}_bias": self.take(kind, f"{theirs}.bias")}

    def value(self, kind: str) -> dict[str, Tensor]:
        place = "encoder_attn" if self.kind == "bart" else "layer.1.EncDecAttention"
        stem = f"{place}.attn_value_parallel_adapter.adapters.vqa"
        return {f"update.{ours}": self.take(kind, f"{stem}.{theirs}")[None] for ours, theirs in VALUE.items()}

    def stock(self, kind: str, names: list[str], prefix: str = "") -> dict[str, Tensor]:
        return {name: self.take(kind, prefix + name) for name in names}

    def agree(self, found: Tensor, key: str, bound: float = 1e-10) -> None:
        self.see(close(found, self[key]), key, bound)

    def see(self, off: float, what: str, bound: float = 1e-10) -> None:
        self.worst = max(self.worst, off)
        assert off < bound, f"{what}: off by {off:.1e}"

    def all_gradients_used(self) -> None:
        left = {key.removeprefix("grad/") for key in self.z.files if key.startswith("grad/")} - self.used
        assert not left, left


def fill(adapter: nn.Module, values: dict[str, Tensor]) -> None:
    assert set(values) == {name for name, _ in adapter.named_parameters()}
    for name, parameter in adapter.named_parameters():
        assert parameter.shape == values[name].shape
        parameter.data.copy_(values[name])


def gradients(golden: Released, adapter: nn.Module, values: dict[str, Tensor]) -> None:
    for name, parameter in adapter.named_parameters():
        golden.see(close(parameter.grad, values[name]), name)


def layer_of(golden: Released, side: str, wide: bool = True) -> tuple[nn.Module, nn.Module]:
    """A whole stock model of one layer with the released layer's weights, and that layer in it."""
    c = golden.config
    shape = {"d_kv": c["d"] // c["heads"], "relative_attention_num_buckets": c["buckets"]} if golden.kind == "t5" else {}
    model = {"bart": bart, "t5": t5}[golden.kind](1, **shape).double().eval()
    if wide:
        widened(model)
    layer = model.get_submodule(f"model.{side}.layers.0" if golden.kind == "bart" else f"{side}.block.0")
    layer.load_state_dict(golden.stock("param", list(layer.state_dict())), strict=True)
    golden.used.clear()
    return model, layer


def grafted_layer(golden: Released, side: str, wide: bool = True) -> tuple[nn.Module, nn.Module]:
    model, layer = layer_of(golden, side, wide)
    inarch.graft(model, golden.method)
    return model, layer
