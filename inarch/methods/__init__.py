"""Adaptation methods: maths only, one file each. They see widths and depths, never a backbone."""

from inarch.adapter import Method
from inarch.errors import ConfigError, nearest
from inarch.methods.adaring import AdaRing
from inarch.methods.addedbias import AddedBias
from inarch.methods.arc import ARC
from inarch.methods.bottleneck import Bottleneck
from inarch.methods.clip_adapter import CLIPAdapter
from inarch.methods.compacter import Compacter
from inarch.methods.context import Context
from inarch.methods.fact import FacT
from inarch.methods.fullrank import FullRank
from inarch.methods.hyperformer import HyperFormer
from inarch.methods.lora import LoRA
from inarch.methods.mma import MMA
from inarch.methods.prompt import Prompt
from inarch.methods.thawed import BitFit, Frozen, Full, Linear
from inarch.methods.vlpet import VLPET

METHODS: dict[str, type[Method]] = {
    "arc": ARC, "adaring": AdaRing, "lora": LoRA, "fullrank": FullRank, "linear": Linear, "bitfit": BitFit, "full": Full,
    "vlpet": VLPET, "bottleneck": Bottleneck, "compacter": Compacter, "frozen": Frozen,
    "prompt": Prompt, "hyperformer": HyperFormer, "addedbias": AddedBias,
    "mma": MMA, "clipadapter": CLIPAdapter, "context": Context, "fact": FacT,
}


def method_named(name: str) -> type[Method]:
    """The method class of a recipe's or file's name, ``arc``; raises ``ConfigError`` with the nearest known one."""
    try:
        return METHODS[name.lower()]
    except KeyError:
        raise ConfigError(f"no method {name!r}; {nearest(name.lower(), METHODS)}") from None


__all__ = [
    "ARC", "METHODS", "MMA", "VLPET", "AdaRing", "AddedBias", "BitFit", "Bottleneck", "CLIPAdapter", "Compacter", "Context", "FacT",
    "Frozen", "Full", "FullRank", "HyperFormer", "Linear", "LoRA", "Prompt", "method_named",
]
