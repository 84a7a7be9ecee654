"""Pairs of towers of different make: put together, saved, loaded; and every way their folder can be bad."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from clip_folders import PROMPTS, VISION, WIDTH, pixels, save_bert, save_clip, timm_folder

from inarch import backbones
from inarch.backbones import pair_folder
from inarch.backbones.eyes import load_eyes
from inarch.errors import ConfigError, Corrupt, Incomplete, Mismatch


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pair of a timm ViT and a BERT, its heads moved."""
    folder = tmp_path_factory.mktemp("pair")
    save_bert(folder / "bert")
    timm_folder(folder / "timm")
    return pair_folder.pair(backbones.load(f"timm:{folder / 'timm'}"), folder / "bert", WIDTH, seed=1)


@pytest.fixture
def own(made, tmp_path) -> Path:
    return pair_folder.save(made.model, tmp_path / "own", made.preprocess)


@torch.no_grad()
def said(model) -> torch.Tensor:
    return model(pixels(), model.tokens(PROMPTS))


def refuse(where: Path | str, error: type[Exception], message: str, **more) -> None:
    with pytest.raises(error, match=message):
        backbones.load(f"clip:{where}", **more)


def test_a_pair_round_trip(made, own):
    expected = said(made.model)
    for name in (f"clip:{own}", str(own)):  # its card says what it is
        found = backbones.load(name)
        assert torch.equal(said(found.model), expected) and found.preprocess == made.preprocess and found.source["pretrained"]
    again = pair_folder.save(found.model, own.parent / "again", found.preprocess)
    assert all(path.read_bytes() == (again / path.relative_to(own)).read_bytes() for path in own.rglob("*.safetensors"))
    drawn = backbones.load(f"clip:{own}", pretrained=False, seed=3).model
    assert not torch.equal(said(drawn), expected)
    assert all(p.is_meta for p in backbones.load(f"clip:{own}", device="meta").model.parameters())
    assert backbones.load(f"clip:{own}", image_size=48).model.images(torch.zeros(1, 3, 48, 48)).shape == (1, WIDTH)


def test_a_pair_around_a_tower_of_transformers(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    save_bert(tmp_path / "bert")
    ViTForImageClassification(ViTConfig(**VISION, num_labels=3)).save_pretrained(tmp_path / "vit")
    made = pair_folder.pair(backbones.load(str(tmp_path / "vit")), tmp_path / "bert", WIDTH, bias=False)
    own = pair_folder.save(made.model, tmp_path / "own", made.preprocess)
    found = backbones.load(str(own))
    assert torch.equal(said(found.model), said(made.model)) and found.model.stock.image_head.bias is None
    assert load_eyes(str(own)).grid == (4, 4)


def test_a_pair_is_drawn_from_its_seed(tmp_path):
    save_bert(tmp_path / "bert")
    timm_folder(tmp_path / "timm")
    state = torch.get_rng_state()
    tower = f"timm:{tmp_path / 'timm'}"
    one, same, other = (pair_folder.pair(backbones.load(tower), tmp_path / "bert", 4, seed=seed).model for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(said(one), said(same)) and not torch.equal(said(one), said(other))


@pytest.mark.parametrize(("fields", "error", "message"), [
    ({"format": 2}, Mismatch, "format 2; this inarch reads 1"),
    ({"width": 0}, Corrupt, "width is 0"), ({"width": True}, Corrupt, "width is True"),
    ({"text_pools": None}, Corrupt, "text_pools is None"), ({"bias": 1}, Corrupt, "bias is 1"),
    ({"width": 9}, Mismatch, r"image_head\.bias has shape \[10\]"),
    ({"bias": False}, Mismatch, "2 unexpected tensors"),
])
def test_a_bad_card(own, fields, error, message):
    card = json.loads((own / "two_tower.json").read_text())
    (own / "two_tower.json").write_text(json.dumps(card | fields))
    refuse(own, error, message)


def test_damaged_parts_of_a_pair(own):
    heads = own / "heads.safetensors"
    data = heads.read_bytes()
    heads.write_bytes(data[:-8])
    refuse(own, Corrupt, "heads")
    heads.unlink()
    refuse(own, Incomplete, "heads")
    heads.write_bytes(data)
    (own / "text" / "model.safetensors").unlink()
    refuse(own, Incomplete, "no weights")


def test_a_pair_that_cannot_be_saved(made, tmp_path):
    save_clip(tmp_path / "clip")
    with pytest.raises(ConfigError, match="is one model of its library, not a pair"):
        pair_folder.save(backbones.load(f"clip:{tmp_path / 'clip'}").model, tmp_path / "x", made.preprocess)
    source, made.model.stock.vision_source = made.model.stock.vision_source, None
    with pytest.raises(ConfigError, match="does not say which timm architecture"):
        pair_folder.save(made.model, tmp_path / "x", made.preprocess)
    made.model.stock.vision_source = source


def test_eyes_look_through_the_image_tower(own):
    eyes, alone = load_eyes(f"clip:{own}"), load_eyes(f"timm:{own / 'vision'}")
    assert eyes.grid == (4, 4) and torch.equal(eyes(pixels()), alone(pixels())) and eyes.fingerprint == alone.fingerprint
