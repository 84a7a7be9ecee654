"""A stock BART or T5 that also reads visual tokens; its own model code is called, never copied or changed (VL-PET, spec of VL-T5).

    v_jk = Norm(W f_k + b) + Norm(W' [box_k, area_k] + b') + O[j] + E[vocab - 1 - k]       image j, its k-th token of feature f_k
    encoder input = [text ; visual], visual tokens always visible
BART: visual tokens follow the text after the embeddings' LayerNorm, without positions. T5: relative position bias between text and
text only, 0 wherever a visual token takes part. The last rows of the frozen token table E say which token of its image one is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

BOX = 5  # x1, x2, y1, y2 and the area between them


class VisualProjector(nn.Module):
    """Features to visual tokens of width ``dim``: the part of a vision-language backbone that is trained beside every method.

    ``tokens``: how many per image are left after max-pooling its square grid (36 of 7 x 7); None keeps the grid.
    """

    def __init__(self, width: int, dim: int, norm: nn.Module, box_norm: nn.Module, tokens: int | None = 36, images: int = 2) -> None:
        super().__init__()
        self.width, self.tokens = width, tokens
        self.feature, self.feature_norm = nn.Linear(width, dim), norm
        self.box, self.box_norm = nn.Linear(BOX, dim), box_norm
        self.image_order = nn.Embedding(images, dim)

    def forward(
        self, features: Float[Tensor, "batch images grid width"], table: Float[Tensor, "vocab dim"],
        boxes: Float[Tensor, "batch images grid 4"] | None = None,
    ) -> Float[Tensor, "batch tokens dim"]:
        """Boxes (x1, x2, y1, y2) are zero where none are given, as in the released data; the first of them belong to the tokens."""
        features = self.pooled(self._checked(features).to(self.feature.weight.dtype))
        batch, images, tokens, _ = features.shape
        seen = self.feature_norm(self.feature(features)) + self.box_norm(self.box(self._boxes(features, boxes)))
        places = table[table.shape[0] - 1 - torch.arange(tokens, device=table.device)]
        seen = seen + self.image_order.weight[:images, None] + places.to(seen.dtype)
        return seen.reshape(batch, images * tokens, -1)

    def pooled(self, features: Tensor) -> Tensor:
        """Adaptive max-pooling of each image's square grid to ``tokens``."""
        batch, images, grid, width = features.shape
        if self.tokens in (None, grid):
            return features
        old, new = math.isqrt(grid), math.isqrt(self.tokens or 0)
        if old * old != grid or new * new != self.tokens:
            raise DataError(f"{grid} feature rows per image cannot be pooled to {self.tokens} visual tokens: both must be square "
                            "grids (49 -> 36); set visual_tokens to 0 to keep every row")
        square = features.reshape(batch * images, old, old, width).permute(0, 3, 1, 2)
        return F.adaptive_max_pool2d(square, new).permute(0, 2, 3, 1).reshape(batch, images, new * new, width)

    def _boxes(self, features: Tensor, boxes: Tensor | None) -> Tensor:
        if boxes is None:
            return features.new_zeros(*features.shape[:-1], BOX)
        boxes = boxes[:, :, : features.shape[2]].to(features.dtype)
        area = (boxes[..., 1] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 2])
        return torch.cat([boxes, area[..., None]], dim=-1)

    def _checked(self, features: Tensor) -> Tensor:
        most = self.image_order.num_embeddings
        if features.dim() != 4 or features.shape[-1] != self.width or features.shape[1] > most:
            raise DataError(f"image features of shape {list(features.shape)}; expected [batch, images (1 to {most}), rows, {self.width}]: "
                            "extract them with the tower that this backbone was set up for (inarch features)")
        return features


class Passage(nn.Module):
    """What passes through is left as it is: a place with ports where no module of the family stands. ``weight``: only a width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(dim), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x


class Front(Passage):
    """Text embeddings come through here before anything is added to them; prompts can be put in front."""


class Leave(Passage):
    """What a module outside the blocks leaves (a stack's last norm, the LM head) comes through here."""


@dataclass(eq=False)
class GoThrough:
    """Forward hook of a stock module: its output goes through ``passage``."""

    passage: Passage

    def __call__(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        return self.passage(output)


class VisionLanguage(nn.Module):
    """``language`` (a stock encoder-decoder), ``visual`` (the projector), and the seat where visual tokens join the encoder."""

    def __init__(self, language: nn.Module, visual: VisualProjector, seat: Any, tokenizer: Any = None) -> None:
        super().__init__()
        self.language, self.visual = language, visual
        self.front = Front(language.config.d_model)  # type: ignore[union-attr, arg-type]
        self.seat, self.tokenizer = seat, tokenizer
        seat.take(language)
        for name, (module, width) in seat.leaves(language).items():
            passage = Leave(width)
            self.add_module(name, passage)
            module.register_forward_hook(GoThrough(passage))

    @property
    def config(self) -> Any:
        return self.language.config

    def encode(
        self, input_ids: Int[Tensor, "batch text"], attention_mask: Int[Tensor, "batch text"],
        features: Float[Tensor, "batch images grid width"] | None = None, boxes: Tensor | None = None,
    ) -> tuple[Float[Tensor, "batch tokens dim"], Int[Tensor, "batch tokens"]]:
        """What the encoder leaves for ``[text ; visual]``, and which of it the decoder may see."""
        table: Any = self.language.get_input_embeddings()  # type: ignore[operator]
        text = self.front(table(input_ids))
        if features is None:
            visual = text.new_zeros(text.shape[0], 0, text.shape[-1])
        else:
            visual = self.visual(features, table.weight, boxes).to(text.dtype)
        ahead = attention_mask.new_ones(text.shape[0], text.shape[1] - input_ids.shape[1])
        mask = torch.cat([ahead, attention_mask, attention_mask.new_ones(visual.shape[:2])], dim=1)
        return self.seat(self.language.get_encoder(), text, visual, mask, ahead.shape[1]), mask  # type: ignore[operator]

    def forward(
        self, input_ids: Int[Tensor, "batch text"], attention_mask: Int[Tensor, "batch text"], features: Tensor | None,
        labels: Int[Tensor, "batch target"], boxes: Tensor | None = None,
    ) -> Float[Tensor, "batch target vocab"]:
        """Logits of every target token; ``labels`` hold -100 where a target is padded."""
        hidden, mask = self.encode(input_ids, attention_mask, features, boxes)
        fed = self.language.prepare_decoder_input_ids_from_labels(labels)  # type: ignore[operator]
        return self.decode(hidden, mask, fed)

    def decode(self, hidden: Tensor, mask: Tensor, decoder_input_ids: Tensor) -> Tensor:
        """Logits ``[batch, target, vocab]`` after the given decoder tokens."""
        return self.language(encoder_outputs=(hidden,), attention_mask=mask, decoder_input_ids=decoder_input_ids, use_cache=False).logits

    @torch.no_grad()
    def generate(
        self, input_ids: Tensor, attention_mask: Tensor, features: Tensor | None, *, beams: int = 1, max_length: int = 20,
        boxes: Tensor | None = None, **more: Any,
    ) -> Int[Tensor, "batch length"]:
        """Token ids by greedy or beam search, cached; ``max_length`` counts the start token, as transformers does."""
        from transformers.modeling_outputs import BaseModelOutput

        hidden, mask = self.encode(input_ids, attention_mask, features, boxes)
        more = {"do_sample": False, "num_beams": beams, "max_length": max_length, "max_new_tokens": None} | more
        return self.language.generate(  # type: ignore[operator]
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden), attention_mask=mask, **more)
