"""Two towers of different make on disk, and how they are put together: an image backbone, a text encoder, a projection of each.

    two_tower.json      format, width, biases, poolers                vision/   as timm or transformers writes it
    heads.safetensors   the projections and the temperature           text/     as transformers writes it, with the tokenizer
    preprocess.json     of the image tower
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inarch import files
from inarch.backbones import hf, reading, timm, weights_file
from inarch.backbones.address import TWO_TOWER_CARD, Address
from inarch.backbones.backbone import Backbone, Wish, drawing, placed
from inarch.backbones.hub import HF_WEIGHTS
from inarch.backbones.two_tower import Pair, TwoTower, pooled
from inarch.errors import ConfigError, Corrupt, Mismatch
from inarch.preprocess import Preprocess

FORMAT = 1
MOST = 1 << 16  # of anything that a card may ask for: checked before it is allocated
HEADS = "heads.safetensors"
LIBRARIES = ("timm", "transformers")


def pair(vision: Backbone, text: str | Path, width: int, *, bias: bool = True, seed: int = 0) -> Backbone:
    """A pre-trained image backbone and a text encoder's folder, with fresh projections to ``width``; to be aligned by training."""
    tower: Any = vision.model
    if vision.library not in LIBRARIES:
        raise ConfigError(f"{vision.address}: a tower of {vision.library}; expected one of {' or '.join(LIBRARIES)}")
    if vision.library == "timm":
        tower.reset_classifier(0)
    else:
        tower = tower.base_model
    wish = Wish(seed=seed)
    encoder, tokenizer = _text(Path(text), wish, _has_pooler(Path(text)))
    model = _assembled((tower, encoder, tokenizer), width, bias, vision.image_size, wish, vision.source)
    source = {"name": f"{vision.address} + {text}", "revision": None, "licence": None, "pretrained": True, "head": "none"}
    return Backbone(placed(model, wish), vision.address, vision.preprocess, "transformers", source, vision.image_size)


def _assembled(parts: tuple[Any, Any, Any], width: int, bias: bool, side: int, wish: Wish, source: dict[str, Any]) -> TwoTower:
    tower, encoder, tokenizer = parts
    with torch.no_grad():
        dim = pooled(tower.eval()(torch.zeros(1, 3, side, side, device=next(tower.parameters()).device))).shape[-1]
    with drawing(wish):
        heads = nn.Linear(dim, width, bias), nn.Linear(encoder.config.hidden_size, width, bias)
        return TwoTower(Pair(tower, encoder, *heads, vision_source=source), tokenizer)


def _has_pooler(folder: Path) -> bool:
    """Of a folder that transformers wrote: some models are saved with a pooler and some without."""
    names = [name for path in weights_file.in_folder(folder, HF_WEIGHTS) for name in weights_file.shapes(path)]
    return any("pooler" in name.split(".") for name in names)


def _text(folder: Path, wish: Wish, pools: bool) -> tuple[Any, Any]:
    config = hf.read_config(folder)
    tokenizer = reading.tokenizer_of(folder)
    if len(tokenizer) > config.vocab_size:
        raise Mismatch(f"{folder}: the tokenizer knows {len(tokenizer)} tokens, the text tower {config.vocab_size}; "
                       "put the tokenizer beside it that it was trained with")
    return _model(folder, config, wish, pools), tokenizer


def _model(folder: Path, config: Any, wish: Wish, pools: bool) -> Any:
    """transformers' model without a task head, and without a pooler that the folder does not have."""
    kind = hf.transformers().MODEL_MAPPING[type(config)]
    asked: dict[str, Any] = {} if pools or "add_pooling_layer" not in inspect.signature(kind).parameters else {"add_pooling_layer": False}
    if wish.weights:
        return reading.read(kind, folder, config, **asked)
    with hf.quiet(), drawing(wish):
        return kind(config, **asked)


