"""The training of mini-clip: one pool of named pictures on the device, one symmetric contrastive loss, one loop.

    s[i, j] = exp(t) cos(f(image i), g(text j))          p[i, j] = [text i is text j] / how often text i is in the batch
    loss = CE(s, p) / 2 + CE(s', p') / 2                  t is learned, exp(t) <= 100
A batch holds each set in its share; a picture's text is one of its names in one of the templates. Equal texts are no negatives.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mini_vit.distil import progress
from mini_vit.sources import Array
from torch import Tensor, nn
from torch.nn import functional as F

from mini_clip.augment import Change, varied
from mini_clip.model import image_features, text_features
from mini_clip.words import FRAMES, TEMPLATES

EVERY, CLIP = 200, 1.0
TOP = math.log(100)


@dataclass(frozen=True)
class Settings:
    """What a run depends on, besides the data."""

    steps: int = 4000
    batch: int = 1024
    rate: float = 1e-3
    slower: float = 0.5  # the image tower's rate over the text tower's, where it starts from mini-vit
    decay: float = 0.1
    pictures: int = 40_000  # rendered
    start: str = "mini-vit"
    seed: int = 0


@dataclass(frozen=True)
class Shown:
    """One set: pictures, what each may be called, its share of a batch, and what may be done to it."""

    name: str
    images: Array
    texts: list[tuple[str, ...]]
    share: float
    change: Change
    described: bool = False  # whole descriptions instead of names


class Pool:
    """All of it on one device. ``names[i, k]``: k-th name of picture i; ``rows[name, k]``: its k-th template among ``tokens``."""

    def __init__(self, sets: list[Shown], tokenizer: Any, batch: int, device: torch.device) -> None:
        table = {text: described for shown in sets for texts in shown.texts for text in texts for described in [shown.described]}
        place = {text: row for row, text in enumerate(table)}
        said = [frame.format(text) for text, described in table.items() for frame in (FRAMES if described else TEMPLATES)]
        self.rows = torch.arange(len(said), device=device).view(len(table), -1)
        self.tokens = tokenizer(said, padding=True, return_tensors="pt").input_ids.to(device)
        most = max(len(texts) for shown in sets for texts in shown.texts)
        names = [[place[texts[k % len(texts)]] for k in range(most)] for shown in sets for texts in shown.texts]
        self.names = torch.tensor(names, device=device)
        self.images = torch.from_numpy(np.concatenate([shown.images for shown in sets])).to(device)
        self.batch_of(sets, batch, device)

    def batch_of(self, sets: list[Shown], batch: int, device: torch.device) -> None:
        """How a batch is made up: from where to where each of its places draws."""
        sizes, total = [len(shown.images) for shown in sets], sum(shown.share for shown in sets)
        counts = torch.tensor([round(batch * shown.share / total) for shown in sets])
        first = torch.tensor([0, *np.cumsum(sizes)[:-1].tolist()])
        self.low, self.size = (values.repeat_interleave(counts).to(device) for values in (first, torch.tensor(sizes)))
        self.change = torch.tensor([shown.change.row() for shown in sets]).repeat_interleave(counts, 0).to(device)

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels, token ids and the number of each text's name."""
        chance = torch.rand(3, len(self.low), device=self.low.device, generator=generator)
        chosen = self.low + (chance[0] * self.size).long().clamp(max=self.size - 1)
        name = self.names[chosen, (chance[1] * self.names.shape[1]).long()]
        ids = self.tokens[self.rows[name, (chance[2] * self.rows.shape[1]).long()]]
        return varied(self.images[chosen], self.change, generator), ids, name


def contrast(model: Any, pixels: Tensor, ids: Tensor, name: Tensor) -> Tensor:
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.is_cuda):
        image, text = image_features(model, pixels), text_features(model, ids)
    similar = model.logit_scale.exp() * F.normalize(image.float()) @ F.normalize(text.float()).T
    same = (name[:, None] == name).float()
    same = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(similar, same) + F.cross_entropy(similar.T, same)) / 2


def rate_at(step: int, steps: int) -> float:
    """A twentieth of the run warms up, then half a cosine down to zero."""
    warm = max(1, steps // 20)
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def groups(model: Any, settings: Settings) -> list[dict[str, Any]]:
    """Weight matrices decay, vectors and embeddings do not; an inherited image tower learns more slowly."""
    found: dict[tuple[float, float], list[Tensor]] = {}
    for name, value in model.named_parameters():
        slow = settings.slower if name.startswith("vision_model") and settings.start != "none" else 1.0
        decay = settings.decay if value.ndim >= 2 and "embedding" not in name else 0.0
        found.setdefault((slow * settings.rate, decay), []).append(value)
    return [{"params": values, "lr": rate, "weight_decay": decay} for (rate, decay), values in found.items()]


def train(model: Any, pool: Pool, settings: Settings) -> list[float]:
    """AdamW over all weights; the mean loss of every ``EVERY`` steps."""
    device = pool.images.device
    generator = torch.Generator(device).manual_seed(settings.seed)
    optimizer = torch.optim.AdamW(groups(model, settings), betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, settings.steps))
    history, start, total = [], time.monotonic(), torch.zeros((), device=device)
    model.train()
    for step in range(1, settings.steps + 1):
        loss = contrast(model, *pool.draw(generator))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=TOP)
            total += loss.detach()
        if step % EVERY == 0 or step == settings.steps:
            history.append(round(total.item() / ((step - 1) % EVERY + 1), 4))
            total.zero_()
            progress("step", step, settings.steps, start, f"loss {history[-1]}", step=EVERY)
    model.eval()
    return history
