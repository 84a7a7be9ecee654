"""The weights of mini-vl as they ship: half precision, in the folders that ``inarch.backbones`` reads, each file whole.

    mini-vl/      vision_language.json  visual.safetensors  language/{config, model, tokenizer}  origin.json
    mini-eyes/    config.json  model.safetensors  preprocess.json  origin.json        a ResNet of transformers, without a head
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from shipped import halve, recorded, tidy, write_json

from inarch.backbones.vl import save
from inarch.preprocess import Preprocess
from inarch.scenes.world import SIDE
from mini_vl.tower import new_classifier
from mini_vl.train import MiniVL

EYES = "mini-eyes"
ORIGIN = {"licence": "Apache-2.0", "sets_seen": []}


def write(whole: MiniVL, folder: Path) -> dict[str, Any]:
    """Both folders, ``folder`` and ``mini-eyes`` beside it; returns sizes and checksums."""
    eyes = folder.with_name(EYES)
    save(whole.model, folder, tower=EYES)
    halve(folder / "language/model.safetensors")
    halve(folder / "visual.safetensors")
    tidy(folder / "language/config.json")
    classifier = new_classifier()
    classifier.resnet.load_state_dict(whole.tower.state_dict())
    classifier.save_pretrained(eyes)
    halve(eyes / "model.safetensors", keep="resnet.")
    tidy(eyes / "config.json")
    write_json(eyes / "preprocess.json", Preprocess(size=SIDE).to_json())
    return {name: recorded(place, ORIGIN) for name, place in (("mini-vl", folder), (EYES, eyes))}


def read_back(whole: MiniVL, folder: Path) -> MiniVL:
    """``whole`` with the numbers that lie in ``folder`` and beside it."""
    for part, path, prefix in (
        (whole.model.language, folder / "language/model.safetensors", ""), (whole.model.visual, folder / "visual.safetensors", ""),
        (whole.tower, folder.with_name(EYES) / "model.safetensors", "resnet."),
    ):
        values = {name.removeprefix(prefix): value for name, value in load_file(path).items()}
        missing, unexpected = part.load_state_dict(values, strict=False)
        tied = {name for name, value in part.named_parameters(remove_duplicate=False) if name not in values} & set(missing)
        if unexpected or any("embed_tokens" not in name and "lm_head" not in name for name in tied):
            raise RuntimeError(f"{path}: not what was written: {missing}, {unexpected}")
    return whole
