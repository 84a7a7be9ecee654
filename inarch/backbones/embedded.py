"""The backbones that come with the package: plain transformers folders in half precision, computed in single."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inarch import files
from inarch.backbones import clip, hf, vl, weights_file
from inarch.backbones.address import VL_CARD, WEIGHTS, Address
from inarch.backbones.backbone import Backbone, Wish
from inarch.errors import Corrupt


def load(address: Address, wish: Wish) -> Backbone:
    folder = WEIGHTS / address.name
    if (folder / VL_CARD).is_file():
        origin = {"name": address.name, "revision": None, "pretrained": wish.weights, **_origin(folder)}
        return vl.finished(vl.from_own_folder(folder, wish), str(address), wish, origin)
    config = hf.read_config(folder)
    if "CLIPModel" in (config.architectures or ()):
        origin = {"name": address.name, "revision": None, "pretrained": wish.weights, **_origin(folder)}
        return clip.finished(*clip.from_transformers(folder, str(address), wish), str(address), wish, origin)
    model, _, native = hf.from_folder(folder, config, wish) if wish.weights else (hf.random_model(config, wish), [], False)
    source = {"name": address.name, "revision": None, "pretrained": wish.weights, **_origin(folder)}
    return hf.finished(model, str(address), hf.preprocess_of(folder, hf.side_of(config)), wish, source, native)


def _origin(folder: Path) -> dict[str, Any]:
    """Licence, data sets seen and SHA-256 of the weights, which must be those that lie there."""
    record = folder / "origin.json"
    origin = files.parse_json(files.read(record), record)
    weights = sorted(folder.rglob("*.safetensors"))
    if weights_file.sha256(weights) != origin["sha256"]:
        raise Corrupt(f"{folder}: the weights are not those that {record.name} names; install inarch again")
    return origin
