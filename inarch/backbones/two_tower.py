"""Two towers that meet in one space (CLIP): an image and a text become features of one width, and their cosine is the logit.

    f = image_out(images(pixels))    [batch, width]        w = text_out(texts(tokens))    [n, width]
    logits = e^scale  f/|f| . w/|w|  (+ bias)              [batch, n]
``stock`` is transformers' CLIPModel, open_clip's CLIP, or a ``Pair`` of towers of different make; its own code is called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inarch.backbones.stocks import stock_of
from inarch.backbones.vision_language import Passage
from inarch.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float

COLD = math.log(1 / 0.07)  # CLIP's first temperature [CLIP 2.5]


class Tokens(NamedTuple):
    """``ids [n, t]``, t the longest text of the batch; ``mask [n, t]``: 1 where a token is no padding, None where nobody looks behind."""

    ids: Tensor
    mask: Tensor | None = None

    def to(self, device: torch.device | str) -> Tokens:
        return Tokens(self.ids.to(device), None if self.mask is None else self.mask.to(device))

    def rows(self, rows: Any) -> Tokens:
        """Those texts alone, as long as they were."""
        return Tokens(self.ids[rows], None if self.mask is None else self.mask[rows])


class Feature(Passage):
    """The feature of a tower comes through here, after its projection and before it is normalised."""


class Pair(nn.Module):
    """Towers of different make: ``vision_model`` gives a pooled feature, ``text_model`` is a BERT or a CLIP text tower of transformers.

    BERT's feature is the mean of its last states over the tokens that are there, as sentence-transformers has it. ``vision_source``:
    what the image tower's loader said of it (``Backbone.source``), which is needed to save it.
    """

    def __init__(self, vision_model: nn.Module, text_model: Any, image_head: nn.Linear, text_head: nn.Linear,
                 logit_scale: float = COLD, vision_source: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.vision_model, self.text_model = vision_model, text_model
        self.image_head, self.text_head = image_head, text_head
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale)))
        self.vision_source = vision_source
        self.causal = text_model.config.model_type == "clip_text_model"

    def images(self, pixels: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch width"]:
        return self.image_head(pooled(self.vision_model(pixels)))

    def texts(self, ids: Tensor, mask: Tensor | None = None) -> Float[Tensor, "n width"]:
        mask = torch.ones_like(ids) if mask is None else mask
        out = self.text_model(input_ids=ids, attention_mask=mask)
        return self.text_head(out.pooler_output if self.causal else mean(out.last_hidden_state, mask))


def mean(states: Float[Tensor, "n tokens dim"], mask: Tensor) -> Float[Tensor, "n dim"]:
    """Over the tokens that are there."""
    there = mask[..., None].to(states.dtype)
    return (states * there).sum(1) / there.sum(1).clamp(min=1e-9)


def pooled(out: Any) -> Tensor:
    """An image tower's feature ``[batch, dim]``: timm's own, transformers' pooled one, or the class token where nothing is pooled."""
    if isinstance(out, Tensor):
        return out
    if "last_hidden_state" not in out:
        raise ConfigError(f"image tower: {type(out).__name__} is no pooled feature; give the tower without its classifier")
    found = out.get("pooler_output")
    return out.last_hidden_state[:, 0] if found is None else found.flatten(1)


class TwoTower(nn.Module):
    """``stock`` with its tokenizer (None: it has none); features are not normalised, so that adapters at their ports see them whole."""

    def __init__(self, stock: nn.Module, tokenizer: Any = None) -> None:
        super().__init__()
        self.stock, self.tokenizer = stock, tokenizer
        self.make = stock_of(stock)
        self.width = self.make.width(stock)
        self.image_out, self.text_out = Feature(self.width), Feature(self.width)

    @property
    def context(self) -> int:
        """The longest text in tokens, its start and end counted."""
        return self.make.context(self.stock)

    @property
    def scale(self) -> Tensor:
        return self.stock.logit_scale.exp()  # type: ignore[operator, union-attr]

    def tokens(self, prompts: Sequence[str]) -> Tokens:
        """Prompts as ids, cut to the longest of them; one that does not fit the context is refused by name."""
        if self.tokenizer is None:
            raise ConfigError("this two-tower backbone has no tokenizer (config: ones have none): give Tokens(ids), or load another one")
        if isinstance(prompts, str) or not prompts:
            raise ConfigError(f"prompts {prompts!r}: expected a list of at least one text")
        found = self.make.encode(self.tokenizer, prompts)
        self._refuse(prompts, found)
        length = max(map(len, found)) if self.make.cuts(self.stock) else self.context
        filler = self.make.padding(self.tokenizer)
        ids = [ids + [ids[-1] if filler is None else filler] * (length - len(ids)) for ids in found]
        mask = [[1] * len(ids) + [0] * (length - len(ids)) for ids in found]
        return Tokens(torch.tensor(ids), torch.tensor(mask) if self.make.masked else None).to(self.scale.device)

    def _refuse(self, prompts: Sequence[str], found: list[list[int]]) -> None:
        for prompt, ids in zip(prompts, found, strict=True):
            if len(ids) > self.context:
                raise ConfigError(f"prompt {prompt!r} is {len(ids)} tokens long, start and end counted; this backbone reads "
                                  f"{self.context}: shorten the class name or the template")
            if not ids or not self.make.ends(self.stock, ids):
                raise ConfigError(f"prompt {prompt!r}: the tokenizer gives {ids}, which does not end in the token that this text tower is "
                                  "read at; use the tokenizer that the backbone was trained with")

    def images(self, pixels: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch width"]:
        return self.image_out(self.make.image(self.stock, pixels))

    def texts(self, tokens: Tokens) -> Float[Tensor, "n width"]:
        return self.text_out(self.make.text(self.stock, tokens.ids, tokens.mask))

    def logits(self, f: Float[Tensor, "batch width"], w: Float[Tensor, "n width"]) -> Float[Tensor, "batch n"]:
        """Of features as ``images`` and ``texts`` give them."""
        found = self.scale * F.normalize(f, dim=-1) @ F.normalize(w, dim=-1).T
        bias = getattr(self.stock, "logit_bias", None)
        return found if bias is None else found + bias

    def forward(self, pixels: Float[Tensor, "batch 3 side side"], tokens: Tokens) -> Float[Tensor, "batch n"]:
        return self.logits(self.images(pixels), self.texts(tokens))
