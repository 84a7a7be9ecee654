"""How many numbers a method trains: against the backbone's scale (the paper's Figure 5), and per variant of ARC (its ablations).

    ARC  2 (D r + L (r + D))      only L (r + D) grows with depth
    LoRA 4 D r L     Adapter 2 D r L     VPT-deep m D L      every term grows with depth
inarch's own methods are counted on the real architecture (meta device: no memory, no download); the others are the formulas that
the ARC authors tabulate, weights only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from inarch import anatomy
from inarch.adapter import Method
from inarch.counting import count
from inarch.grafting import graft, ungraft
from inarch.methods import ARC, BitFit, LoRA

BACKBONES = ("config:vit-b16", "config:vit-l16", "config:vit-h14", "config:swin-b")
RANKS = (10, 20, 50, 100, 200)
VARIANTS: dict[str, dict[str, Any]] = {
    "own W_down, W_up and b per adapter, no c": {"share": "none", "symmetric": False, "scale": "none"},
    "own W, c and b per adapter": {"share": "none"},
    "W tied between attention and MLP of a block": {"share": "block"},
    "shared W_down and W_up (not symmetric)": {"symmetric": False},
    "ARC": {},
    "ARC, one c per position": {"scale": "shared"},
    "ARC without bias": {"bias": False},
    "one W for both positions and all blocks": {"share": "network"},
    "ARC on attention only (ARC_att)": {"spans": ("attn",)},
    "ARC on the MLP only": {"spans": ("mlp",)},
}


@dataclass(frozen=True)
class Point:
    """One method on one backbone: ``trained`` numbers without a head; ``formula`` where inarch lacks the method."""

    backbone: str
    backbone_size: int
    method: str
    trained: int
    formula: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Variant:
    """One choice of what ARC shares and keeps, by its fields, and what it trains without a head."""

    name: str
    config: ARC
    trained: int

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "config": self.config.fields(), "trained": self.trained}


def parameter_scaling(rank: int = 50, backbones: tuple[str, ...] = BACKBONES) -> list[Point]:
    """Figure 5: trained numbers of ARC and others on each backbone."""
    return [point for address in backbones for point in _points(address, rank)]


def variants(backbone: str = "config:vit-b16", rank: int = 50) -> list[Variant]:
    """The sharing, symmetry, bias, scale and position variants of ARC, counted on one backbone."""
    model = _meta(backbone)
    configs = {name: ARC(rank=rank, **fields) for name, fields in VARIANTS.items()}
    return [Variant(name, config, trained(model, config)) for name, config in configs.items()]


def ranks(backbone: str = "config:vit-b16", chosen: tuple[int, ...] = RANKS) -> list[Variant]:
    """ARC and ARC_att at several ranks."""
    model = _meta(backbone)
    configs = [ARC(rank=rank, spans=spans) for rank in chosen for spans in (("attn", "mlp"), ("attn",))]
    return [Variant(_ranked(config), config, trained(model, config)) for config in configs]


def trained(model: nn.Module, method: Method) -> int:
    """What ``method`` trains on ``model`` without the head; the model is left as it was."""
    graft(model, method)
    try:
        return count(model).without_head
    finally:
        ungraft(model)


def _points(address: str, rank: int) -> list[Point]:
    model = _meta(address)
    name, size = address.partition(":")[2] or address, sum(p.numel() for p in model.parameters())
    widths = [site.width_in for site in anatomy.sites(model, ("attn",))]
    points = [Point(name, size, label, trained(model, method)) for label, method in _grafted(rank).items()]
    for label, (text, of_width) in formulas(rank).items():
        points.append(Point(name, size, label, sum(map(of_width, widths)), text))
    return points


def _grafted(rank: int) -> dict[str, Method]:
    return {
        f"ARC r={rank}": ARC(rank=rank),
        f"ARC_att r={rank}": ARC(rank=rank, spans=("attn",)),
        "LoRA r=8 on q, v": LoRA(rank=8, targets=("q", "v")),
        f"LoRA r={rank} on q, v": LoRA(rank=rank, targets=("q", "v")),
        "BitFit": BitFit(),
    }


def formulas(rank: int) -> dict[str, tuple[str, Callable[[int], int]]]:
    """Label -> (formula, numbers of one block of width D), for methods that are not in inarch."""
    return {
        f"Adapter r={rank}": ("2 D r per block", lambda dim: 2 * dim * rank),
        "Adapter r=8": ("2 D r per block", lambda dim: 2 * dim * 8),
        "VPT-deep, 50 prompts": ("50 D per block", lambda dim: 50 * dim),
    }


def _ranked(config: ARC) -> str:
    return f"{'ARC' if len(config.spans) == 2 else 'ARC_att'} r={config.rank}"


def _meta(address: str) -> nn.Module:
    from inarch.backbones import load  # brings a model library: only when counting

    return load(address, device="meta", pretrained=False).model
