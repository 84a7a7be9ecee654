"""A tiny random BART or T5 that reads features, in fp64 where asked, and the inputs it takes; T5's float32 islands can be widened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inarch.backbones.seats import seat_of
from inarch.backbones.torchvision import mend_torchvision
from inarch.backbones.vision_language import VisionLanguage, VisualProjector

mend_torchvision()  # before transformers, whoever imports this

from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration  # noqa: E402
from wide_norms import widened  # noqa: E402

VOCAB, DIM, WIDTH, GRID, TOKENS = 60, 32, 6, 9, 4
KINDS = ("bart", "t5")


def bart(depth: int = 3, **changes: Any) -> nn.Module:
    shape = {"vocab_size": VOCAB, "d_model": DIM, "encoder_layers": depth, "decoder_layers": depth, "encoder_attention_heads": 4,
             "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 40}
    return BartForConditionalGeneration(BartConfig(**shape | changes))


def t5(depth: int = 3, **changes: Any) -> nn.Module:
    shape = {"vocab_size": VOCAB, "d_model": DIM, "d_kv": 8, "d_ff": 64, "num_layers": depth, "num_heads": 4,
             "relative_attention_num_buckets": 8, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(**shape | changes))


STOCK = {"bart": bart, "t5": t5}


def wrapped(language: nn.Module, width: int = WIDTH, tokens: int | None = TOKENS, images: int = 2) -> VisionLanguage:
    """A stock model with a fresh projector, as loading puts them together."""
    seat = seat_of(language.config)
    visual = VisualProjector(width, language.config.d_model, seat.norm(language.config), seat.norm(language.config), tokens, images)
    seat.initialise(visual)
    return VisionLanguage(language, visual, seat)


def tiny(kind: str, depth: int = 3, **changes: Any) -> VisionLanguage:
    """In fp64 and evaluation mode; no zero bias or one of a norm is left that could hide a mistake."""
    torch.manual_seed(len(kind))
    model = widened(wrapped(STOCK[kind](depth, **changes))).double().eval()  # type: ignore[assignment]
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@dataclass(frozen=True)
class Batch:
    """What ``VisionLanguage.forward`` takes; the second text is padded, as are its labels, and boxes are not zero."""

    input_ids: Tensor
    attention_mask: Tensor
    features: Tensor
    labels: Tensor
    boxes: Tensor

    def on(self, model: nn.Module) -> Tensor:
        return model(self.input_ids, self.attention_mask, self.features, self.labels, self.boxes)

    @property
    def source(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.input_ids, self.attention_mask, self.features


def batch(kind: str, rows: int = 2, images: int = 2, text: int = 7) -> Batch:
    g = torch.Generator().manual_seed(7)
    pad = {"bart": 1, "t5": 0}[kind]
    ids = torch.randint(3, VOCAB - TOKENS, (rows, text), generator=g)
    mask = torch.ones(rows, text, dtype=torch.long)
    mask[1::2, -2:] = 0
    labels = torch.randint(3, VOCAB - TOKENS, (rows, 5), generator=g)
    labels[1::2, -1] = -100
    features = torch.randn(rows, images, GRID, WIDTH, generator=g, dtype=torch.float64)
    boxes = torch.rand(rows, images, GRID, 4, generator=g, dtype=torch.float64)
    return Batch(ids.masked_fill(mask == 0, pad), mask, features, labels, boxes)
