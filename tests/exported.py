"""Runs to export: a random backbone of transformers and one of timm, trained far enough from it that a missing piece shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from nursery import CLASSES, SIDE, Nursery

from inarch.backbones.backbone import Backbone
from inarch.export import export_native
from inarch.preprocess import Preprocess
from inarch.train import train


class Exported:
    """Finished runs by name in ``folder``; ``timm`` is the folder of a random backbone, ``vit`` that of another library."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.nursery = folder, Nursery(folder)
        self.vit, self.timm = self.nursery.vit, str(save_timm(folder / "timm"))

    def run(self, name: str, **changes: Any) -> Path:
        """Trained once; asked for again it is there."""
        out = self.folder / "runs" / name
        return out if out.exists() else train(self.nursery.recipe(out, **({"lr": 0.3} | changes)))


def save_timm(folder: Path, name: str = "test_vit", **more: Any) -> Path:
    """A timm folder with no zero bias that could hide a mistake."""
    arguments = {"img_size": SIDE, **more}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = timm.create_model(name, num_classes=CLASSES, **arguments).eval()
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    source = {"architecture": name, "model_args": arguments}
    return export_native(model, folder, Backbone(model, f"timm:{name}", Preprocess(SIDE), "timm", source, SIDE))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
