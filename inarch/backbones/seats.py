"""Where visual tokens join a stock encoder: a seat per family, by hooks on the family's own modules.

    BART   [LN([prompt ; text + positions]) ; visual], then the encoder's own dropout and layers
    T5     [prompt ; text ; visual], relative position bias among prompt and text alone, 0 wherever a visual token takes part
A prompt is what was put in front of the text: on BART it has no positions, and the text keeps its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.errors import ConfigError

STD = 0.02  # of BART's initialiser


class BartSeat:
    """Visual tokens wait in ``guests`` for the one forward that takes them, and ``ahead`` says how many tokens are a prompt; the
    position table and the embeddings' LayerNorm have their hooks for good."""

    def __init__(self) -> None:
        self.guests: Tensor | None = None
        self.ahead = 0

    def take(self, language: nn.Module) -> None:
        encoder: Any = language.get_encoder()  # type: ignore[operator]
        encoder.embed_positions.register_forward_hook(self.place)
        encoder.layernorm_embedding.register_forward_hook(self.join)

    def leaves(self, language: nn.Module) -> dict[str, tuple[nn.Module, int]]:
        """Modules outside the blocks whose output methods may edit, and its width: none is needed here."""
        return {}

    def place(self, module: nn.Module, args: tuple, positions: Tensor) -> Tensor | None:
        return F.pad(positions[..., : positions.shape[-2] - self.ahead, :], (0, 0, self.ahead, 0)) if self.ahead else None

    def join(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor | None:
        return None if self.guests is None else torch.cat([output, self.guests], dim=1)

    def __call__(self, encoder: nn.Module, text: Tensor, visual: Tensor, mask: Tensor, ahead: int = 0) -> Tensor:
        from transformers.masking_utils import create_bidirectional_mask

        whole = text.new_empty(text.shape[0], mask.shape[1], 1)  # of the length that the layers will see
        ready = create_bidirectional_mask(config=encoder.config, inputs_embeds=whole, attention_mask=mask)  # type: ignore[arg-type]
        self.guests, self.ahead = visual, ahead
        try:
            return encoder(inputs_embeds=text, attention_mask=ready).last_hidden_state
        finally:
            self.guests, self.ahead = None, 0

    @staticmethod
    def norm(config: Any) -> nn.Module:
        return nn.LayerNorm(config.d_model)

    @staticmethod
    def initialise(visual: nn.Module) -> None:
        """As BART initialises whatever is added to it: N(0, 0.02^2), biases zero."""
        for module in visual.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, 0, STD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)


class T5Seat:
    """The number of visual tokens travels with the call, so that a block computed again in backward sees it too."""

    def take(self, language: nn.Module) -> None:
        for block in language.get_encoder().block:  # type: ignore[operator]
            block.register_forward_pre_hook(self.bias, with_kwargs=True)

    def leaves(self, language: nn.Module) -> dict[str, tuple[nn.Module, int]]:
        """Modules outside the blocks whose output methods may edit, and its width."""
        encoder, decoder, head = language.get_encoder(), language.get_decoder(), language.get_output_embeddings()  # type: ignore[operator]
        width = encoder.config.d_model
        return {"encoded": (encoder.final_layer_norm, width), "decoded": (decoder.final_layer_norm, width),
                "scores": (head, head.out_features)}

    def bias(self, block: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        visual = kwargs.get("visual_tokens")
        if visual is None:
            return None
        rest = {name: value for name, value in kwargs.items() if name != "visual_tokens"}
        hidden, mask, bias, *others = args
        attention: Any = block.layer[0].SelfAttention  # type: ignore[index, union-attr]
        if attention.has_relative_attention_bias:
            text = hidden.shape[1] - visual
            bias = F.pad(attention.compute_bias(text, text, device=hidden.device), (0, visual, 0, visual))
        return (hidden, mask, bias, *others), rest

    def __call__(self, encoder: nn.Module, text: Tensor, visual: Tensor, mask: Tensor, ahead: int = 0) -> Tensor:
        both = torch.cat([text, visual], dim=1)
        return encoder(inputs_embeds=both, attention_mask=mask, visual_tokens=visual.shape[1]).last_hidden_state

    @staticmethod
    def norm(config: Any) -> nn.Module:
        from transformers.models.t5.modeling_t5 import T5LayerNorm

        return T5LayerNorm(config.d_model, eps=config.layer_norm_epsilon)

    @staticmethod
    def initialise(visual: nn.Module) -> None:
        """T5's initialiser leaves what is added to it as PyTorch made it."""


SEATS: dict[str, type[BartSeat] | type[T5Seat]] = {"bart": BartSeat, "t5": T5Seat}  # by transformers' model_type


def seat_of(config: Any) -> BartSeat | T5Seat:
    """The seat for a configuration's ``model_type``; ``ConfigError`` where there is none."""
    if config.model_type not in SEATS:
        raise ConfigError(f"no vision-language backbone is made of a {config.model_type!r}; known: {', '.join(SEATS)}")
    return SEATS[config.model_type]()
