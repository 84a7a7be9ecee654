"""``config:``: the papers' backbones by their published sizes, random weights, nothing fetched."""

from __future__ import annotations

import time

import pytest
import torch

from inarch import backbones
from inarch.backbones import processors
from inarch.errors import ConfigError

# trunk parameters: ViT and Swin from the layer sizes of arc.md (D, depth, patch, tokens), checked by hand for ViT-B/16:
# patches 768*(3*256+1), class token 768, positions 197*768, 12 blocks of 12*768^2 + 13*768, final norm 2*768
TRUNK = {"vit-ti16": 5_524_416, "vit-s16": 21_665_664, "vit-b16": 85_798_656, "vit-l16": 303_301_632, "vit-h14": 630_764_800,
         "swin-b": 86_743_224}
BOTH_TOWERS = {"clip-vit-b16": 149_620_737, "clip-vit-l14": 427_616_513}  # of OpenAI's checkpoints, projections and temperature included


@pytest.mark.parametrize("name", TRUNK)
def test_sizes_are_the_papers(name: str) -> None:
    loaded = backbones.load(f"config:{name}", classes=5, device="meta")
    heads = sum(p.numel() for n, p in loaded.model.named_parameters() if n.startswith("classifier."))
    assert sum(p.numel() for p in loaded.model.parameters()) - heads == TRUNK[name]
    assert all(p.is_meta for p in loaded.model.parameters()) and loaded.image_size == 224


@pytest.mark.parametrize("name", BOTH_TOWERS)
def test_two_towers_are_the_papers(name: str) -> None:
    loaded = backbones.load(f"config:{name}", device="meta")
    assert sum(p.numel() for p in loaded.model.parameters()) == BOTH_TOWERS[name]
    assert all(p.is_meta for p in loaded.model.parameters()) and loaded.image_size == 224 and loaded.model.context == 77
    assert loaded.model.width == {"clip-vit-b16": 512, "clip-vit-l14": 768}[name] and loaded.preprocess.mean == processors.CLIP[0]
    with pytest.raises(ConfigError, match="no head for 5 classes"):
        backbones.load(f"config:{name}", classes=5, device="meta")


def test_vit_b_agrees_with_the_sum_over_its_layers() -> None:
    dim, tokens = 768, 197
    block = 4 * (dim * dim + dim) + 2 * (4 * dim * dim) + 5 * dim + 4 * dim
    assert TRUNK["vit-b16"] == (3 * 16 * 16 + 1) * dim + dim + tokens * dim + 12 * block + 2 * dim


def test_vit_h14_has_257_tokens_and_is_there_at_once() -> None:
    start = time.monotonic()
    model = backbones.load("config:vit-h14", device="meta").model
    assert time.monotonic() - start < 5
    assert model.vit.embeddings.position_embeddings.shape == (1, 257, 1280)


def test_the_address_alone_rebuilds_the_trunk_and_a_seed_in_it_gives_another() -> None:
    before = torch.get_rng_state()
    first, same, other = (backbones.load(a, classes=2, seed=s).model.state_dict()
                          for a, s in (("config:vit-ti16", 0), ("config:vit-ti16", 5), ("config:vit-ti16@1", 0)))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["vit.layers.0.mlp.fc1.weight"], other["vit.layers.0.mlp.fc1.weight"])


def test_native_classes_and_another_size() -> None:
    loaded = backbones.load("config:vit-ti16", image_size=64)
    assert backbones.logits(loaded.model, torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
    assert loaded.model.config.image_size == loaded.preprocess.size == 64


@pytest.mark.parametrize(("address", "words"), [("config:vit-b", "did you mean 'vit-b16'"), ("config:vit-b16@x", "whole number")])
def test_wrong_names_are_refused(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        backbones.load(address)
