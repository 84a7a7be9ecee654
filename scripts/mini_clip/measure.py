"""What mini-clip knows without adaptation: zero-shot accuracy of the weights as written, in percent.

    a picture is called by the name whose text, "a photo of a NAME.", is nearest by cosine
Validation parts of the sets it saw, emoji whose names it never saw, things in every style, scikit-learn's digits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mini_vit.sources import Array
from torch import Tensor
from torch.nn import functional as F

from inarch.scenes import things
from inarch.scenes.styles import STYLES
from mini_clip.model import image_features, text_features
from mini_clip.sources import Named, novel_emoji, squashed
from mini_clip.words import TEMPLATES

SEED, BATCH = 20_012, 500
WRITTEN = tuple("0123456789")


class Judge:
    """A model, its tokenizer, and the device both work on."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import AutoTokenizer, CLIPModel

        self.model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval().to(device)
        self.tokenizer, self.device = AutoTokenizer.from_pretrained(folder), device

    @torch.inference_mode()
    def texts(self, names: tuple[str, ...]) -> Tensor:
        ids = self.tokenizer([TEMPLATES[0].format(name) for name in names], padding=True, return_tensors="pt").input_ids
        return F.normalize(text_features(self.model, ids.to(self.device)))

    @torch.inference_mode()
    def named(self, images: Array, names: tuple[str, ...]) -> Array:
        """The place in ``names`` of what each picture is called."""
        wanted, found = self.texts(names), []
        for first in range(0, len(images), BATCH):
            pixels = torch.from_numpy(images[first : first + BATCH]).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
            found.append((F.normalize(image_features(self.model, pixels)) @ wanted.T).argmax(1).cpu().numpy())
        return np.concatenate(found)

    def right(self, images: Array, labels: Array, names: tuple[str, ...]) -> dict[str, Any]:
        accuracy = 100 * float((self.named(images, names) == labels).mean())
        return {"accuracy": round(accuracy, 1), "chance": round(100 / len(names), 1), "pictures": len(labels), "names": len(names)}


def measured(folder: Path, sets: list[Named], data: Path, device: torch.device) -> dict[str, Any]:
    judge = Judge(folder, device)
    learned = {name for one in sets for name in (one.names[label] for label in np.unique(one.part.y_train))} | set(things.names())
    return {
        "val": {one.name: validation(judge, one) for one in sets},
        "novel_emoji": judge.right(*novel_emoji(data, learned)),
        "novel_emoji_known_otherwise": sorted(learned & set(novel_emoji(data)[2])),
        "digits": judge.right(*handwritten()),
        "things_val": {style.name: styled(judge, style.name) for style in STYLES if style.name != "handwriting"},
    }


def validation(judge: Judge, one: Named) -> dict[str, Any]:
    return judge.right(squashed(one.part.x_val), one.part.y_val - one.names.index(one.told[0]), one.told)


def styled(judge: Judge, style: str) -> dict[str, Any]:
    """All names at once, and each half of them alone, on the validation part of ``things:STYLE@SEED``."""
    from inarch.data.draft import Options
    from inarch.data.readers.things import read_things

    part = read_things(f"things:{style}@{SEED}", Options()).parts["val"]
    images, names = np.asarray(part.sources), things.names()
    labels = np.array([names.index(name) for (name,) in part.labels])
    said, half = judge.named(images, names), len(names) // 2
    colours, shapes = (np.array([name.split()[k] for name in names]) for k in (0, 1))
    return judge.right(images, labels, names) | {
        "colour": round(100 * float((colours[said] == colours[labels]).mean()), 1),
        "shape": round(100 * float((shapes[said] == shapes[labels]).mean()), 1),
        "base": judge.right(images[labels < half], labels[labels < half], names[:half])["accuracy"],
        "novel": judge.right(images[labels >= half], labels[labels >= half] - half, names[half:])["accuracy"],
    }


def handwritten() -> tuple[Array, Array, tuple[str, ...]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return squashed(np.rint(digits.images * (255 / 16)).astype(np.uint8)), digits.target, WRITTEN
