"""The bridge to PEFT: ``get_peft_model(model, ARCConfig(r=50))`` and every script written for LoRA.

Importing this module makes PEFT know ``ARC``, ``ADARING`` and ``VLPET``; a file that PEFT saved of one needs this import before it is
loaded. The methods, sites and folds are those of ``inarch.graft``; here they wear PEFT's names.
"""

from __future__ import annotations

from inarch.peft.library import peft  # isort: skip  (the modules below import PEFT as if nothing could be wrong with it)

from inarch.methods import ARC, VLPET, AdaRing
from inarch.peft.configs import CONFIGS, AdaRingConfig, ARCConfig, RoleConfig, VLPETConfig
from inarch.peft.convert import from_inarch, to_inarch
from inarch.peft.kinds import register
from inarch.peft.tuner import RootTuner, tuner_of

ARCModel, AdaRingModel, VLPETModel = tuner_of(ARC), tuner_of(AdaRing), tuner_of(VLPET)
for _method, _tuner in ((ARC, ARCModel), (AdaRing, AdaRingModel), (VLPET, VLPETModel)):
    register(_method, CONFIGS[_method], _tuner)

__all__ = [
    "ARCConfig", "ARCModel", "AdaRingConfig", "AdaRingModel", "CONFIGS", "RoleConfig", "RootTuner", "VLPETConfig", "VLPETModel",
    "from_inarch", "peft", "to_inarch",
]
