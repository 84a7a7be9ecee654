"""PEFT itself, imported where torchvision is in a state that lets it be; an absent one names its extra."""

from __future__ import annotations

from inarch.backbones.torchvision import mend_torchvision
from inarch.errors import need

mend_torchvision()
try:
    import peft
except ModuleNotFoundError as problem:
    if problem.name != "peft":
        raise
    raise need("peft", "peft") from None

__all__ = ["peft"]