def save(model: TwoTower, folder: str | Path, preprocess: Preprocess) -> Path:
    """Write a pair as a folder that ``clip:FOLDER`` reads."""
    stock = model.stock
    if not isinstance(stock, Pair):
        raise ConfigError(f"{type(stock).__name__} is one model of its library, not a pair: save it as such (save_pretrained)")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _save_vision(stock, folder / "vision", preprocess)
    with hf.quiet():
        stock.text_model.save_pretrained(folder / "text")
        model.tokenizer.save_pretrained(folder / "text")
    files.write(folder / HEADS, files.tensor_bytes(_heads(stock)))
    files.write(folder / "preprocess.json", files.canonical(preprocess.to_json()))
    pools = {f"{name}_pools": getattr(tower, "pooler", None) is not None
             for name, tower in (("vision", stock.vision_model), ("text", stock.text_model))}
    card = {"format": FORMAT, "width": model.width, "bias": stock.image_head.bias is not None, **pools}
    files.write(folder / TWO_TOWER_CARD, files.canonical(card))
    return folder


def _save_vision(stock: Pair, folder: Path, rule: Preprocess) -> None:
    from inarch.backbones.native import FORMATS, Job

    tower: Any = stock.vision_model
    folder.mkdir(exist_ok=True)
    if type(tower).__module__.startswith("timm."):
        if not stock.vision_source or "architecture" not in stock.vision_source:
            raise ConfigError("the pair does not say which timm architecture its image tower is: give Pair(vision_source=Backbone.source), "
                              "or put it together with pair()")
        FORMATS["timm"].write(Job(tower, Backbone(tower, "", rule, "timm", stock.vision_source), rule, (), tower.num_classes), folder)
    else:
        with hf.quiet():
            tower.save_pretrained(folder)


def _heads(stock: Pair) -> dict[str, Tensor]:
    return {name: value.detach().contiguous().cpu() for name, value in stock.state_dict().items()
            if name.startswith(("image_head.", "text_head.", "logit_scale"))}


def load(folder: Path, wish: Wish) -> tuple[TwoTower, Preprocess]:
    """A folder that ``save`` wrote."""
    card = _card(folder / TWO_TOWER_CARD)
    tower, source = _vision(folder / "vision", wish, card["vision_pools"])
    rule = hf.preprocess_of(folder, wish.image_size or 224)
    parts = (tower, *_text(folder / "text", wish, card["text_pools"]))
    model = _assembled(parts, card["width"], card["bias"], wish.image_size or rule.size, wish, source)
    if wish.weights:
        _fill(model.stock, folder / HEADS)
    return model, rule


def _vision(folder: Path, wish: Wish, pools: bool) -> tuple[Any, dict[str, Any]]:
    address = Address("timm", str(folder), folder=True)
    if "architecture" in files.parse_json(files.read(folder / "config.json"), folder / "config.json"):
        found = timm.from_folder(address, folder, wish)
        return found.model, found.source
    config = hf.read_config(folder)
    tower = _model(folder, config, wish, pools)
    return hf.reshaped(tower, wish.image_size or hf.side_of(config), str(folder)), {}


def _card(path: Path) -> dict[str, Any]:
    card = files.parse_json(files.read(path), path)
    if card.get("format") != FORMAT:
        raise Mismatch(f"{path}: format {card.get('format')!r}; this inarch reads {FORMAT}: upgrade it")
    if type(card.get("width")) is not int or not 1 <= card["width"] <= MOST:
        raise Corrupt(f"{path}: width is {card.get('width')!r}; expected a whole number from 1 to {MOST}: save the backbone again")
    for name in ("bias", "vision_pools", "text_pools"):
        if type(card.get(name)) is not bool:
            raise Corrupt(f"{path}: {name} is {card.get(name)!r}; expected true or false: save the backbone again")
    return card


def _fill(stock: nn.Module, path: Path) -> None:
    wanted = _heads(stock)  # type: ignore[arg-type]
    data = files.read(path)
    files.check_tensors(files.header(data, path), {name: list(value.shape) for name, value in wanted.items()}, path)
    stock.load_state_dict({name: value.float() for name, value in files.tensors(data, path).items()}, strict=False)
