"""A head on an image tower that has none: ``logits = head(visual(pixels))``, features [batch, width] to [batch, classes].

Used for open_clip, whose models end in an embedding. The tower keeps the name ``visual`` that it has in an open_clip model, so
tensor names agree with open_clip's own checkpoints; ``head`` is the linear layer that is thawed and replaced.
"""

from __future__ import annotations

from torch import Tensor, nn


class ImageClassifier(nn.Module):
    """``visual``: images -> features; ``head``: features -> logits (an identity where no classes were asked for)."""

    def __init__(self, visual: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self.head = head

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.visual(pixels))
