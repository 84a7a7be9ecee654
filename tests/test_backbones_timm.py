"""timm models by address: strict loading whatever the number of classes, sizes only on request, hub names through the cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from inarch import backbones
from inarch.errors import ConfigError, Corrupt, Mismatch, MissingExtra, StorageError, Unsafe
from inarch.preprocess import Preprocess

NAME = "test_vit.r160_in1k"  # timm's own small test model: 160 px, 16 px patches, 0.4 M numbers


def _random(name: str, **arguments: object) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, **arguments).eval()


def _pixels(side: int = 160) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    model = _random("test_vit")
    file = tmp_path_factory.mktemp("timm") / "weights.safetensors"
    save_file(model.state_dict(), file)
    return model, file


def test_local_weights_load_exactly_with_the_preprocessing_of_the_tag(vit: tuple[nn.Module, Path]) -> None:
    loaded = backbones.load(f"timm:test_vit@{vit[1]}")
    assert loaded.address == f"timm:{NAME}@{vit[1]}"  # the tag is pinned
    assert loaded.preprocess == Preprocess(160, 168, "crop") and loaded.image_size == 160
    assert loaded.source["head"] == "native" and loaded.library == "timm" and len(loaded.source["sha256"]) == 64
    assert torch.equal(backbones.logits(loaded.model, _pixels()), vit[0](_pixels()))
    again = backbones.load(loaded.address)
    assert again.source == loaded.source and again.preprocess == loaded.preprocess


def test_a_fresh_head_keeps_every_other_tensor(vit: tuple[nn.Module, Path]) -> None:
    before = torch.get_rng_state()
    zeros = backbones.load(f"timm:{NAME}@{vit[1]}", classes=6)
    drawn, same, other = (backbones.load(zeros.address, classes=6, head_init="library", seed=s).model for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert zeros.source["head"] == "fresh" and not backbones.logits(zeros.model, _pixels()).any()
    assert torch.equal(drawn.head.weight, same.head.weight) and not torch.equal(drawn.head.weight, other.head.weight)
    for name, tensor in vit[0].state_dict().items():
        assert name.startswith("head.") or torch.equal(zeros.model.state_dict()[name], tensor)


def test_a_headless_file_and_one_with_another_head_load_too(vit: tuple[nn.Module, Path], tmp_path: Path) -> None:
    state = load_file(vit[1])
    bare = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    save_file(bare, tmp_path / "bare.safetensors")
    assert backbones.load(f"timm:{NAME}@{tmp_path / 'bare.safetensors'}", classes=6).model.num_classes == 6
    features = backbones.load(f"timm:{NAME}@{tmp_path / 'bare.safetensors'}")
    assert features.source["head"] == "none" and backbones.logits(features.model, _pixels()).shape == (2, 64)
    save_file(bare | {"head.weight": torch.ones(9, 64), "head.bias": torch.zeros(9)}, tmp_path / "nine.safetensors")
    nine = backbones.load(f"timm:{NAME}@{tmp_path / 'nine.safetensors'}")
    assert nine.source["head"] == "native" and backbones.logits(nine.model, _pixels()).shape == (2, 9)


@pytest.mark.parametrize("side", [96, 224])
def test_another_size_resamples_positions_as_timm_does(vit: tuple[nn.Module, Path], side: int) -> None:
    loaded = backbones.load(f"timm:{NAME}@{vit[1]}", image_size=side)
    expected = timm.create_model("test_vit", pretrained=True, pretrained_cfg_overlay={"file": str(vit[1])}, img_size=side).eval()
    assert torch.equal(backbones.logits(loaded.model, _pixels(side)), expected(_pixels(side)))
    assert loaded.source["model_args"] == {"img_size": side}
    assert (loaded.image_size, loaded.preprocess) == (side, Preprocess(160, 168, "crop").resized(side))


@pytest.mark.parametrize("side", [64, 96])
def test_swin_takes_small_images(side: int) -> None:
    loaded = backbones.load("timm:swin_tiny_patch4_window7_224", pretrained=False, classes=3, image_size=side)
    assert backbones.logits(loaded.model, _pixels(side)).shape == (2, 3) and loaded.source["pretrained"] is False


def test_a_convolutional_family_takes_any_size_and_meta_reads_nothing() -> None:
    assert backbones.load("timm:test_resnet", pretrained=False, classes=3, image_size=50).preprocess.size == 50
    assert all(p.is_meta for p in backbones.load("timm:vit_base_patch16_224", device="meta", classes=3).model.parameters())


def _change(vit: tuple[nn.Module, Path], folder: Path, **change: torch.Tensor | None) -> Path:
    state = {name: tensor for name, tensor in (load_file(vit[1]) | change).items() if tensor is not None}
    save_file(state, folder / "changed.safetensors")
    return folder / "changed.safetensors"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"norm.bias": None}, Mismatch, "Missing.*norm.bias"),
        ({"extra.bias": torch.zeros(1)}, Mismatch, "Unexpected.*extra.bias"),
        ({"norm.bias": torch.zeros(65)}, Mismatch, r"norm.bias \(65,\) for \(64,\)"),
        ({"pos_embed": torch.zeros(1, 37, 64)}, Mismatch, "give image_size"),
        ({"patch_embed.proj.weight": torch.zeros(64, 3, 8, 8)}, Mismatch, "patch_embed.proj.weight"),
        ({"norm.bias": torch.full((64,), float("inf"))}, Corrupt, "norm.bias has 64 values"),
    ],
)
@pytest.mark.parametrize("classes", [None, 6])
def test_a_file_that_does_not_fit_is_refused_with_any_number_of_classes(
    vit: tuple[nn.Module, Path], tmp_path: Path, change: dict, error: type, words: str, classes: int | None
) -> None:
    with pytest.raises(error, match=words):
        backbones.load(f"timm:{NAME}@{_change(vit, tmp_path, **change)}", classes=classes)


def test_positions_of_another_size_load_where_a_size_is_asked_for_but_never_other_patches(
    vit: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    smaller = _change(vit, tmp_path, pos_embed=torch.randn(1, 37, 64))
    assert backbones.load(f"timm:{NAME}@{smaller}", image_size=160).model.pos_embed.shape == (1, 101, 64)
    patches = _change(vit, tmp_path, **{"patch_embed.proj.weight": torch.zeros(64, 3, 8, 8)})
    with pytest.raises(Mismatch, match="patch_embed"):
        backbones.load(f"timm:{NAME}@{patches}", image_size=160)


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("timm:vit_tiny_patch16_223", ConfigError, "did you mean 'vit_tiny_patch16_224'"),
        ("timm:zzzzzzzzzzzzzzz", ConfigError, "none of [0-9]+ known names is near"),
        ("timm:vit_tiny_patch16_224.agreg_in21k", ConfigError, "did you mean 'augreg_in21k'"),
        ("timm:test_vit@no-such.safetensors", ConfigError, "no weights file 'no-such.safetensors'"),
        ("timm:vit_tiny_patch16_224", StorageError, "_224.augreg_in21k_ft_in1k: model.safetensors is not in the cache"),
    ],
)
def test_wrong_names_are_refused(address: str, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        backbones.load(address)


def test_a_size_that_cuts_patches_is_refused(vit: tuple[nn.Module, Path]) -> None:
    with pytest.raises(ConfigError, match="use 96 or 112"):
        backbones.load(f"timm:{NAME}@{vit[1]}", image_size=100)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\x80\x04\x95" + bytes(40))
    with pytest.raises(Unsafe, match="pickle"):
        backbones.load(f"timm:test_vit@{tmp_path / 'w.safetensors'}")


def test_a_cached_hub_name_loads_offline(vit: tuple[nn.Module, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / f"models--timm--{NAME}"
    (repository / "snapshots" / "abc123").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    (repository / "snapshots" / "abc123" / "model.safetensors").write_bytes(vit[1].read_bytes())
    loaded = backbones.load("timm:test_vit", classes=2)
    assert loaded.address == f"timm:{NAME}"
    assert (loaded.source["revision"], loaded.source["licence"], loaded.source["name"]) == ("abc123", "apache-2.0", NAME)
    assert torch.equal(loaded.model.norm.weight, vit[0].norm.weight)


@pytest.mark.parametrize("address", ["{}", "timm:{}", "hf:{}"])
def test_a_folder_that_timm_saved_loads(vit: tuple[nn.Module, Path], tmp_path: Path, address: str) -> None:
    from timm.models import save_for_hf

    save_for_hf(vit[0], str(tmp_path), safe_serialization=True)
    loaded = backbones.load(address.format(tmp_path))
    assert torch.equal(backbones.logits(loaded.model, _pixels()), vit[0](_pixels()))
    resized = backbones.load(address.format(tmp_path), image_size=96, classes=4)
    assert backbones.logits(resized.model, _pixels(96)).shape == (2, 4)


def test_a_folder_of_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_vitt"}))
    with pytest.raises(ConfigError, match="did you mean 'test_vit"):
        backbones.load(str(tmp_path))


def test_an_absent_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for address, extra in (("timm:test_vit", "timm"), ("open_clip:ViT-B-32", "open_clip"), ("config:vit-ti16", "train")):
        with pytest.raises(MissingExtra, match=rf"inarch\[{extra}\]"):
            backbones.load(address)


@pytest.mark.real
def test_the_real_vit_tiny_loads_strictly_and_its_features_separate_real_images(shared: Path) -> None:
    import numpy as np

    file = shared / "data" / "vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors"
    loaded = backbones.load(f"timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k@{file}")
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) == 5_717_416
    assert loaded.preprocess == Preprocess(224, 248, "crop") and loaded.source["head"] == "native"
    data = np.load(shared / "data" / "fruits71.npz", allow_pickle=False)
    first, second = np.unique(data["y_train"])[:2]
    images = np.concatenate([data["x_train"][data["y_train"] == label][:4] for label in (first, second)])
    pixels = nn.functional.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1, size=224, mode="bicubic")
    with torch.no_grad():
        features = loaded.model.forward_head(loaded.model.forward_features(pixels), pre_logits=True)
        assert len(set(loaded.model(pixels).argmax(-1).tolist())) > 1
    features = nn.functional.normalize(features, dim=-1)
    alike = features @ features.T
    within = (alike[:4, :4].sum() + alike[4:, 4:].sum() - 8) / 24
    assert within > alike[:4, 4:].mean() + 0.1
