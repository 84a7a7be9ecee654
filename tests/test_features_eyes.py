"""Image towers as grids: equal to what the tower's own forward pass computes inside, in the order of the picture, whole and frozen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from inarch.backbones.eyes import load_eyes
from inarch.backbones.eyes_rows import sight, square
from inarch.backbones.processors import CLIP
from inarch.errors import ConfigError
from inarch.preprocess import Preprocess

PLAIN = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32, "patch_size": 8}
WINDOWS = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2}
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}
# name -> (configuration class, its fields, the module whose output holds the grid, prefix tokens)
TRANSFORMERS: dict[str, tuple[str, dict[str, Any], str, int]] = {
    "vit": ("ViTConfig", PLAIN, "vit.layernorm", 1),
    "deit": ("DeiTConfig", PLAIN, "deit.layernorm", 2),
    "beit": ("BeitConfig", PLAIN, "beit.layers.1", 1),
    "dinov2": ("Dinov2Config", PLAIN, "dinov2.layernorm", 1),
    "registers": ("Dinov2WithRegistersConfig", PLAIN | {"num_register_tokens": 3}, "dinov2_with_registers.layernorm", 4),
    "clip": ("CLIPConfig", {"vision_config": PLAIN}, "vision_model.encoder.layers.1", 1),
    "siglip": ("SiglipConfig", {"vision_config": PLAIN}, "vision_model.post_layernorm", 0),
    "swin": ("SwinConfig", WINDOWS, "swin.layernorm", 0),
    "swinv2": ("Swinv2Config", WINDOWS, "swinv2.layernorm", 0),
    "resnet": ("ResNetConfig", STAGES | {"embedding_size": 8}, "resnet.encoder.stages.1", 0),
    "convnext": ("ConvNextConfig", STAGES | {"num_stages": 2}, "convnext.encoder.stages.1", 0),
}
TIMM = {"test_vit": "norm", "test_convnext": "stages.3", "test_resnet": "layer4", "swin_tiny_patch4_window7_224": "norm"}
SWIN = {"embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2), "img_size": 56}


def pixels(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random in every tensor: a fresh tower has zeros and ones that would hide a wrong path."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(noise.abs() + 0.5 if "running_var" in name else 0.2 * noise + (tensor.dim() == 1))
    return model.eval()


def inner(model: nn.Module, module: str, images: Tensor) -> Tensor:
    """What ``module`` gives in the model's own forward pass."""
    seen: list[Any] = []
    handle = model.get_submodule(module).register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        model(images)
    handle.remove()
    return seen[0][0] if isinstance(seen[0], tuple) else seen[0]


def cell_by_cell(found: Tensor, prefix: int, channels_last: bool = False) -> Tensor:
    """Tokens or a map as [batch, h w, width], one cell at a time, rows first."""
    if found.dim() == 3:
        return torch.stack([found[:, i] for i in range(prefix, found.shape[1])], 1)
    height, width = found.shape[1:3] if channels_last else found.shape[2:4]
    cells = [found[:, y, x] if channels_last else found[:, :, y, x] for y in range(height) for x in range(width)]
    return torch.stack(cells, 1)


def tiny(family: str) -> nn.Module:
    import transformers

    config, fields, _, _ = TRANSFORMERS[family]
    made = getattr(transformers, config)(**fields)
    if made.architectures is None and family == "deit":
        made.architectures = ["DeiTForImageClassification"]
        return shaken(transformers.DeiTForImageClassification(made))
    return shaken(transformers.AutoModelForImageClassification.from_config(made))


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_a_transformers_tower_gives_its_last_hidden_state_without_the_prefix(family: str, tmp_path: Path) -> None:
    model, (_, _, module, prefix) = tiny(family), TRANSFORMERS[family]
    model.save_pretrained(tmp_path)
    convolutional = family in ("resnet", "convnext")
    eyes = load_eyes(f"hf:{tmp_path}", image_size=32 if convolutional else None)
    expected = cell_by_cell(inner(model, module, pixels(32)), prefix)
    with torch.no_grad():
        found = eyes(pixels(32))
    assert torch.equal(found, expected)
    assert found.shape == (2, eyes.tokens, eyes.width) and eyes.grid[0] * eyes.grid[1] == eyes.tokens and eyes.width == 16


@pytest.mark.parametrize("name", TIMM)
def test_a_timm_tower_gives_its_final_map(name: str, tmp_path: Path) -> None:
    import timm

    windows = name.startswith("swin")
    model = shaken(timm.create_model(name, **(SWIN if windows else {})))
    if windows:  # a small one of the architecture, as timm saves it
        fields = {"architecture": name, "num_classes": 1000, "model_args": SWIN, "pretrained_cfg": {"input_size": [3, 56, 56]}}
        (tmp_path / "config.json").write_text(json.dumps(fields))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    eyes = load_eyes(f"timm:{tmp_path}" if windows else f"timm:{name}@{tmp_path / 'model.safetensors'}")
    side = eyes.preprocess.size
    expected = cell_by_cell(inner(model, TIMM[name], pixels(side)), 1 if name == "test_vit" else 0, channels_last=windows)
    with torch.no_grad():
        assert torch.equal(eyes(pixels(side)), expected)


def open_clip_config(vision: dict[str, Any]) -> dict[str, Any]:
    text = {"context_length": 8, "vocab_size": 40, "width": 16, "heads": 2, "layers": 1}
    return {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}


