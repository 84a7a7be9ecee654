"""Backbones by address: ``load("timm:vit_tiny_patch16_224@vit.safetensors", classes=10)``.

No library of models is imported before an address asks for it. What comes with a backbone (preprocessing, revision, licence,
checksum) comes with it here; docs/backbones.md says what each kind of address means.
"""

from __future__ import annotations

import importlib

from inarch.backbones.address import Address, embedded_names, parse
from inarch.backbones.backbone import Backbone, HeadInit, Wish, logits
from inarch.backbones.hub import HUB_PRESET, HubPreset

__all__ = ["HUB_PRESET", "Address", "Backbone", "HubPreset", "embedded_names", "load", "logits", "parse"]

_LOADERS = {"npz": "google_npz"}  # scheme -> module here, where the two differ in name


def load(address: str, *, classes: int | None = None, image_size: int | None = None, device: str = "cpu",
         pretrained: bool = True, seed: int = 0, head_init: HeadInit = "zeros", feature_width: int | None = None,
         visual_tokens: int | None = None) -> Backbone:
    """The backbone at ``address``, in evaluation mode and single precision.

    ``classes=None`` keeps the native head; a number gives a fresh one (zeros, or ``head_init="library"`` drawn from ``seed``;
    the global generator is not touched). ``image_size`` resamples position tables once. ``pretrained=False`` and
    ``device="meta"`` read no weights. ``feature_width`` and ``visual_tokens`` shape the projector of a vision-language backbone.
    """
    wish = Wish(classes, image_size, device, pretrained, seed, head_init, feature_width, visual_tokens)
    found = parse(address)
    module = importlib.import_module(f"inarch.backbones.{_LOADERS.get(found.scheme, found.scheme)}")
    return module.load(found, wish)
