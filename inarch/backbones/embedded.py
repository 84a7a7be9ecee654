"""The backbones that come with the package: plain transformers folders in half precision, computed in single."""

from __future__ import annotations

from inarch.backbones import hf, weights_file
from inarch.backbones.address import WEIGHTS, Address
from inarch.backbones.backbone import Backbone, Wish

LICENCE = "Apache-2.0"


def load(address: Address, wish: Wish) -> Backbone:
    folder = WEIGHTS / address.name
    config = hf.read_config(folder)
    model, _, native = hf.from_folder(folder, config, wish) if wish.weights else (hf.random_model(config, wish), [], False)
    source = {"name": address.name, "revision": None, "licence": LICENCE, "pretrained": wish.weights,
              "sha256": weights_file.sha256(weights_file.in_folder(folder, ("model.safetensors",)))}
    return hf.finished(model, str(address), hf.preprocess_of(folder, hf.side_of(config)), wish, source, native)
