"""transformers models by address: tiny random models saved by transformers itself, loaded back by inarch."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from inarch import backbones
from inarch.backbones import hf
from inarch.errors import ConfigError, Corrupt, Incomplete, Mismatch, StorageError, Unsafe
from inarch.preprocess import Preprocess

SIDE, OTHER = 32, 48
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": SIDE,
       "patch_size": 8, "num_labels": 3}
TOWERS = {"vision_config": VIT, "text_config": {**VIT, "vocab_size": 40}, "num_labels": 3}
SWIN = {"image_size": SIDE, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4,
        "num_labels": 3}
BEIT = VIT | {"use_relative_position_bias": True}
CLASSIFIERS = {
    "ViTForImageClassification": ("ViTConfig", VIT),
    "DeiTForImageClassification": ("DeiTConfig", VIT),
    "DeiTForImageClassificationWithTeacher": ("DeiTConfig", VIT),
    "Dinov2ForImageClassification": ("Dinov2Config", VIT),
    "Dinov2WithRegistersForImageClassification": ("Dinov2WithRegistersConfig", VIT),
    "BeitForImageClassification": ("BeitConfig", BEIT),
    "SwinForImageClassification": ("SwinConfig", SWIN),
    "CLIPForImageClassification": ("CLIPConfig", TOWERS),
    "SiglipForImageClassification": ("SiglipConfig", TOWERS),
}
TRUNKS = {
    "ViTModel": ("ViTConfig", VIT, ["pooler"]),
    "Dinov2Model": ("Dinov2Config", VIT, []),
    "CLIPModel": ("CLIPConfig", TOWERS, ["logit_scale", "text_model", "text_projection", "visual_projection"]),
    "SiglipModel": ("SiglipConfig", TOWERS, ["logit_bias", "logit_scale", "text_model"]),
}


def _build(kind: str, config: str, fields: dict) -> nn.Module:
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(**fields)).eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def _save(model: nn.Module, folder: Path) -> Path:
    with hf.quiet():
        model.save_pretrained(folder)
    return folder


def _pixels(side: int = SIDE) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    model = _build("ViTForImageClassification", "ViTConfig", VIT)
    return model, _save(model, tmp_path_factory.mktemp("vit"))


def _damaged(vit: tuple[nn.Module, Path], folder: Path, change) -> Path:
    """A copy of the folder whose tensors ``change`` has edited in place."""
    state = load_file(vit[1] / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_bytes((vit[1] / "config.json").read_bytes())
    return folder


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_classifier_loads_exactly_and_takes_a_fresh_head_and_another_size(kind: str, tmp_path: Path) -> None:
    model = _build(kind, *CLASSIFIERS[kind])
    _save(model, tmp_path)
    loaded = backbones.load(f"hf:{tmp_path}")
    assert type(loaded.model) is type(model) and loaded.library == "transformers" and loaded.image_size == SIDE
    assert loaded.source["head"] == "native" and loaded.source["pretrained"] and len(loaded.source["sha256"]) == 64
    assert torch.equal(backbones.logits(loaded.model, _pixels()), model(_pixels()).logits)

    fresh = backbones.load(str(tmp_path), classes=7, image_size=OTHER)
    assert fresh.source["head"] == "fresh" and (fresh.image_size, fresh.preprocess.size) == (OTHER, OTHER)
    assert backbones.logits(fresh.model, _pixels(OTHER)).shape == (2, 7)
    assert not backbones.logits(fresh.model, _pixels(OTHER)).any()  # a zero head
    again = _save(fresh.model, tmp_path / "again")
    reloaded = backbones.load(str(again)).model.state_dict()
    assert all(torch.equal(tensor, reloaded[name]) for name, tensor in fresh.model.state_dict().items())


@pytest.mark.parametrize("kind", TRUNKS)
def test_a_trunk_gets_the_classifier_of_its_family_and_says_what_is_unused(kind: str, tmp_path: Path) -> None:
    config, fields, unused = TRUNKS[kind]
    trunk = _build(kind, config, fields)
    loaded = backbones.load(str(_save(trunk, tmp_path)), classes=4)
    assert loaded.source["unused"] == unused
    own = {name.removeprefix(f"{loaded.model.base_model_prefix}."): tensor for name, tensor in loaded.model.state_dict().items()}
    assert "classifier.weight" in own
    for name, tensor in trunk.state_dict().items():
        assert name.partition(".")[0] in unused or torch.equal(own[name], tensor)


@pytest.mark.parametrize("kind", ["ViTForImageClassification", "CLIPForImageClassification", "SiglipForImageClassification"])
def test_resampled_positions_are_those_of_interpolate_pos_encoding(kind: str, tmp_path: Path) -> None:
    model = _build(kind, *CLASSIFIERS[kind])
    loaded = backbones.load(str(_save(model, tmp_path)), image_size=OTHER)
    expected = model(_pixels(OTHER), interpolate_pos_encoding=True).logits
    torch.testing.assert_close(backbones.logits(loaded.model, _pixels(OTHER)), expected, rtol=0, atol=1e-6)


def test_a_processor_of_another_size_than_the_model_wins_as_dinov2_ships_it(tmp_path: Path) -> None:
    model = _build("Dinov2ForImageClassification", "Dinov2Config", VIT | {"image_size": 56})
    _save(model, tmp_path)
    rule = {"do_center_crop": True, "crop_size": 32, "size": {"shortest_edge": 40}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(rule))
    loaded = backbones.load(str(tmp_path))
    assert (loaded.image_size, loaded.preprocess.resize, loaded.model.config.image_size) == (32, 40, 32)
    torch.testing.assert_close(backbones.logits(loaded.model, _pixels()), model(_pixels()).logits, rtol=0, atol=1e-6)


def test_a_fresh_head_comes_from_the_seed_and_leaves_the_global_generator_alone(vit: tuple[nn.Module, Path]) -> None:
    before = torch.get_rng_state()
    first, same, other = (backbones.load(str(vit[1]), classes=5, head_init="library", seed=seed).model for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.classifier.weight, same.classifier.weight) and first.classifier.weight.any()
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert first.config.num_labels == first.num_labels == 5


def test_without_weights_or_on_meta_nothing_is_read(vit: tuple[nn.Module, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((vit[1] / "config.json").read_bytes())
    drawn = backbones.load(str(tmp_path), pretrained=False, classes=2)
    assert drawn.source["pretrained"] is False and backbones.logits(drawn.model, _pixels()).shape == (2, 2)
    meta = backbones.load(str(tmp_path), device="meta", classes=2, image_size=OTHER)
    assert all(parameter.is_meta for parameter in meta.model.parameters())


def test_half_precision_weights_are_computed_in_single(vit: tuple[nn.Module, Path], tmp_path: Path) -> None:
    _damaged(vit, tmp_path, lambda state: state.update({name: tensor.half() for name, tensor in state.items()}))
    assert {parameter.dtype for parameter in backbones.load(str(tmp_path)).model.parameters()} == {torch.float32}


LAYER = "vit.encoder.layer.1.layernorm_after.bias"  # as files name it; transformers 5 maps it to vit.layers.1


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda s: s.pop(LAYER), Mismatch, "lack vit.layers.1.layernorm_after.bias"),
        (lambda s: s.update({LAYER.replace("1", "7"): torch.zeros(16)}), Mismatch, "hold vit.layers.7.layernorm_after.bias"),
        (lambda s: s.update({LAYER: torch.zeros(17)}), Mismatch, r"\(17,\) for \(16,\)"),
        (lambda s: s.update({"classifier.weight": torch.zeros(4, 16)}), Mismatch, "classifier.weight"),
        (lambda s: s[LAYER].fill_(float("nan")), Corrupt, "16 values that are not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    vit: tuple[nn.Module, Path], tmp_path: Path, change, error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        backbones.load(str(_damaged(vit, tmp_path, change)))


def test_another_towers_or_an_old_heads_tensors_are_let_go(vit: tuple[nn.Module, Path], tmp_path: Path) -> None:
    names = ("text_model.layers.0.weight", "lm_head.bias", "vit.embeddings.mask_token")
    extra = {name: torch.zeros(1, 1, 16) for name in names}
    loaded = backbones.load(str(_damaged(vit, tmp_path, lambda state: state.update(extra))))
    assert loaded.source["unused"] == ["lm_head", "text_model", "vit"]


@pytest.mark.parametrize(
    ("write", "error", "words"),
    [
        (lambda f: (f / "model.safetensors").unlink(), Incomplete, "no weights"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), Unsafe, "pickled weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04\x95" + bytes(30)), Unsafe, "pickle"),
        (lambda f: (f / "model.safetensors").write_bytes(b"PK\x03\x04" + bytes(30)), Unsafe, "pickle"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), Corrupt, "empty"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]), Corrupt, "not a whole"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), ConfigError, "adapter"),
        (lambda f: (f / "config.json").write_text("{"), Corrupt, "JSON"),
        (lambda f: (f / "config.json").write_text('{"model_type": "vitt"}'), ConfigError, "did you mean 'vit'"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), ConfigError, "no image classifier"),
    ],
)
def test_a_damaged_folder_is_refused(vit: tuple[nn.Module, Path], tmp_path: Path, write, error: type, words: str) -> None:
    _damaged(vit, tmp_path, lambda state: None)
    write(tmp_path)
    with pytest.raises(error, match=words):
        backbones.load(str(tmp_path))


def test_a_header_whose_length_looks_like_a_pickle_is_no_pickle(tmp_path: Path) -> None:
    from inarch.backbones.weights_file import shapes

    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(0x0280)
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert (tmp_path / "a.safetensors").read_bytes()[:2] == b"\x80\x02"
    assert shapes(tmp_path / "a.safetensors") == {"a": (1,)}


def test_shards_are_read_and_a_missing_one_is_named(vit: tuple[nn.Module, Path], tmp_path: Path) -> None:
    with hf.quiet():
        vit[0].save_pretrained(tmp_path, max_shard_size=8_000)
    loaded = backbones.load(str(tmp_path))
    assert torch.equal(backbones.logits(loaded.model, _pixels()), vit[0](_pixels()).logits)
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(Incomplete, match=shard.name):
        backbones.load(str(tmp_path))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))
    with pytest.raises(Unsafe, match="outside the folder"):
        backbones.load(str(tmp_path))


@pytest.mark.parametrize(("size", "words"), [(30, "use 24 or 32"), (1, "use 8 or 16")])
def test_a_size_that_cuts_patches_is_refused(vit: tuple[nn.Module, Path], size: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        backbones.load(str(vit[1]), image_size=size)


def test_a_family_that_cannot_take_a_size_says_so(tmp_path: Path) -> None:
    _save(_build("SwinForImageClassification", "SwinConfig", SWIN), tmp_path)
    with pytest.raises(ConfigError, match="SwinForImageClassification cannot take image_size=8"):
        backbones.load(str(tmp_path), image_size=8)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"image_processor_type": "ViTImageProcessor", "size": {"height": 48, "width": 48}, "image_mean": [0.1] * 3},
         Preprocess(48, mean=(0.1,) * 3, interpolation="bilinear")),
        ({"size": 48, "resample": 3, "do_normalize": False}, Preprocess(48, mean=(0,) * 3, std=(1,) * 3)),
        ({"size": {"shortest_edge": 56}, "crop_size": {"height": 48, "width": 48}, "do_center_crop": True, "resample": 1},
         Preprocess(48, 56, "crop", interpolation="lanczos")),
        ({"size": 48, "crop_size": 48, "do_center_crop": True, "resample": 2},
         Preprocess(48, None, "crop", interpolation="bilinear")),
        ({"size": {"shortest_edge": 48}, "crop_pct": 0.875, "resample": 3}, Preprocess(48, 54, "crop")),
        ({"image_processor": {"size": {"height": 48, "width": 48}, "resample": 0}}, Preprocess(48, interpolation="nearest")),
    ],
)
def test_the_image_processor_is_read(vit: tuple[nn.Module, Path], tmp_path: Path, fields: dict, expected: Preprocess) -> None:
    _damaged(vit, tmp_path, lambda state: None)
    name = "processor_config.json" if "image_processor" in fields else "preprocessor_config.json"
    (tmp_path / name).write_text(json.dumps(fields))
    loaded = backbones.load(str(tmp_path))
    assert loaded.preprocess == expected and loaded.image_size == 48  # the processor's size is the model's from now on
    assert backbones.load(str(tmp_path), image_size=96).preprocess == expected.resized(96)


@pytest.mark.parametrize("fields", [{"rescale_factor": 1.0}, {"resample": 5}, {"size": {"height": 32, "width": 9}}, {"size": ""}])
def test_a_processor_that_cannot_be_followed_is_refused(vit: tuple[nn.Module, Path], tmp_path: Path, fields: dict) -> None:
    _damaged(vit, tmp_path, lambda state: None)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 32} | fields))
    with pytest.raises(ConfigError, match="give the preprocessing explicitly"):
        backbones.load(str(tmp_path))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_cached_hub_model_loads_offline_with_its_commit_and_licence(vit: tuple[nn.Module, Path], cache: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = cache / "models--org--tiny" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (cache / "models--org--tiny" / "refs").mkdir()
    (cache / "models--org--tiny" / "refs" / "main").write_text(commit)
    for path in vit[1].iterdir():
        (snapshot / path.name).write_bytes(path.read_bytes())
    (snapshot / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    loaded = backbones.load("hf:org/tiny")
    assert loaded.address == "hf:org/tiny"
    assert (loaded.source["revision"], loaded.source["licence"]) == (commit, "apache-2.0")
    assert torch.equal(backbones.logits(loaded.model, _pixels()), vit[0](_pixels()).logits)
    with pytest.raises(StorageError, match="HF_HUB_OFFLINE=1"):
        backbones.load("hf:org/tiny@another-revision")


def test_offline_a_hub_name_fails_at_once_with_the_way_out(cache: Path) -> None:
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"HF_HUB_OFFLINE=1 is set; .*HF_HOME.*local folder") as caught:
        backbones.load("hf:google/vit-base-patch16-224-in21k")
    assert str(cache) in str(caught.value) and time.monotonic() - start < 2


def test_an_unreachable_hub_fails_at_once_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"http://127.0.0.1:9 cannot be reached"):
        backbones.load("hf:google/vit-base-patch16-224-in21k")
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("classes", [None, 10])
def test_the_embedded_backbone_loads_and_its_features_tell_images_apart(classes: int | None) -> None:
    found = backbones.load("mini-vit", classes=classes)
    assert found.address == "mini-vit" and found.preprocess.size == found.image_size == 64
    assert found.source["head"] == "fresh"
    nn.init.normal_(found.model.classifier.weight, generator=torch.Generator().manual_seed(0))
    first, second = backbones.logits(found.model, _pixels(64))
    assert first.shape == (classes or 2,) and not torch.allclose(first, second)
