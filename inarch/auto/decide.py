"""What ``auto`` decides before it trains: the backbone for this machine, the image size and epochs for the time that it has.

    cost = 1.25 s (n epochs of all candidates on all rungs + N epochs of the winner)      s seconds per image and update
    n images that candidates learn from, N those of the winner: what was held back for validation is its too
The seconds are measured on this machine with the backbone that was chosen; nothing is guessed from a name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

import inarch
from inarch import backbones
from inarch.auto.ladder import spent
from inarch.backbones import Backbone
from inarch.errors import ConfigError, InarchError
from inarch.evaluate import device_named
from inarch.recipe import Recipe

LARGE = (backbones.HUB_PRESET.address, "timm:vit_small_patch16_224.augreg_in21k")  # where there is a GPU
SMALL = ("timm:vit_small_patch16_224.augreg_in21k", "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k")  # many cores
TINY = ("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k",)
EMBEDDED = "mini-vit"  # comes with the package: the last resort, which needs no network
MANY = 8  # cores from which on the small one is tried before the tiny one
SIDES = (224, 160, 128, 112, 96, 64, 32)  # pixels
EPOCHS = 20  # of the winner, where the time allows; ARC's VTAB recipe has 100
FEWEST = 4
LEAST = 64  # training images of a candidate
BATCH = Recipe.model_fields["batch_size"].default  # images of an update, as the runs have it
WARM = 8  # images of a first update, which is not counted
BESIDE = 1.25  # reading, scoring and loading cost about a quarter of the updates


@dataclass(frozen=True)
class Chosen:
    """A backbone that could be loaded, and why no other one."""

    address: str
    native: int
    reasons: tuple[str, ...]


def backbone(asked: str | None, device: str, say: Callable[[str], None] = lambda text: None) -> Chosen:
    """The one that was asked for, or the first of the machine's presets that can be had, the embedded one at last."""
    if asked is not None:
        found = _loaded(asked)
        return Chosen(asked, found.image_size, (f"backbone {asked}: asked for",))
    reasons = []
    for address in (*presets(device), EMBEDDED):
        say(f"trying backbone {address}")
        try:
            found = _loaded(address)
        except InarchError as problem:
            reasons.append(f"backbone {address}: left out, {problem}")
            continue
        return Chosen(address, found.image_size, (*reasons, f"backbone {address}: the first of the presets for {machine(device)} that "
                                                            "could be loaded"))
    raise ConfigError("no backbone can be loaded: " + "; ".join(reasons))


def presets(device: str) -> tuple[str, ...]:
    """Addresses, the best first."""
    if device_named(device).type != "cpu":
        return LARGE
    return SMALL if torch.get_num_threads() >= MANY else TINY


def machine(device: str) -> str:
    where = device_named(device)
    return torch.cuda.get_device_name(where) if where.type == "cuda" else f"{where.type}, {torch.get_num_threads()} threads"


def _loaded(address: str, side: int | None = None) -> Backbone:
    return backbones.load(address, classes=2, image_size=side)


@dataclass(frozen=True)
class Effort:
    """Image side, epochs of the winner, training images of a candidate (0: all), and the seconds that are expected."""

    side: int
    epochs: int
    limit: int
    seconds: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """What is to be trained: images of a candidate and of the winner, and how many candidates climb."""

    images: int
    winners: int
    candidates: int

    def cost(self, epochs: int, limit: int = 0) -> float:
        """Images to be seen, ``limit`` of them by a candidate (0: all), and what is beside them, as so many images more."""
        return BESIDE * ((limit or self.images) * self._climbed(epochs) + self.winners * epochs)

    def limit(self, affordable: float, epochs: int) -> int:
        """How many images a candidate may see, where so many in all can be had."""
        share = (affordable / BESIDE - self.winners * epochs) / self._climbed(epochs)
        return min(self.images, max(LEAST, int(share)))

    def _climbed(self, epochs: int) -> int:
        return spent(self.candidates, epochs) - epochs


def effort(chosen: Chosen, work: Workload, minutes: float, device: str, side: int | None = None) -> Effort:
    """The largest side at which the ladder and the winner fit into ``minutes``; at the smallest, fewer epochs, then fewer images."""
    allowed, reasons = 60 * minutes, []
    sides = [side] if side else sorted({chosen.native, *(s for s in SIDES if s < chosen.native)}, reverse=True)
    fitting: list[tuple[int, float, int]] = []
    for at, seconds in measured(chosen, sides, device):
        epochs = max((n for n in range(1, EPOCHS + 1) if seconds * work.cost(n) <= allowed), default=0)
        reasons.append(f"{at} px: {1000 * seconds:.1f} ms per image and update; epochs that fit into {minutes:g} min: {epochs}")
        fitting.append((at, seconds, epochs))
        if epochs >= EPOCHS // 2:
            break
    if not fitting:
        raise ConfigError(f"{chosen.address} takes none of the sides {sides}; give one with --image-size")
    enough = (EPOCHS // 2, FEWEST, 0)  # epochs: the largest side with the first that any side has
    at, seconds, epochs = next(one for least in enough for one in fitting if one[2] >= least and (least or one is fitting[-1]))
    if epochs >= FEWEST:
        return Effort(at, epochs, 0, seconds * work.cost(epochs), (*reasons, f"image size {at}, epochs {epochs}"))
    limit = work.limit(allowed / seconds, FEWEST)
    said = f"image size {at}, epochs {FEWEST}; candidates see {limit} of {work.images} training images, since the time allows no more"
    return Effort(at, FEWEST, limit, seconds * work.cost(FEWEST, limit), (*reasons, said))


def measured(chosen: Chosen, sides: list[int], device: str) -> Iterator[tuple[int, float]]:
    """Seconds per image of an update of ARC at each side that the backbone takes, as they are asked for."""
    where = device_named(device)
    for side in sides:
        try:
            model = _loaded(chosen.address, side).model
        except ConfigError:  # this family does not take the size
            continue
        inarch.graft(model.to(where), inarch.ARC(rank=8), thaw="head")
        yield side, _seconds(model, torch.randn(BATCH, 3, side, side, device=where))


def _seconds(model: Any, pixels: torch.Tensor) -> float:
    """Per image, of the faster of two updates; a small one warms up."""
    taken = []
    for images in (pixels[:WARM], pixels, pixels):
        began = time.perf_counter()
        backbones.logits(model, images).sum().backward()
        if pixels.is_cuda:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return min(taken[1:]) / len(pixels)
