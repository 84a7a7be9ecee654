"""A tiny random SmolVLM (vision tower, connector, causal language blocks) and what it takes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inarch.backbones.torchvision import mend_torchvision

mend_torchvision()  # before transformers, whoever imports this

from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration  # noqa: E402

VOCAB, IMAGE, SIDE = 99, 98, 32
SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}


def smolvlm() -> nn.Module:
    """16 patches a picture, joined by fours; two heads of keys and values for four of queries."""
    text = SHAPE | {"num_key_value_heads": 2, "vocab_size": VOCAB, "model_type": "llama", "pad_token_id": 0, "bos_token_id": 1,
                    "eos_token_id": 2, "max_position_embeddings": 64}
    vision = SHAPE | {"image_size": SIDE, "patch_size": 8}
    return SmolVLMForConditionalGeneration(SmolVLMConfig(vision_config=vision, text_config=text, scale_factor=2, image_token_id=IMAGE))


def batch(rows: int = 2) -> dict[str, Tensor]:
    """One picture a row, four places for it, words behind; the second row is padded in front."""
    g = torch.Generator().manual_seed(7)
    ids = torch.randint(3, IMAGE, (rows, 11), generator=g)
    ids[:, 2:6] = IMAGE
    mask = torch.ones_like(ids)
    mask[1::2, :2] = 0
    return {"input_ids": ids.masked_fill(mask == 0, 0), "attention_mask": mask,
            "pixel_values": torch.randn(rows, 1, 3, SIDE, SIDE, generator=g, dtype=torch.float64)}


def logits(model: nn.Module, x: dict[str, Tensor]) -> Tensor:
    return model(**x).logits
