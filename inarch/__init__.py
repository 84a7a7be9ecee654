"""inarch: graft a few kilobytes of trained numbers onto a frozen vision transformer, fold them in, take them off bit for bit.

The public names are loaded when first asked for, so that ``import inarch`` and ``inarch --help`` cost next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inarch.checkpoint import load, save
    from inarch.counting import count, sites
    from inarch.errors import CannotFold, CannotGraft, InarchError
    from inarch.grafting import graft, ungraft
    from inarch.hub.pushing import push
    from inarch.merging import merge, unmerge
    from inarch.methods import (
        ARC,
        MMA,
        SSF,
        VLPET,
        VPT,
        AdaptFormer,
        AdaRing,
        AddedBias,
        BitFit,
        Bottleneck,
        CLIPAdapter,
        Compacter,
        Context,
        FacT,
        Frozen,
        Full,
        FullRank,
        HyperFormer,
        Linear,
        LoRA,
        Prompt,
        RepAdapter,
    )
    from inarch.predict import Predictor
    from inarch.switching import disabled, use

__version__ = "0.1.0"

_HOMES = {
    "checkpoint": ("load", "save"), "counting": ("count", "sites"), "errors": ("CannotFold", "CannotGraft", "InarchError"),
    "grafting": ("graft", "ungraft"), "merging": ("merge", "unmerge"), "switching": ("disabled", "use"),
    "methods": ("ARC", "MMA", "SSF", "VLPET", "VPT", "AdaRing", "AdaptFormer", "AddedBias", "BitFit", "Bottleneck", "CLIPAdapter",
                "Compacter", "Context", "FacT", "Frozen", "Full", "FullRank", "HyperFormer", "Linear", "LoRA", "Prompt", "RepAdapter"),
    "predict": ("Predictor",), "hub.pushing": ("push",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ARC", "MMA", "SSF", "VLPET", "VPT", "AdaRing", "AdaptFormer", "AddedBias", "BitFit", "Bottleneck", "CLIPAdapter", "CannotFold",
    "CannotGraft", "Compacter", "Context", "FacT", "Frozen", "Full", "FullRank", "HyperFormer", "InarchError", "Linear", "LoRA",
    "Predictor", "Prompt", "RepAdapter",
    "count", "disabled", "graft", "load", "merge", "push", "save", "sites", "ungraft", "unmerge", "use",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'inarch' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"inarch.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
