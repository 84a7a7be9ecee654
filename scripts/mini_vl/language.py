"""The language half of mini-vl: a BART small enough for one core, and the projector through which it sees.

    3 encoder and 2 decoder layers of width 128, 4 heads, feed-forward 256; 36 visual tokens per picture, up to two pictures
"""

from __future__ import annotations

from typing import Any

from torch import nn

from inarch.backbones.seats import BartSeat, seat_of
from inarch.backbones.vision_language import VisionLanguage, VisualProjector
from inarch.scenes.words import tokenizer
from mini_vl.tower import WIDTH

DIM, FFN, STD = 128, 256, 0.06
POSITIONS = 64
SHAPE: dict[str, Any] = {
    "d_model": DIM, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": FFN, "decoder_ffn_dim": FFN, "max_position_embeddings": POSITIONS, "init_std": STD,
    "dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0,
}


def new_model() -> VisionLanguage:
    from transformers import BartConfig, BartForConditionalGeneration

    words = tokenizer()
    config = BartConfig(vocab_size=len(words), **SHAPE)
    visual = VisualProjector(WIDTH, DIM, BartSeat.norm(config), BartSeat.norm(config), tokens=None)
    for module in visual.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, 0, STD)
    return VisionLanguage(BartForConditionalGeneration(config), visual, seat_of(config), words)
