"""How each make of two-tower model is asked for its features: a row per make, its own code called and never copied.

    transformers CLIPModel   get_image_features, get_text_features      read at the end of the text
    open_clip CLIP           encode_image, encode_text                  read at the end of the text, unless its configuration says other
    Pair                     a tower of any make and a text encoder     BERT: mean over the mask; a CLIP text tower: its end of text
A causal tower read at its end of text sees nothing behind it, so a batch is cut to its longest text; what stands behind is never used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from inarch.errors import ConfigError


class Stock(ABC):
    """One make; ``masked``: its text tower is told which tokens are padding."""

    masked = False

    @abstractmethod
    def width(self, model: Any) -> int:
        """Of both features."""

    @abstractmethod
    def context(self, model: Any) -> int:
        """The longest text, its start and end counted."""

    @abstractmethod
    def image(self, model: Any, pixels: Tensor) -> Tensor: ...

    @abstractmethod
    def text(self, model: Any, ids: Tensor, mask: Tensor | None) -> Tensor: ...

    @abstractmethod
    def ends(self, model: Any, ids: list[int]) -> bool:
        """Does the feature come from the last of these tokens, or from all of them alike?"""

    def encode(self, tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of every prompt with its start and end, whatever their number."""
        return tokenizer(list(prompts), padding=False, truncation=False, verbose=False)["input_ids"]

    def padding(self, tokenizer: Any) -> int | None:
        """The id behind a text; None: its own last one again."""
        return None

    def cuts(self, model: Any) -> bool:
        """May a batch be shorter than the context?"""
        return True


class TransformersClip(Stock):
    def width(self, model: Any) -> int:
        return model.config.projection_dim

    def context(self, model: Any) -> int:
        return model.config.text_config.max_position_embeddings

    def image(self, model: Any, pixels: Tensor) -> Tensor:
        return model.get_image_features(pixel_values=pixels).pooler_output

    def text(self, model: Any, ids: Tensor, mask: Tensor | None) -> Tensor:
        return model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output

    def ends(self, model: Any, ids: list[int]) -> bool:
        return at_end(model.config.text_config.eos_token_id, ids)


def at_end(end: int, ids: list[int]) -> bool:
    """transformers reads the first ``end``, or, where an old configuration says 2, the first of the highest ids."""
    return ids[-1] == (max(ids) if end == 2 else end)


class _Encode(nn.Module):
    """``encode_text`` as a module, for ``functional_call``."""

    def __init__(self, stock: nn.Module) -> None:
        super().__init__()
        self.stock = stock

    def forward(self, ids: Tensor) -> Tensor:
        return self.stock.encode_text(ids)  # type: ignore[operator]


class OpenClip(Stock):
    def width(self, model: Any) -> int:
        projection = model.text_projection
        return projection.out_features if isinstance(projection, nn.Linear) else projection.shape[1]

    def context(self, model: Any) -> int:
        return model.context_length

    def image(self, model: Any, pixels: Tensor) -> Tensor:
        return model.encode_image(pixels)

    def text(self, model: Any, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Its own code, which adds all positions and the whole causal mask: it is lent those of the first tokens."""
        count = ids.shape[1]
        if count == model.context_length:
            return model.encode_text(ids)
        lent = {"stock.positional_embedding": model.positional_embedding[:count], "stock.attn_mask": model.attn_mask[:count, :count]}
        return functional_call(_Encode(model), lent, (ids,))

    def ends(self, model: Any, ids: list[int]) -> bool:
        return ids[-1] == (model.text_eos_id if model.text_pool_type == "eos" else max(ids)) or not self.cuts(model)

    def encode(self, tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
        return [[tokenizer.sot_token_id, *tokenizer.encode(prompt), tokenizer.eot_token_id] for prompt in prompts]

    def padding(self, tokenizer: Any) -> int | None:
        return 0

    def cuts(self, model: Any) -> bool:
        return model.attn_mask is not None and model.text_pool_type in ("argmax", "eos")


class OfPair(Stock):
    masked = True

    def width(self, model: Any) -> int:
        return model.image_head.out_features

    def context(self, model: Any) -> int:
        return model.text_model.config.max_position_embeddings

    def image(self, model: Any, pixels: Tensor) -> Tensor:
        return model.images(pixels)

    def text(self, model: Any, ids: Tensor, mask: Tensor | None) -> Tensor:
        return model.texts(ids, mask)

    def ends(self, model: Any, ids: list[int]) -> bool:
        return not model.causal or at_end(model.text_model.config.eos_token_id, ids)

    def padding(self, tokenizer: Any) -> int | None:
        return tokenizer.pad_token_id


STOCKS: dict[str, Stock] = {
    "transformers.models.clip.modeling_clip.CLIPModel": TransformersClip(),
    "open_clip.model.CLIP": OpenClip(),
    "inarch.backbones.two_tower.Pair": OfPair(),
}


def stock_of(model: nn.Module) -> Stock:
    """The row of this model; ``ConfigError`` where there is none."""
    name = f"{type(model).__module__}.{type(model).__qualname__}"
    if name not in STOCKS:
        raise ConfigError(f"{type(model).__name__} is no two-tower model that is known here; known: {', '.join(STOCKS)}; add a row to "
                          "inarch/backbones/stocks.py, or put two towers together with inarch.backbones.two_tower.Pair")
    return STOCKS[name]
