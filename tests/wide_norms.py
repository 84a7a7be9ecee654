"""Root-mean-square norms of transformers take the variance in float32 whatever the input's type; here they keep the type.

So fp64 laws hold to 1e-12. Of T5 and Llama, whose forwards are the same.
"""

from __future__ import annotations

from torch import Tensor, nn

from inarch.backbones.torchvision import mend_torchvision

mend_torchvision()  # before transformers, whoever imports this

from transformers.models.llama.modeling_llama import LlamaRMSNorm  # noqa: E402
from transformers.models.t5.modeling_t5 import T5LayerNorm  # noqa: E402


class _Wide:
    def forward(self, hidden_states: Tensor) -> Tensor:
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        return self.weight * (hidden_states * (variance + self.variance_epsilon).rsqrt())  # type: ignore[attr-defined]


class WideT5LayerNorm(_Wide, T5LayerNorm):
    pass


class WideLlamaRMSNorm(_Wide, LlamaRMSNorm):
    pass


WIDE = {T5LayerNorm: WideT5LayerNorm, LlamaRMSNorm: WideLlamaRMSNorm}


def widened(model: nn.Module) -> nn.Module:
    for module in model.modules():
        module.__class__ = WIDE.get(type(module), type(module))
    return model
