"""Two-tower backbones by address: a transformers CLIP with its tokenizer, an open_clip one, or two towers that were put together here.

    clip:openai/clip-vit-base-patch16    clip:NAME@REVISION    clip:FOLDER    mini-clip    config:clip-vit-b16    config:clip-vit-l14
    clip:open_clip:ARCH/TAG    clip:open_clip:ARCH@FILE
A folder is one that transformers or open_clip wrote, or one of ``pair_folder.save``. There is no head: class names are the classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inarch.backbones import hf, pair_folder, reading
from inarch.backbones.address import TWO_TOWER_CARD, Address
from inarch.backbones.backbone import Backbone, Wish, drawing, placed, prove
from inarch.backbones.processors import CLIP
from inarch.backbones.two_tower import TwoTower
from inarch.errors import ConfigError, Mismatch
from inarch.preprocess import Preprocess

OPEN_CLIP = "open_clip:"


def _tower(dim: int, depth: int, heads: int, **more: int) -> dict[str, int]:
    return {"hidden_size": dim, "num_hidden_layers": depth, "num_attention_heads": heads, "intermediate_size": 4 * dim, **more}


CONFIGS: dict[str, dict[str, Any]] = {  # [CLIP, table 20]; vocabulary 49408, context 77
    "clip-vit-b16": {"vision_config": _tower(768, 12, 12, patch_size=16), "text_config": _tower(512, 12, 8), "projection_dim": 512},
    "clip-vit-l14": {"vision_config": _tower(1024, 24, 16, patch_size=14), "text_config": _tower(768, 12, 12), "projection_dim": 768},
}


def load(address: Address, wish: Wish) -> Backbone:
    """``clip:``; whole, with both towers, the projections and the tokenizer."""
    _refuse_classes(address, wish)
    if address.name.startswith(OPEN_CLIP):
        inside = Address("open_clip", address.name.removeprefix(OPEN_CLIP), address.at)
        return _of_open_clip(address, inside, wish)
    folder = reading.folder_of(address, wish)
    if (folder / TWO_TOWER_CARD).is_file():
        model, rule = pair_folder.load(folder, wish)
    elif (folder / "open_clip_config.json").is_file() and not (folder / "config.json").is_file():
        return _of_open_clip(address, Address("open_clip", address.name, folder=True), wish)
    else:
        model, rule = from_transformers(folder, str(address), wish)
    source = reading.origin(address, folder, wish)
    return finished(model, rule, str(address), wish, source)


def random(address: Address, wish: Wish) -> Backbone:
    """A published shape with weights drawn from the seed, for counting, benchmarks and tests; it has no tokenizer."""
    _refuse_classes(address, wish)
    library = hf.transformers()
    with hf.quiet(), drawing(wish):
        stock = library.CLIPModel(library.CLIPConfig(**CONFIGS[address.name]))
    model = _sized(stock, None, Preprocess(224, mean=CLIP[0], std=CLIP[1]), str(address), wish)
    source = reading.drawn(address, wish)
    return finished(*model, str(address), wish, source)


def _refuse_classes(address: Address, wish: Wish) -> None:
    if wish.classes is not None:
        raise ConfigError(f"{address}: two towers have no head for {wish.classes} classes, class names are their classes (a few-shot run); "
                          "for a classifier on the image tower alone write hf:NAME or open_clip:ARCH/TAG")


def finished(model: TwoTower, rule: Preprocess, address: str, wish: Wish, source: dict[str, Any],
             library: str = "transformers") -> Backbone:
    """Proven at its size, and where it is wished."""
    side = wish.image_size or rule.size
    if wish.image_size:
        prove(model, side, address, TwoTower.images)
    return Backbone(placed(model, wish), address, rule.resized(side), library, source | {"head": "none"}, side)


def from_transformers(folder: Path, address: str, wish: Wish) -> tuple[TwoTower, Preprocess]:
    """A transformers CLIP and the tokenizer beside it."""
    config = hf.read_config(folder)
    if config.model_type != "clip":
        raise ConfigError(f"{folder}/config.json: model_type {config.model_type!r} is no CLIP; clip: reads transformers' CLIPModel, "
                          "open_clip (clip:open_clip:ARCH/TAG), and folders that inarch.backbones.pair_folder.save wrote")
    tokenizer = reading.tokenizer_of(folder)
    _refuse_strange_words(folder, tokenizer, config.text_config)
    kind = hf.transformers().CLIPModel
    if wish.weights:
        stock = reading.read(kind, folder, config)
    else:
        with hf.quiet(), drawing(wish):
            stock = kind(config)
    side = hf.side_of(config)
    return _sized(stock, tokenizer, hf.preprocess_of(folder, side, Preprocess(side, mean=CLIP[0], std=CLIP[1])), address, wish)


def _sized(stock: Any, tokenizer: Any, rule: Preprocess, address: str, wish: Wish) -> tuple[TwoTower, Preprocess]:
    """At the size that is wished, or that its pictures come in."""
    with drawing(wish):
        return TwoTower(hf.reshaped(stock, wish.image_size or rule.size, address), tokenizer), rule


def _refuse_strange_words(folder: Path, tokenizer: Any, config: Any) -> None:
    if len(tokenizer) > config.vocab_size:
        raise Mismatch(f"{folder}: the tokenizer knows {len(tokenizer)} tokens, the text tower {config.vocab_size}; "
                       "put the tokenizer beside it that it was trained with")
    if config.eos_token_id != 2 and tokenizer.eos_token_id != config.eos_token_id:  # 2: an old configuration, read at the highest id
        raise Mismatch(f"{folder}: the tokenizer ends a text with id {tokenizer.eos_token_id}, the text tower is read at "
                       f"{config.eos_token_id}; put the tokenizer beside it that it was trained with")


def _of_open_clip(address: Address, inside: Address, wish: Wish) -> Backbone:
    from inarch.backbones import open_clip

    found = open_clip.both_towers(inside, wish)
    return finished(TwoTower(found.model, found.tokenizer), found.preprocess, str(address), wish, found.source, "open_clip")
