"""Decoder-only vision-language models of transformers: an image tower, a projector, causal language blocks that read its tokens.

    vlm:HuggingFaceTB/SmolVLM-256M-Instruct    vlm:NAME@REVISION    vlm:FOLDER    config:smolvlm-256m
The model is the stock one, whole and with its own ``generate``; its processor (``AutoProcessor``) makes prompts and pixels. Such a
backbone is grafted and trained in a loop of one's own or in transformers' Trainer: ``examples/decoder_vlm.py``.
"""

from __future__ import annotations

from typing import Any

from inarch.backbones import hf, reading
from inarch.backbones.address import Address, suggest
from inarch.backbones.backbone import Backbone, Wish, drawing, placed
from inarch.errors import ConfigError
from inarch.preprocess import Preprocess

_SMOL_TEXT = {"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
              "num_key_value_heads": 3, "vocab_size": 49280}
_SMOL_VISION = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 512,
                "patch_size": 16}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {  # 256,484,928 numbers
    "smolvlm-256m": ("smolvlm", {"text_config": _SMOL_TEXT, "vision_config": _SMOL_VISION, "scale_factor": 4, "image_token_id": 49190}),
}


def load(address: Address, wish: Wish) -> Backbone:
    """``vlm:``; every tensor comes from the file."""
    folder = reading.folder_of(address, wish)
    config = hf.read_config(folder)
    model = reading.read(generator_class(config, folder), folder, config) if wish.weights else _random(config, wish)
    source = reading.origin(address, folder, wish)
    return _finished(model, str(address), wish, source)


def random(address: Address, wish: Wish) -> Backbone:
    """A published shape with weights drawn from the seed, for counting and tests; it has no processor."""
    kind, fields = CONFIGS[address.name]
    model = _random(hf.transformers().CONFIG_MAPPING[kind](**fields), wish)
    source = reading.drawn(address, wish)
    return _finished(model, str(address), wish, source)


def generator_class(config: Any, where: object) -> Any:
    """transformers' class that answers in words for this configuration; ``ConfigError`` where it has none."""
    found = hf.transformers().MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if type(config) not in found:
        known = suggest(config.model_type, [kind.model_type for kind in found])
        raise ConfigError(f"{where}: transformers has no model_type {config.model_type!r} that reads images and answers in words; {known}; "
                          "an image classifier is written hf:NAME, a CLIP clip:NAME, BART or T5 with visual features vl:NAME")
    return found[type(config)]


def _random(config: Any, wish: Wish) -> Any:
    with hf.quiet(), drawing(wish):
        return generator_class(config, config.model_type)(config)


def _finished(model: Any, address: str, wish: Wish, source: dict[str, Any]) -> Backbone:
    """As it is: its size belongs to its processor, its head to its words."""
    side = hf.side_of(model.config)
    if wish.classes is not None:
        raise ConfigError(f"{address}: answers in words and has no head for {wish.classes} classes; graft and train it in your own loop or "
                          "transformers' Trainer (examples/decoder_vlm.py); for a run, choose hf:NAME (classes) or vl:NAME (BART, T5)")
    if wish.image_size not in (None, side):
        raise ConfigError(f"{address}: image_size={wish.image_size}; its processor cuts pictures to {side}: leave it out")
    return Backbone(placed(model, wish), address, Preprocess(side), "transformers", source | {"head": "native"}, side)
