"""open_clip image towers by address, on a tiny architecture registered for the test."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from inarch import backbones
from inarch.backbones.classifier import ImageClassifier
from inarch.backbones.processors import CLIP
from inarch.errors import ConfigError, Corrupt, Incomplete, Mismatch, StorageError
from inarch.preprocess import Preprocess

CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 40, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    folder = tmp_path_factory.mktemp("open_clip")
    (folder / "tiny-test.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "tiny-test.json")
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG).eval()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model, folder / "open_clip_model.safetensors"


def _pixels(side: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_the_image_tower_loads_exactly_and_gets_a_linear_head(clip: tuple[nn.Module, Path]) -> None:
    bare = backbones.load(f"open_clip:tiny-test@{clip[1]}")
    assert isinstance(bare.model, ImageClassifier) and bare.library == "open_clip" and bare.source["head"] == "none"
    assert torch.equal(backbones.logits(bare.model, _pixels()), clip[0].encode_image(_pixels()))
    headed = backbones.load(bare.address, classes=5)
    assert isinstance(headed.model.head, nn.Linear) and headed.model.head.in_features == 12
    assert backbones.logits(headed.model, _pixels()).shape == (2, 5) and not headed.model.head.weight.any()
    assert headed.preprocess == Preprocess(32, None, "crop", *CLIP)
    drawn = backbones.load(bare.address, classes=5, head_init="library", seed=3).model
    assert torch.equal(drawn.head.weight, backbones.load(bare.address, classes=5, head_init="library", seed=3).model.head.weight)


def test_another_size_resamples_positions_as_open_clip_does(clip: tuple[nn.Module, Path]) -> None:
    loaded = backbones.load(f"open_clip:tiny-test@{clip[1]}", image_size=48)
    expected = open_clip.create_model("tiny-test", pretrained=str(clip[1]), force_image_size=48).eval()
    assert torch.equal(backbones.logits(loaded.model, _pixels(48)), expected.encode_image(_pixels(48)))
    assert loaded.preprocess.size == loaded.image_size == 48
    with pytest.raises(ConfigError, match="use 40 or 48"):
        backbones.load(f"open_clip:tiny-test@{clip[1]}", image_size=44)


def test_a_folder_as_open_clip_publishes_it_loads(clip: tuple[nn.Module, Path], tmp_path: Path) -> None:
    rules = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": rules}))
    (tmp_path / "open_clip_model.safetensors").write_bytes(clip[1].read_bytes())
    loaded = backbones.load(str(tmp_path), classes=3)
    assert loaded.preprocess == Preprocess(32, interpolation="bilinear")
    assert torch.equal(loaded.model.visual(_pixels()), clip[0].encode_image(_pixels()))
    (tmp_path / "open_clip_model.safetensors").unlink()
    with pytest.raises(Incomplete, match=r"open_clip_model.safetensors or model.safetensors"):
        backbones.load(str(tmp_path))
    assert backbones.load(str(tmp_path), pretrained=False).source["pretrained"] is False


def test_a_cached_tag_loads_offline(clip: tuple[nn.Module, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    rules = open_clip.get_pretrained_cfg("ViT-B-32", "openai") | {"hf_hub": "org/tiny/"}
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: ["openai"])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: rules)
    with pytest.raises(StorageError, match=r"org/tiny: open_clip_model.safetensors"):
        backbones.load("open_clip:tiny-test/openai")
    repository = tmp_path / "models--org--tiny"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc" / "open_clip_model.safetensors").write_bytes(clip[1].read_bytes())
    loaded = backbones.load("open_clip:tiny-test/openai")
    assert loaded.source["revision"] == "abc" and loaded.source["model_cfg"]["quick_gelu"] is True  # as the tag was trained


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"visual.proj": None}, Mismatch, "Missing.*visual.proj"),
        ({"visual.extra": torch.zeros(1)}, Mismatch, "Unexpected.*visual.extra"),
        ({"visual.positional_embedding": torch.zeros(37, 16)}, Mismatch, "give image_size"),
        ({"visual.proj": torch.full((16, 12), float("nan"))}, Corrupt, "visual.proj has 192 values"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    clip: tuple[nn.Module, Path], tmp_path: Path, change: dict, error: type, words: str
) -> None:
    state = {name: tensor for name, tensor in (load_file(clip[1]) | change).items() if tensor is not None}
    save_file(state, tmp_path / "changed.safetensors")
    with pytest.raises(error, match=words):
        backbones.load(f"open_clip:tiny-test@{tmp_path / 'changed.safetensors'}", classes=3)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("open_clip:ViT-B-33", "did you mean 'ViT-B-32'"),
        ("open_clip:ViT-B-32/opnai", "did you mean 'openai'"),
        ("open_clip:ViT-B-32", "say which weights"),
        ("open_clip:coca_ViT-B-32/laion2b_s13b_b90k", "captioner"),
        ("open_clip:tiny-test@no-such.safetensors", "no weights file"),
    ],
)
def test_wrong_names_are_refused(clip: tuple[nn.Module, Path], address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        backbones.load(address, pretrained="coca" not in address)
