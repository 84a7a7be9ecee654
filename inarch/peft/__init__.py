"""The bridge to PEFT: ``get_peft_model(model, ARCConfig(r=50))`` and every script written for LoRA.

Importing this module makes PEFT know ``ARC``, ``ADARING`` and ``VLPET``; a file that PEFT saved of one needs this import before it is
loaded. The methods, sites and folds are those of ``inarch.graft``; here they wear PEFT's names.
"""

from __future__ import annotations

try:
    import peft
except ImportError:
    from inarch.errors import need

    raise need("peft", "peft") from None

from inarch.methods import ARC, VLPET, AdaRing
from inarch.peft.configs import RoleConfig, config_of
from inarch.peft.kinds import register
from inarch.peft.tuner import RootTuner, tuner_of

ARCConfig, AdaRingConfig, VLPETConfig = config_of(ARC), config_of(AdaRing), config_of(VLPET)
ARCModel, AdaRingModel, VLPETModel = tuner_of("ARC"), tuner_of("AdaRing"), tuner_of("VLPET")
CONFIGS = {ARC: ARCConfig, AdaRing: AdaRingConfig, VLPET: VLPETConfig}
for _config, _tuner in ((ARCConfig, ARCModel), (AdaRingConfig, AdaRingModel), (VLPETConfig, VLPETModel)):
    register(_config.made_for.__name__.upper(), _config, _tuner)

from inarch.peft.convert import from_inarch, to_inarch  # noqa: E402  (needs the configurations)

__all__ = [
    "ARCConfig", "ARCModel", "AdaRingConfig", "AdaRingModel", "CONFIGS", "RoleConfig", "RootTuner", "VLPETConfig", "VLPETModel",
    "from_inarch", "peft", "to_inarch",
]
