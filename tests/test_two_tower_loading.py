"""Two-tower backbones by address: transformers' folders, open_clip's, one in the package; and every way these can be bad."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from clip_folders import PROMPTS, SIDE, WIDTH, pixels, save_bert, save_clip, save_open_clip, tokenizer
from safetensors.torch import load_file, save_file

from inarch import backbones
from inarch.backbones import address, embedded, weights_file
from inarch.backbones.eyes import load_eyes
from inarch.backbones.processors import CLIP
from inarch.errors import ConfigError, Corrupt, Mismatch, Unsafe
from inarch.preprocess import Preprocess


@pytest.fixture(scope="module")
def stock(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return folder


@pytest.fixture
def folder(stock, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(stock, tmp_path / "copy"))


@torch.no_grad()
def said(model) -> torch.Tensor:
    return model(pixels(), model.tokens(PROMPTS))


def refuse(where: Path | str, error: type[Exception], message: str, **more) -> None:
    with pytest.raises(error, match=message):
        backbones.load(f"clip:{where}", **more)


def test_a_transformers_folder(stock):
    from transformers import CLIPModel

    state = torch.get_rng_state()
    found = backbones.load(f"clip:{stock}")
    assert torch.equal(torch.get_rng_state(), state) and found.library == "transformers" and not found.model.training
    theirs = CLIPModel.from_pretrained(stock).state_dict()
    ours = found.model.stock.state_dict()
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[n], ours[n]) for n in ours)
    assert found.preprocess == Preprocess(SIDE, None, "crop", *CLIP) and found.image_size == SIDE and found.model.width == WIDTH
    assert found.source["pretrained"] and found.source["sha256"] == weights_file.sha256([stock / "model.safetensors"])
    assert found.source["head"] == "none"


def test_half_precision_on_disk_is_single_in_memory(folder):
    from transformers import CLIPModel

    CLIPModel.from_pretrained(folder).half().save_pretrained(folder)
    model = backbones.load(f"clip:{folder}").model
    assert {p.dtype for p in model.parameters()} == {torch.float32} and torch.isfinite(said(model)).all()


def test_without_weights(folder):
    (folder / "model.safetensors").unlink()
    one, same, other = (backbones.load(f"clip:{folder}", pretrained=False, seed=seed).model for seed in (1, 1, 2))
    assert torch.equal(said(one), said(same)) and not torch.equal(said(one), said(other))
    assert all(p.is_meta for p in backbones.load(f"clip:{folder}", device="meta").model.parameters())


def test_another_size(stock):
    found = backbones.load(f"clip:{stock}", image_size=48)
    assert found.image_size == found.preprocess.size == 48
    assert found.model.images(torch.zeros(1, 3, 48, 48)).shape == (1, WIDTH)
    refuse(stock, ConfigError, "use 40 or 48", image_size=44)


def test_classes_are_refused(stock):
    refuse(stock, ConfigError, r"no head for 5 classes.*hf:NAME", classes=5)


def test_without_a_processor_clips_own_mean(folder):
    for name in ("preprocessor_config.json", "processor_config.json"):
        (folder / name).unlink(missing_ok=True)
    assert backbones.load(f"clip:{folder}").preprocess == Preprocess(SIDE, mean=CLIP[0], std=CLIP[1])


def test_missing_strange_and_damaged_tensors(folder):
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    name = "visual_projection.weight"
    save_file({n: v for n, v in tensors.items() if n != name}, weights, metadata={"format": "pt"})
    refuse(folder, Mismatch, f"lack, or hold in another shape, {name}")
    save_file(tensors | {name: tensors[name] * torch.nan}, weights, metadata={"format": "pt"})
    refuse(folder, Corrupt, name)
    save_file(tensors | {"vision_model.encoder.layers.2.mlp.fc1.weight": torch.zeros(32, 16)}, weights, metadata={"format": "pt"})
    refuse(folder, Mismatch, r"hold vision_model\.encoder\.layers\.2")
    weights.write_bytes(weights.read_bytes()[:-50])
    refuse(folder, Corrupt, "not a whole safetensors file")
    weights.rename(folder / "pytorch_model.bin")
    refuse(folder, Unsafe, "only pickled weights")


def test_tokenizers_that_do_not_belong(folder):
    words = tokenizer("<start>", "<end>")
    words.add_tokens(["owl"])
    words.save_pretrained(folder)
    refuse(folder, Mismatch, r"tokenizer knows 19 tokens, the text tower 18")
    tokenizer("<end>", "<start>").save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    refuse(folder, Mismatch, r"ends a text with id 17, the text tower is read at 1")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    refuse(folder, ConfigError, r"no tokenizer; expected tokenizer\.json")


def test_a_model_of_another_kind(tmp_path):
    save_bert(tmp_path)
    refuse(tmp_path, ConfigError, "model_type 'bert' is no CLIP")


def test_open_clip_by_folder_and_by_file(tmp_path):
    model = save_open_clip(tmp_path)
    found = backbones.load(f"clip:{tmp_path}")
    assert found.library == "open_clip" and found.preprocess == Preprocess(SIDE, None, "crop", *CLIP) and found.source["pretrained"]
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), found.model.stock.state_dict().values(), strict=True))
    (tmp_path / "tiny-two.json").write_text(json.dumps(json.loads((tmp_path / "open_clip_config.json").read_text())["model_cfg"]))
    open_clip.add_model_config(tmp_path / "tiny-two.json")
    named = backbones.load(f"clip:open_clip:tiny-two@{tmp_path / 'open_clip_model.safetensors'}")
    assert torch.equal(said(named.model), said(found.model)) and named.address.startswith("clip:open_clip:tiny-two@")
    assert backbones.load(f"clip:{tmp_path}", image_size=48).model.images(torch.zeros(1, 3, 48, 48)).shape == (1, WIDTH)
    refuse("open_clip:tiny-twoo/openai", ConfigError, "did you mean 'tiny-two'")
    refuse("open_clip:tiny-two", ConfigError, "say which weights")
    visual = tmp_path / "visual.safetensors"
    save_file({n: v for n, v in model.state_dict().items() if n.startswith("visual.")}, visual)
    refuse(f"open_clip:tiny-two@{visual}", Mismatch, "an image tower alone")


def test_open_clip_models_with_other_text_towers_are_refused():
    for name in ("ViT-B-16-SigLIP", "roberta-ViT-B-32"):
        refuse(f"open_clip:{name}", ConfigError, "is not open_clip's plain one", device="meta")


def test_open_clip_shapes_on_the_meta_device():
    model = backbones.load("clip:open_clip:ViT-B-16/openai", device="meta").model
    assert sum(p.numel() for p in model.parameters()) == 149_620_737 and model.width == 512
    assert model.tokenizer.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]


def test_a_clip_inside_the_package(stock, tmp_path, monkeypatch):
    inside = Path(shutil.copytree(stock, tmp_path / "weights" / "mini-clip"))
    sha256 = weights_file.sha256([inside / "model.safetensors"])
    (inside / "origin.json").write_text(json.dumps({"licence": "Apache-2.0", "sha256": sha256}))
    for module in (address, embedded):
        monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    found = backbones.load("mini-clip")
    assert torch.equal(said(found.model), said(backbones.load(f"clip:{stock}").model))
    assert found.address == "mini-clip" and found.source["licence"] == "Apache-2.0" and found.source["name"] == "mini-clip"
    assert load_eyes("mini-clip").grid == (4, 4)
    (inside / "origin.json").write_text(json.dumps({"licence": "Apache-2.0", "sha256": "0"}))
    with pytest.raises(Corrupt, match="install inarch again"):
        backbones.load("mini-clip")


def test_eyes_look_through_the_image_tower(stock, tmp_path):
    """The grid of two towers is that of the image tower alone."""
    save_open_clip(tmp_path / "open")
    for two, alone in ((f"clip:{stock}", f"hf:{stock}"), (f"clip:{tmp_path / 'open'}", f"open_clip:{tmp_path / 'open'}")):
        eyes, other = load_eyes(two), load_eyes(alone)
        assert eyes.grid == (4, 4) and torch.equal(eyes(pixels()), other(pixels())) and eyes.fingerprint == other.fingerprint


@pytest.mark.parametrize(("text", "scheme", "name", "at"), [
    ("clip:openai/clip-vit-base-patch16", "clip", "openai/clip-vit-base-patch16", None),
    ("clip:openai/clip-vit-base-patch16@abc", "clip", "openai/clip-vit-base-patch16", "abc"),
    ("clip:open_clip:ViT-B-32/laion2b_s34b_b79k", "clip", "open_clip:ViT-B-32/laion2b_s34b_b79k", None),
    ("clip:open_clip:ViT-B-32@w.safetensors", "clip", "open_clip:ViT-B-32", "w.safetensors"),
])
def test_addresses(text, scheme, name, at):
    found = backbones.parse(text)
    assert (found.scheme, found.name, found.at, str(found)) == (scheme, name, at, text)
