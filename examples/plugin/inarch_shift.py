"""A method in a package of its own: ``pip install -e examples/plugin``, then ``inarch train DATA --method shift``.

    H = U + s b_l      U [*, d]  what enters attention or the MLP, after its norm;  b_l [d] zero;  s a fixed number
Trained per stack of L layers: L d.
"""

from dataclasses import dataclass

import torch
from torch import nn

from inarch.adapter import Adapter, Built, Method, Pre


@dataclass(frozen=True)
class Shift(Method):
    scale: float = 1.0

    def wanted(self):
        return ("attn", "mlp")

    @property
    def identity_at_start(self):
        return True

    def build(self, stacks):
        return Built({stack.name: Bias(self.scale, stack.depth, stack.width_in) for stack in stacks})


class Bias(Adapter):
    def __init__(self, scale, depth, dim):
        super().__init__()
        self.scale, self.bias = scale, nn.Parameter(torch.zeros(depth, dim))

    def before(self, x, i, given):
        return x + self.scale * self.bias[i]

    def affine(self, i, given):
        return Pre(self.bias.new_zeros(self.bias.shape[1], 1), self.bias.new_zeros(1, self.bias.shape[1]), self.scale * self.bias[i])
