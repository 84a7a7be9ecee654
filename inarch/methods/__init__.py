"""Adaptation methods: maths only, one file each. They see widths and depths, never a backbone."""

from inarch.adapter import Method
from inarch.methods.adaptformer import AdaptFormer
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
from inarch.methods.registry import METHODS, adopt, configured, method_named, name_of
from inarch.methods.repadapter import RepAdapter
from inarch.methods.ssf import SSF
from inarch.methods.thawed import BitFit, Frozen, Full, Linear
from inarch.methods.vlpet import VLPET
from inarch.methods.vpt import VPT

__all__ = [
    "ARC", "METHODS", "MMA", "SSF", "VLPET", "VPT", "AdaRing", "AdaptFormer", "AddedBias", "BitFit", "Bottleneck", "CLIPAdapter",
    "Compacter", "Context", "FacT", "Frozen", "Full", "FullRank", "HyperFormer", "Linear", "LoRA", "Method", "Prompt", "RepAdapter",
    "adopt", "configured", "method_named", "name_of",
]
