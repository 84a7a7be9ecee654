"""inarch: graft a few kilobytes of trained numbers onto a frozen vision transformer, fold them in, take them off bit for bit."""

from inarch.checkpoint import load, save
from inarch.count import count, sites
from inarch.errors import CannotFold, CannotGraft, InarchError
from inarch.graft import disabled, graft, ungraft, use
from inarch.merge import merge, unmerge
from inarch.methods import ARC, BitFit, Full, FullRank, Linear, LoRA

__version__ = "0.1.0"

__all__ = [
    "ARC", "BitFit", "CannotFold", "CannotGraft", "Full", "FullRank", "InarchError", "Linear", "LoRA", "Predictor",
    "count", "disabled", "graft", "load", "merge", "save", "sites", "ungraft", "unmerge", "use",
]


def __getattr__(name: str) -> object:
    if name == "Predictor":  # brings image and backbone libraries: only when asked for
        from inarch.predict import Predictor

        return Predictor
    raise AttributeError(f"module 'inarch' has no attribute {name!r}")