def open_clip_folder(folder: Path, vision: dict[str, Any]) -> nn.Module:
    """A tiny CLIP in a folder as open_clip publishes one; returns its image tower."""
    import open_clip

    config = open_clip_config(vision)
    model = shaken(open_clip.CLIP(**config))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    rules = {"mean": CLIP[0], "std": CLIP[1], "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": rules}))
    return model.visual


def test_clip_resnet_gives_layer_4_before_attention_pooling(tmp_path: Path) -> None:
    visual = open_clip_folder(tmp_path, {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8})
    eyes = load_eyes(f"open_clip:{tmp_path}")
    assert (eyes.grid, eyes.width) == ((2, 2), 256)
    with torch.no_grad():
        assert torch.equal(eyes(pixels(64)), cell_by_cell(inner(visual, "layer4", pixels(64)), 0))


def test_open_clip_vit_gives_its_own_output_tokens(tmp_path: Path) -> None:
    visual = open_clip_folder(tmp_path, {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8})
    visual.output_tokens = True
    with torch.no_grad():
        _, tokens = visual(pixels(32))
        found = load_eyes(f"open_clip:{tmp_path}")(pixels(32))
    assert found.shape == (2, 16, 16) and torch.allclose(found, tokens, atol=1e-6)


def test_open_clip_with_a_timm_tower_is_read_as_timm(tmp_path: Path) -> None:
    vision = {"timm_model_name": "test_resnet", "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "linear"}
    visual = open_clip_folder(tmp_path, vision | {"image_size": 160})
    with torch.no_grad():
        assert torch.equal(load_eyes(f"open_clip:{tmp_path}")(pixels(160)), cell_by_cell(inner(visual, "trunk.layer4", pixels(160)), 0))


def test_rn101_is_seven_by_seven_by_2048() -> None:
    """The paper's tower, on the meta device: shapes and nothing else."""
    eyes = load_eyes("open_clip:RN101/openai", device="meta")
    assert (eyes.grid, eyes.tokens, eyes.width) == ((7, 7), 49, 2048)
    assert eyes.preprocess == Preprocess(224, None, "squash", *CLIP, "bicubic")


@pytest.mark.parametrize("address", ["config:vit-b16", "config:clip-vit-b16"])
def test_the_papers_vits_give_fourteen_by_fourteen(address: str) -> None:
    assert load_eyes(address, device="meta").grid == (14, 14)
    assert load_eyes(address, 320, device="meta").grid == (20, 20)


def test_tokens_are_in_reading_order(tmp_path: Path) -> None:
    """A tower without layers sees each patch alone: what changes in the patch of row 1, column 2 changes token 1 * 4 + 2 alone."""
    import transformers

    model = shaken(transformers.ViTForImageClassification(transformers.ViTConfig(**PLAIN | {"num_hidden_layers": 0})))
    model.save_pretrained(tmp_path)
    eyes, picture = load_eyes(str(tmp_path)), pixels(32, 1)
    touched = picture.clone()
    touched[..., 8:16, 16:24] += 1
    changed = (eyes(touched) != eyes(picture)).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == [1 * 4 + 2]


def test_the_whole_picture_is_seen_unless_the_library_crop_is_asked_for(tmp_path: Path) -> None:
    open_clip_folder(tmp_path, {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8})
    assert load_eyes(str(tmp_path)).preprocess == Preprocess(32, None, "squash", *CLIP)
    assert load_eyes(str(tmp_path), resize="backbone").preprocess == Preprocess(32, None, "crop", *CLIP)
    with pytest.raises(ConfigError, match="did you mean 'squash'"):
        load_eyes(str(tmp_path), resize="squish")  # type: ignore[arg-type]


def test_eyes_stay_shut_to_training(tmp_path: Path) -> None:
    """Neither a gradient nor train() around them changes batch statistics or weights."""
    model = tiny("resnet")
    model.save_pretrained(tmp_path)
    eyes = load_eyes(str(tmp_path), 32)
    around = nn.Sequential(eyes, nn.Linear(16, 2)).train()
    before = {name: tensor.clone() for name, tensor in eyes.state_dict().items()}
    around(pixels(32)).sum().backward()
    assert not any(module.training for module in eyes.modules()) and not any(p.requires_grad for p in eyes.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in eyes.state_dict().items())


def test_the_fingerprint_knows_weights_and_statistics_but_not_places(tmp_path: Path) -> None:
    for place in ("a", "b", "c"):
        model = tiny("resnet")
        if place == "c":
            next(buffer for name, buffer in model.named_buffers() if name.endswith("running_mean"))[0] += 1
        model.save_pretrained(tmp_path / place)
    first, same, other = (load_eyes(str(tmp_path / place)).fingerprint for place in ("a", "b", "c"))
    assert first == same != other
    assert load_eyes(str(tmp_path / "a")).origin()["fingerprint"] == first


class Unsaid(nn.Module):
    """Tokens, and no word on which of them are patches."""

    def forward_features(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 17, 4)


def test_what_has_no_grid_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="no image tower with a known grid; known: vit, "):
        load_eyes("config:vl-bart-base", device="meta")
    model, read = sight(Unsaid(), "timm", "timm:unsaid")
    with pytest.raises(ConfigError, match="Unsaid does not say which of its tokens are patches"):
        read(model, pixels(32))
    with pytest.raises(ConfigError, match="11 tokens of which 1 stand before the patches"):
        square(torch.zeros(1, 11, 4), 1)
