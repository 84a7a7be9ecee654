"""``vlm:`` loads a decoder-only vision-language model whole, or says what it is instead."""

import pytest
import torch
from tiny_decoder import batch, logits, smolvlm

from inarch import backbones
from inarch.errors import ConfigError, Mismatch


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(2)
    smolvlm().save_pretrained(tmp_path / "smol")
    return tmp_path / "smol"


def test_a_folder_comes_back_with_every_tensor(folder):
    torch.manual_seed(2)
    found = backbones.load(f"vlm:{folder}")
    x = {key: value.float() if value.is_floating_point() else value for key, value in batch().items()}
    with torch.no_grad():
        assert torch.equal(logits(found.model, x), logits(smolvlm().eval(), x))
    assert (found.image_size, found.source["head"], len(found.source["sha256"])) == (32, "native", 64)


def test_the_published_shape_has_its_published_size():
    model = backbones.load("config:smolvlm-256m", device="meta").model
    assert sum(p.numel() for p in model.parameters()) == 256_484_928


@pytest.mark.parametrize(("wish", "said"), [
    ({"classes": 3}, "answers in words and has no head for 3 classes"), ({"image_size": 64}, "its processor cuts pictures to 32")])
def test_what_it_cannot_be_is_refused(folder, wish, said):
    with pytest.raises(ConfigError, match=said):
        backbones.load(f"vlm:{folder}", **wish)


def test_another_kind_of_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ConfigError, match=r"'vit' that reads images and answers in words; .*an image classifier is written hf:NAME"):
        backbones.load(f"vlm:{tmp_path}")


def test_a_missing_tensor_is_named(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    values = load_file(path)
    del values["model.connector.modality_projection.proj.weight"]
    save_file(values, path, {"format": "pt"})
    with pytest.raises(Mismatch, match="connector"):
        backbones.load(f"vlm:{folder}")
