"""The training of mini-vit: one pool of images, one loss, one loop.

    loss = CE(head z_cls, y) + 2 |A z_cls - T_cls|^2 + |B z_grid - T_grid|^2      z: student, T: teacher (standardised)

One linear head holds the classes of all sets; an image competes only within its own set.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mini_vit.distil import Lesson, pixels, pooled, progress
from mini_vit.probe import squash
from mini_vit.sources import SIDE, Array, Part, views

WIDTH, TEACHER_WIDTH = 128, 192


@dataclass(frozen=True)
class Settings:
    """What a run depends on, besides the data."""

    epochs: int = 20
    batch: int = 128
    rate: float = 7e-4
    decay: float = 0.05
    smoothing: float = 0.1
    views: int = 3
    cap: int = 1200  # images of one set per epoch, so that easy-VQA's 3600 do not drown the photographs
    seed: int = 0


@dataclass(frozen=True)
class Pool:
    """All training images in one array; ``low`` and ``high`` bound the classes of an image's own set."""

    images: Array  # N, views, 64, 64, 3
    label: Tensor  # N, already offset; -1 unknown
    low: Tensor
    high: Tensor
    shift: Tensor  # N, 2
    members: list[Tensor]  # per set, its indices


class Student(nn.Module):
    """mini-vit with what only the training needs: the multi-task head and the maps to the teacher's features."""

    def __init__(self, model: Any, classes: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(WIDTH, classes)
        self.to_cls = nn.Linear(WIDTH, TEACHER_WIDTH)
        self.to_grid = nn.Linear(WIDTH, TEACHER_WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        tokens = self.model.vit(pixel_values=x).last_hidden_state
        return self.head(tokens[:, 0]), self.to_cls(tokens[:, 0]), self.to_grid(pooled(tokens[:, 1:]))


def pool(parts: list[Part], settings: Settings) -> Pool:
    sizes, first = [len(part.x_train) for part in parts], np.cumsum([0] + [part.classes for part in parts])
    per_image = partial(torch.repeat_interleave, repeats=torch.tensor(sizes), dim=0)
    own = torch.cat([torch.from_numpy(part.y_train).long() for part in parts])
    low = per_image(torch.from_numpy(first[:-1]))
    return Pool(
        images=np.concatenate([views(part, settings.views, settings.seed) for part in parts]),
        label=torch.where(own >= 0, own + low, -1),
        low=low,
        high=per_image(torch.from_numpy(first[1:])),
        shift=per_image(torch.tensor([part.source.shift for part in parts])),
        members=list(torch.arange(sum(sizes)).split(sizes)),
    )


def shifted(images: Array, amount: Tensor, generator: torch.Generator) -> Array:
    """Each image moved by up to its own amount (down, right); the edge is repeated."""
    move = ((torch.rand(len(images), 2, generator=generator) * 2 - 1) * amount).round().long()
    index = (torch.arange(SIDE)[None, :, None] + move[:, None, :]).clamp(0, SIDE - 1).numpy()
    return images[np.arange(len(images))[:, None, None], index[:, :, None, 0], index[:, None, :, 1]]


def epoch_order(data: Pool, cap: int, generator: torch.Generator) -> Tensor:
    drawn = torch.cat([own[torch.randperm(len(own), generator=generator)[:cap]] for own in data.members])
    return drawn[torch.randperm(len(drawn), generator=generator)]


def loss_of(student: Student, data: Pool, taught: Lesson, chosen: Tensor, smoothing: float, generator: torch.Generator) -> Tensor:
    view = torch.randint(data.images.shape[1], (len(chosen),), generator=generator)
    x = pixels(shifted(data.images[chosen.numpy(), view.numpy()], data.shift[chosen], generator))
    logits, cls, grid = student(x)
    distilled = 2 * F.mse_loss(cls, taught.cls[chosen, view]) + F.mse_loss(grid, taught.grid[chosen, view])
    return cross_entropy(logits, data, chosen, smoothing) + distilled


def cross_entropy(logits: Tensor, data: Pool, chosen: Tensor, smoothing: float) -> Tensor:
    """Over the image's own set only; ``smoothing`` is spread evenly over that set. Images without a label do not count."""
    k = torch.arange(logits.shape[1])
    own = (k >= data.low[chosen, None]) & (k < data.high[chosen, None])
    log = logits.masked_fill(~own, -1e4).log_softmax(1)
    label = data.label[chosen]
    hit = log.gather(1, label.clamp(min=0)[:, None])[:, 0]
    spread = (log * own).sum(1) / own.sum(1)
    return -((1 - smoothing) * hit + smoothing * spread)[label >= 0].mean()


@torch.no_grad()
def start_maps(student: Student, data: Pool, taught: Lesson, count: int = 200) -> None:
    """Both maps begin as ridge regressions from the newborn's features to the teacher's, on plain images of every set."""
    chosen = torch.cat([own[:count] for own in data.members])
    shown = [pixels(data.images[some.numpy(), 0]) for some in chosen.split(200)]
    tokens = torch.cat([student.model.vit(pixel_values=x).last_hidden_state for x in shown])
    ridge(student.to_cls, tokens[:, 0], taught.cls[chosen, 0])
    ridge(student.to_grid, pooled(tokens[:, 1:]).flatten(0, 1), taught.grid[chosen, 0].flatten(0, 1))


def ridge(linear: nn.Linear, x: Tensor, y: Tensor) -> None:
    x = F.pad(x, (0, 1), value=1.0)
    gram = x.T @ x
    solved = torch.linalg.solve(gram + 0.01 * gram.diagonal().mean() * torch.eye(len(gram)), x.T @ y).T
    linear.weight.copy_(solved[:, :-1])
    linear.bias.copy_(solved[:, -1])


def groups(student: Student, decay: float) -> list[dict[str, Any]]:
    """Weight matrices decay, vectors and embeddings do not."""
    named = list(student.named_parameters())
    plain = [p for name, p in named if p.ndim < 2 or "embeddings" in name]
    return [{"params": [p for name, p in named if p.ndim >= 2 and "embeddings" not in name], "weight_decay": decay},
            {"params": plain, "weight_decay": 0.0}]


def rate_at(step: int, steps: int) -> float:
    """A twentieth of the run warms up, then half a cosine down to zero."""
    warm = max(1, steps // 20)
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def train(student: Student, data: Pool, taught: Lesson, settings: Settings, after_epoch: Callable[[], None]) -> list[float]:
    """AdamW over all weights; returns the mean loss of each epoch."""
    generator = torch.Generator().manual_seed(settings.seed)
    orders = [epoch_order(data, settings.cap, generator).split(settings.batch) for _ in range(settings.epochs)]
    steps = sum(map(len, orders))
    optimizer = torch.optim.AdamW(groups(student, settings.decay), lr=settings.rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate_at, steps=steps))
    history: list[float] = []
    done, start = 0, time.monotonic()
    student.train()
    for order in orders:
        total = 0.0
        for chosen in order:
            loss = loss_of(student, data, taught, chosen, settings.smoothing, generator)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done, total = done + 1, total + loss.item()
            progress("step", done, steps, start, f"epoch {len(history) + 1}/{settings.epochs} loss {loss.item():.3f}")
        history.append(total / len(order))
        after_epoch()
    student.eval()
    return history


@torch.inference_mode()
def head_accuracy(student: Student, part: Part, first: int) -> float:
    """Percent of the validation images named rightly among their own set's classes."""
    logits = torch.cat([student(pixels(squash(chunk)))[0] for chunk in np.array_split(part.x_val, 4)])
    named = logits[:, first : first + part.classes].argmax(1).numpy()
    return round(100 * float((named == part.y_val).mean()), 1)
