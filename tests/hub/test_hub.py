"""Eight real checkpoints, one of each family, from the hub: ``make test-hub``. Needs internet, about 2 GB of cache, ten minutes.

Nothing here runs by default. docs/backbones.md lists the same addresses and when each was last verified; after a run, put the
date and the versions that this file prints into that table.
"""

from __future__ import annotations

from importlib.metadata import version

import pytest
import torch

import inarch
from inarch import backbones

pytestmark = pytest.mark.hub

# address, class of the model, image side, millions of parameters of the model with a ten-way head
CHECKPOINTS = [
    (backbones.HUB_PRESET.address, "ViTForImageClassification", 224, 85.8),
    ("hf:facebook/deit-base-distilled-patch16-224", "DeiTForImageClassificationWithTeacher", 224, 85.8),
    ("hf:facebook/dinov2-small", "Dinov2ForImageClassification", 224, 21.6),
    ("hf:microsoft/beit-base-patch16-224", "BeitForImageClassification", 224, 85.8),
    ("hf:microsoft/swin-tiny-patch4-window7-224", "SwinForImageClassification", 224, 27.5),
    ("hf:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "CLIPForImageClassification", 224, 87.5),
    ("hf:google/siglip-base-patch16-224", "SiglipForImageClassification", 224, 92.9),
    ("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", "VisionTransformer", 224, 5.5),
]


@pytest.mark.parametrize(("address", "kind", "side", "millions"), CHECKPOINTS, ids=[row[0] for row in CHECKPOINTS])
def test_a_real_checkpoint_loads_adapts_and_folds(address: str, kind: str, side: int, millions: float) -> None:
    found = backbones.load(address, classes=10, head_init="library")
    model = found.model
    assert type(model).__name__ == kind and found.image_size == side and found.source["revision"]
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        bare = backbones.logits(model, pixels)
        inarch.graft(model, inarch.ARC(rank=8), thaw="head")
        grafted = backbones.logits(model, pixels)
        inarch.merge(model)
        folded = backbones.logits(model, pixels)
    assert bare.shape == (2, 10) and torch.isfinite(bare).all() and not torch.equal(bare[0], bare[1])
    assert not torch.equal(bare, grafted)
    torch.testing.assert_close(folded, grafted, rtol=1e-4, atol=1e-4)
    print(address, found.source["revision"], found.source["licence"], *map(version, ("torch", "transformers", "timm")))


def test_a_native_head_recognises_what_it_was_trained_on() -> None:
    """The native head of a real checkpoint is kept: a flat grey image is no confident class, and the labels are ImageNet's."""
    found = backbones.load("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    with torch.no_grad():
        assert backbones.logits(found.model, torch.zeros(1, 3, 224, 224)).softmax(-1).max() < 0.9
    assert found.source["head"] == "native" and found.model.num_classes == 1000


def test_a_name_the_hub_does_not_have_is_refused() -> None:
    with pytest.raises(inarch.errors.ConfigError, match="has no model"):
        backbones.load("hf:inarch-tests/there-is-no-such-model")


def test_a_revision_pins_the_same_files() -> None:
    newest = backbones.load(backbones.HUB_PRESET.address, classes=2)
    pinned = backbones.load(f"{backbones.HUB_PRESET.address}@{newest.source['revision']}", classes=2)
    assert pinned.source["sha256"] == newest.source["sha256"]
    assert newest.source["licence"] == backbones.HUB_PRESET.licence
