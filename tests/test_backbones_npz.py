"""Google's .npz checkpoints: a synthetic one is written from a random transformers ViT by the published layout, and read back."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inarch import backbones
from inarch.backbones import hf
from inarch.errors import ConfigError, Corrupt, Mismatch, Unsafe

DIM, HEADS, DEPTH, PATCH, SIDE, CLASSES = 24, 3, 2, 8, 32, 7
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    model = ViTForImageClassification(ViTConfig(
        hidden_size=DIM, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=40, image_size=SIDE,
        patch_size=PATCH, layer_norm_eps=1e-6, num_labels=CLASSES)).eval()
    for parameter in model.parameters():  # no zero bias may hide a swap
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def _google(model: nn.Module) -> Arrays:
    """The layout of ``vit_models``, written down per tensor: heads apart, kernels [in, out], convolution HWIO."""
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    stem = "vit.embeddings"
    arrays = {
        "cls": state[f"{stem}.cls_token"],
        "Transformer/posembed_input/pos_embedding": state[f"{stem}.position_embeddings"],
        "embedding/kernel": state[f"{stem}.patch_embeddings.projection.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": state[f"{stem}.patch_embeddings.projection.bias"],
        "Transformer/encoder_norm/scale": state["vit.layernorm.weight"],
        "Transformer/encoder_norm/bias": state["vit.layernorm.bias"],
        "head/kernel": state["classifier.weight"].T,
        "head/bias": state["classifier.bias"],
    }
    for i in range(DEPTH):
        here, there = f"vit.layers.{i}", f"Transformer/encoderblock_{i}"
        attention = f"{there}/MultiHeadDotProductAttention_1"
        for ours, theirs in (("q", "query"), ("k", "key"), ("v", "value")):
            projection = f"{here}.attention.{ours}_proj"
            arrays[f"{attention}/{theirs}/kernel"] = state[f"{projection}.weight"].T.reshape(DIM, HEADS, DIM // HEADS)
            arrays[f"{attention}/{theirs}/bias"] = state[f"{projection}.bias"].reshape(HEADS, DIM // HEADS)
        arrays[f"{attention}/out/kernel"] = state[f"{here}.attention.o_proj.weight"].T.reshape(HEADS, DIM // HEADS, DIM)
        arrays[f"{attention}/out/bias"] = state[f"{here}.attention.o_proj.bias"]
        for k in (0, 1):
            arrays[f"{there}/MlpBlock_3/Dense_{k}/kernel"] = state[f"{here}.mlp.fc{k + 1}.weight"].T
            arrays[f"{there}/MlpBlock_3/Dense_{k}/bias"] = state[f"{here}.mlp.fc{k + 1}.bias"]
        for theirs, ours in (("LayerNorm_0", "before"), ("LayerNorm_2", "after")):
            arrays[f"{there}/{theirs}/scale"] = state[f"{here}.layernorm_{ours}.weight"]
            arrays[f"{there}/{theirs}/bias"] = state[f"{here}.layernorm_{ours}.bias"]
    return arrays


@pytest.fixture(scope="module")
def arrays(vit: nn.Module) -> Arrays:
    return _google(vit)


def _write(folder: Path, arrays: Arrays, **change: np.ndarray | None) -> str:
    """The address of a file with ``arrays``, some of them changed or left out."""
    np.savez(folder / "ViT.npz", **{name: array for name, array in (arrays | change).items() if array is not None})
    return f"npz:{folder / 'ViT.npz'}"


def _pixels(side: int = SIDE) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scheme", ["npz", "google"])
def test_the_same_function_comes_back(vit: nn.Module, arrays: Arrays, tmp_path: Path, scheme: str) -> None:
    loaded = backbones.load(_write(tmp_path, arrays).replace("npz:", f"{scheme}:", 1))
    torch.testing.assert_close(backbones.logits(loaded.model, _pixels()), vit(_pixels()).logits, rtol=0, atol=1e-6)
    assert loaded.address == f"npz:{tmp_path / 'ViT.npz'}" and loaded.image_size == SIDE
    assert loaded.source["head"] == "native" and len(loaded.source["sha256"]) == 64
    assert loaded.preprocess.mean == loaded.preprocess.std == (0.5, 0.5, 0.5)  # these checkpoints expect [-1, 1]


def test_a_head_behind_a_representation_layer_is_replaced_never_mixed_up(vit: nn.Module, arrays: Arrays, tmp_path: Path) -> None:
    address = _write(tmp_path, arrays, **{"pre_logits/kernel": np.zeros((DIM, DIM), "f"), "pre_logits/bias": np.zeros(DIM, "f")})
    with pytest.raises(ConfigError, match="pre_logits"):
        backbones.load(address)
    loaded = backbones.load(address, classes=4)
    assert loaded.source["head"] == "fresh" and not loaded.model.classifier.weight.any()
    assert torch.equal(loaded.model.vit(_pixels()).last_hidden_state, vit.vit(_pixels()).last_hidden_state)
    headless = _write(tmp_path, arrays, **{"head/kernel": None, "head/bias": None})
    assert backbones.load(headless, classes=4).model.config.num_labels == 4


def test_positions_are_interpolated_only_on_request_and_the_result_saves(vit: nn.Module, arrays: Arrays, tmp_path: Path) -> None:
    loaded = backbones.load(_write(tmp_path, arrays), image_size=48)
    expected = vit(_pixels(48), interpolate_pos_encoding=True).logits
    torch.testing.assert_close(backbones.logits(loaded.model, _pixels(48)), expected, rtol=0, atol=1e-6)
    with hf.quiet():
        copy.deepcopy(loaded.model).save_pretrained(tmp_path / "saved")
    again = backbones.load(str(tmp_path / "saved"))
    assert torch.equal(backbones.logits(again.model, _pixels(48)), backbones.logits(loaded.model, _pixels(48)))
    with pytest.raises(ConfigError, match="use 40 or 48"):
        backbones.load(_write(tmp_path, arrays), image_size=41)


BLOCK = "Transformer/encoderblock_1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({f"{BLOCK}/LayerNorm_2/bias": None}, f"missing: {BLOCK}/LayerNorm_2/bias; without a place: none"),
        ({f"{BLOCK}/LayerNorm_1/bias": np.zeros(DIM, "f")}, f"missing: none; without a place: {BLOCK}/LayerNorm_1/bias"),
        ({"conv_root/kernel": np.zeros(3, "f")}, "without a place: conv_root/kernel"),
        ({"cls": None}, "missing: cls"),
        ({"embedding/kernel": None}, "no array 'embedding/kernel'"),
        ({"embedding/kernel": np.zeros(3, "f")}, r"\(3,\); expected 4 dimensions"),
        ({"Transformer/posembed_input/pos_embedding": np.zeros((1, 16, DIM), "f")}, "16 tokens; expected 1 . a square, 10 or 17"),
        ({f"{BLOCK}/MlpBlock_3/Dense_0/kernel": np.zeros((DIM, 41), "f")}, r"fc1.weight \(41, 24\) for \(40, 24\)"),
        ({"head/bias": np.zeros(CLASSES, "i4")}, r"head/bias \(int32\)"),
    ],
)
def test_a_file_that_is_no_plain_vit_is_refused_by_name(arrays: Arrays, tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(Mismatch, match=words):
        backbones.load(_write(tmp_path, arrays, **change))


def test_values_that_are_not_finite_are_refused(arrays: Arrays, tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="cls_token has 24 values"):
        backbones.load(_write(tmp_path, arrays, cls=np.full((1, 1, DIM), np.nan, "f")))


def test_pickles_and_damaged_files_are_refused(arrays: Arrays, tmp_path: Path) -> None:
    with pytest.raises(Unsafe, match="pickled"):
        backbones.load(_write(tmp_path, arrays, cls=np.array([{}], dtype=object)))
    (tmp_path / "p.npz").write_bytes(b"\x80\x04\x95" + bytes(40))
    with pytest.raises(Unsafe, match="pickled"):
        backbones.load(f"npz:{tmp_path / 'p.npz'}")
    whole = Path(_write(tmp_path, arrays)[4:]).read_bytes()
    for size in (0, 40, len(whole) // 2, len(whole) - 10):
        (tmp_path / "cut.npz").write_bytes(whole[:size])
        with pytest.raises(Corrupt, match="not a whole"):
            backbones.load(f"npz:{tmp_path / 'cut.npz'}")
    with pytest.raises(ConfigError, match="no weights file"):
        backbones.load(f"npz:{tmp_path / 'none.npz'}")
