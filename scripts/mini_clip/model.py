"""The shape of mini-clip, and how its image tower starts: from mini-vit, which has the same shape.

    vision   64 px, patch 8, width 128, 6 layers, 4 heads          text   context 32, width 128, 6 layers, 4 heads
    features = projection of the class token, and of the token that ends the text, to 128 numbers
CLIP's patches have no bias, so mini-vit's goes into the positions; CLIP normalises before the first block, which mini-vit does not,
so that norm starts with the scale that mini-vit's tokens have. What this changes, the training mends.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mini_clip.words import CONTEXT

TOWER: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 4, "projection_dim": 128,
    "hidden_act": "gelu",
}
LAYER = {
    "layernorm_before": "layer_norm1", "attention.attention.query": "self_attn.q_proj", "attention.attention.key": "self_attn.k_proj",
    "attention.attention.value": "self_attn.v_proj", "attention.output.dense": "self_attn.out_proj",
    "layernorm_after": "layer_norm2", "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2",
}
STREAM = 1.0  # the standard deviation of a token of mini-vit before its first block


def new_model(pieces: int, seed: int) -> Any:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(seed)
    text = {**TOWER, "vocab_size": pieces, "max_position_embeddings": CONTEXT, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    vision = {**TOWER, "image_size": 64, "patch_size": 8, "layer_norm_eps": 1e-6}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=TOWER["projection_dim"]))


def inherit(model: Any, vit: dict[str, Tensor]) -> None:
    """Image tower of ``model`` from the tensors of mini-vit's file."""
    vit = {name.removeprefix("vit."): value.float() for name, value in vit.items()}
    positions = vit["embeddings.position_embeddings"][0].clone()
    positions[1:] += vit["embeddings.patch_embeddings.projection.bias"]
    found = {
        "embeddings.class_embedding": vit["embeddings.cls_token"].flatten(),
        "embeddings.patch_embedding.weight": vit["embeddings.patch_embeddings.projection.weight"],
        "embeddings.position_embedding.weight": positions,
        "pre_layrnorm.weight": torch.full_like(positions[0], STREAM), "pre_layrnorm.bias": torch.zeros_like(positions[0]),
        "post_layernorm.weight": vit["layernorm.weight"], "post_layernorm.bias": vit["layernorm.bias"],
    }
    for layer in range(TOWER["num_hidden_layers"]):
        for theirs, ours in LAYER.items():
            for kind in ("weight", "bias"):
                found[f"encoder.layers.{layer}.{ours}.{kind}"] = vit[f"encoder.layer.{layer}.{theirs}.{kind}"]
    missing, unexpected = model.vision_model.load_state_dict(found, strict=False)
    if unexpected or any("position_ids" not in name for name in missing):
        raise RuntimeError(f"mini-vit does not fit the image tower: {missing}, {unexpected}")


def image_features(model: Any, pixels: Tensor) -> Tensor:
    """``[n, 128]``, not normalised."""
    return model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)


def text_features(model: Any, ids: Tensor) -> Tensor:
    """``[n, 128]``, not normalised; what is padded lies behind the end that is read, so it needs no mask."""
    return model.text_projection(model.text_model(input_ids=ids).pooler_output)
