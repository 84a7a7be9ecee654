"""The training of mini-vl: first the eyes alone, then eyes and language together, all weights.

    eyes       dense loss of the grid on plain scenes (mini_vl/tower.py)
    together   CE(target tokens) + DENSE * dense loss; the eyes at a SLOWER rate, their batch norms as the first stage left them
AdamW; a warm-up, then half a cosine. What a stop may lose is ``EVERY`` steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mini_vit.distil import progress
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.scenes.balance import Ledger
from mini_vl.language import new_model
from mini_vl.lessons import Pool, lesson
from mini_vl.tower import dense_loss, grid, heads, new_tower, pixels

EVERY = 200
DENSE, SLOWER, WARM, CLIP = 0.3, 0.3, 100, 1.0


@dataclass(frozen=True)
class Settings:
    """What a run depends on."""

    pictures: int = 16000
    eye_steps: int = 2500
    eye_batch: int = 48
    eye_rate: float = 2e-3
    steps: int = 3000
    rate: float = 1e-3
    decay: float = 0.02
    seed: int = 0


class MiniVL(nn.Module):
    """Everything that is trained; ``heads`` are thrown away at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.tower, self.heads, self.model = new_tower(), heads(), new_model()

    def loss(self, data: Pool, step: int, *, seed: int, ledger: Ledger) -> Tensor:
        taught = lesson(data.scenes, step, seed, ledger)
        seen = grid(self.tower, pixels(data.images[taught.rows]))
        ids, mask, labels = encoded(self.model.tokenizer, taught.texts, taught.targets)
        logits = self.model(ids, mask, seen[torch.tensor(taught.about)], labels)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten()) + DENSE * self.dense(seen, data, taught.rows)

    def dense(self, seen: Tensor, data: Pool, rows: np.ndarray) -> Tensor:
        return dense_loss(self.heads(seen), torch.from_numpy(data.labels[rows]))


def encoded(tokenizer: Any, texts: list[str], targets: list[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids and mask of the texts, ids of the targets with -100 for padding."""
    text, target = (tokenizer(side, padding=True, return_tensors="pt") for side in (texts, targets))
    return text.input_ids, text.attention_mask, target.input_ids.masked_fill(target.attention_mask == 0, -100)


def rate_at(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARM) * 0.5 * (1 + math.cos(math.pi * step / steps))


def descend(
    name: str, whole: MiniVL, groups: list[dict[str, Any]], steps: int, loss_at: Callable[[int], Tensor], saved: Path, decay: float,
) -> list[float]:
    """``steps`` steps over ``groups``, each with its rate, from where ``saved`` stopped; the mean loss of every ``EVERY`` steps."""
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, steps))
    values = [value for group in groups for value in group["params"]]
    begin, history = resume(saved, whole, optimizer, schedule)
    start, total = time.monotonic(), 0.0
    for step in range(begin, steps):
        loss = loss_at(step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(values, CLIP)
        optimizer.step()
        schedule.step()
        total += loss.item()
        progress(name, step + 1 - begin, steps - begin, start, f"loss {loss.item():.3f}")
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            history.append(round(total / (step % EVERY + 1), 4))
            total = 0.0
            keep(saved, whole, optimizer, step + 1, history)
    return history


def keep(saved: Path, whole: MiniVL, optimizer: Any, step: int, history: list[float]) -> None:
    """Weights, the optimizer's moments and how far it is, in one file that appears whole."""
    values = {f"model.{name}": value.contiguous() for name, value in whole.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        values |= {f"adam.{number}.{key}": torch.as_tensor(value).contiguous() for key, value in state.items()}
    values |= {"step": torch.tensor(step), "history": torch.tensor(history, dtype=torch.float64)}
    part = saved.with_name(saved.name + ".part")
    save_file({name: value.clone() for name, value in values.items()}, part)  # tied tables are written twice
    part.replace(saved)


def resume(saved: Path, whole: MiniVL, optimizer: Any, schedule: Any) -> tuple[int, list[float]]:
    if not saved.is_file():
        return 0, []
    values = load_file(saved)
    whole.load_state_dict({name.removeprefix("model."): value for name, value in values.items() if name.startswith("model.")})
    state = optimizer.state_dict()
    for name, value in values.items():
        if name.startswith("adam."):
            _, number, key = name.split(".")
            state["state"].setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(state)
    step = int(values["step"])
    schedule.last_epoch = step - 1
    schedule.step()
    return step, [round(loss, 4) for loss in values["history"].tolist()]


def train_eyes(whole: MiniVL, data: Pool, settings: Settings, saved: Path) -> list[float]:
    def loss_at(step: int) -> Tensor:
        rows = np.random.default_rng([settings.seed, 3, step]).choice(len(data.images), settings.eye_batch, replace=False)
        return whole.dense(grid(whole.tower, pixels(data.images[rows])), data, rows)

    groups = [{"params": [*whole.tower.parameters(), *whole.heads.parameters()], "lr": settings.eye_rate}]
    whole.train()
    return descend("eyes", whole, groups, settings.eye_steps, loss_at, saved, decay=0.05)


def train_together(whole: MiniVL, data: Pool, settings: Settings, saved: Path) -> list[float]:
    ledger = Ledger()
    eyes = [*whole.tower.parameters(), *whole.heads.parameters()]
    groups = [{"params": list(whole.model.parameters()), "lr": settings.rate}, {"params": eyes, "lr": SLOWER * settings.rate}]
    whole.train()
    whole.tower.eval()  # batch norms stay as they are
    loss_at = partial(whole.loss, data, seed=settings.seed, ledger=ledger)
    return descend("together", whole, groups, settings.steps, loss_at, saved, settings.decay)
