"""Vision-language backbones by address: a BART or T5 of transformers, its tokenizer with the visual words, and a fresh projector.

    vl:facebook/bart-base    vl:t5-base    vl:FOLDER    config:vl-bart-base    mini-vl
A folder is one that transformers wrote (the projector is drawn from the seed), or one that ``save`` here wrote (it is read):
    vision_language.json   feature width, visual tokens, images, tower        language/   transformers' own folder with the tokenizer
    visual.safetensors     the projector
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from inarch import files
from inarch.backbones import hf, reading
from inarch.backbones.address import VL_CARD, Address
from inarch.backbones.backbone import Backbone, Wish, drawing, placed
from inarch.backbones.seats import seat_of
from inarch.backbones.vision_language import VisionLanguage, VisualProjector
from inarch.errors import ConfigError, Corrupt, Mismatch
from inarch.preprocess import Preprocess

FORMAT = 1
WORDS = 100  # of each kind that VL-T5 adds to the vocabulary: <extra_id_99..0>, then <vis_extra_id_99..0>
MOST = 1 << 16  # of anything that a card may ask for: checked before it is allocated
IMAGE_WIDTH, IMAGE_TOKENS = 2048, 36  # CLIP RN101's grid, pooled 7 x 7 -> 6 x 6
CLASSES = {"bart": "BartForConditionalGeneration", "t5": "T5ForConditionalGeneration"}


@dataclass(frozen=True)
class Shape:
    """A paper's backbone: transformers' configuration class, its fields, and what the projector reads."""

    config: str
    fields: dict[str, Any]
    width: int = IMAGE_WIDTH
    tokens: int = IMAGE_TOKENS


_BART = {"vocab_size": 50265 + 2 * WORDS, "d_model": 768, "encoder_layers": 6, "decoder_layers": 6, "encoder_attention_heads": 12,
         "decoder_attention_heads": 12, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072}
_T5 = {"vocab_size": 32000 + 2 * WORDS, "d_model": 768, "d_ff": 3072, "d_kv": 64, "num_layers": 12, "num_heads": 12,
       "decoder_start_token_id": 0}
CONFIGS: dict[str, Shape] = {
    "vl-bart-base": Shape("BartConfig", _BART),
    "vl-t5-base": Shape("T5Config", _T5),
    "vl-bart-base-video": Shape("BartConfig", _BART, width=512, tokens=64),  # frames of CLIP ViT; no pooling changes 64
}


def load(address: Address, wish: Wish) -> Backbone:
    """``vl:``; a folder with a card of ours brings its projector, any other gets a fresh one."""
    _check(wish)
    folder = reading.folder_of(address, wish, reading.TOKENIZER)
    if (folder / VL_CARD).is_file():
        model = from_own_folder(folder, wish)
    else:
        model = _assembled(from_transformers(folder, wish), wish, IMAGE_WIDTH, IMAGE_TOKENS)
    source = reading.origin(address, folder, wish)
    return finished(model, str(address), wish, source)


def random(address: Address, wish: Wish) -> Backbone:
    """A paper's backbone with weights drawn from the seed, for counting, benchmarks and tests; it has no tokenizer."""
    _check(wish)
    shape = CONFIGS[address.name]
    library = hf.transformers()
    config = getattr(library, shape.config)(**shape.fields)
    with hf.quiet(), drawing(wish):
        language = getattr(library, CLASSES[config.model_type])(config)
    source = reading.drawn(address, wish)
    return finished(_assembled((language, None), wish, shape.width, shape.tokens), str(address), wish, source)


def _check(wish: Wish) -> None:
    tokens = wish.visual_tokens
    if tokens is not None and (type(tokens) is not int or tokens < 0):
        raise ConfigError(f"backbone: visual_tokens={tokens!r}; expected a whole number, 0 for every feature row")


def finished(model: VisionLanguage, address: str, wish: Wish, source: dict[str, Any]) -> Backbone:
    return Backbone(placed(model, wish), address, Preprocess(), "transformers", source)


def from_transformers(folder: Path, wish: Wish) -> tuple[Any, Any]:
    """``language, tokenizer`` of a transformers folder, its vocabulary grown by the visual words it lacks."""
    config = hf.read_config(folder)
    seat_of(config)
    tokenizer = tokenizer_of(folder)
    kind: Any = getattr(hf.transformers(), CLASSES[config.model_type])
    if not wish.weights:
        with hf.quiet(), drawing(wish):
            language = kind(config)
    else:
        language = reading.read(kind, folder, config, spare=("final_logits_bias",))  # a zero buffer
    grow(language, tokenizer, wish)
    return language, tokenizer


def tokenizer_of(folder: Path) -> Any:
    """The folder's tokenizer with the words of VL-T5 added behind its own, in their published order."""
    tokenizer = reading.tokenizer_of(folder)
    known = tokenizer.get_vocab()
    words = [f"<{kind}_{k}>" for kind in ("extra_id", "vis_extra_id") for k in reversed(range(WORDS))]
    new = [word for word in words if word not in known]
    if f"<vis_extra_id_{WORDS - 1}>" in new or "<vis_extra_id_0>" in new:
        tokenizer.add_tokens(new, special_tokens=True)
    return tokenizer


def grow(language: Any, tokenizer: Any, wish: Wish) -> None:
    """One row of the token table per word; new rows as the family initialises its embeddings, never trained under a PET method."""
    size = len(tokenizer)
    if language.get_input_embeddings().num_embeddings != size:
        with hf.quiet(), drawing(wish):
            language.resize_token_embeddings(size, mean_resizing=False)


def _assembled(parts: tuple[Any, Any], wish: Wish, width: int, tokens: int | None, images: int = 2) -> VisionLanguage:
    language, tokenizer = parts
    seat = seat_of(language.config)
    if wish.visual_tokens is not None:
        tokens = wish.visual_tokens
    with drawing(wish):
        norms = seat.norm(language.config), seat.norm(language.config)
        visual = VisualProjector(wish.feature_width or width, language.config.d_model, *norms, tokens or None, images)
        seat.initialise(visual)
    return VisionLanguage(language, visual, seat, tokenizer)


def save(model: VisionLanguage, folder: str | Path, tower: str = "") -> Path:
    """Write the backbone as a folder that ``vl:FOLDER`` reads; ``tower``: address of the image tower its features came from."""
    folder = Path(folder)
    with hf.quiet():
        model.language.save_pretrained(folder / "language")  # type: ignore[operator]
        model.tokenizer.save_pretrained(folder / "language")
    values = {name: value.detach().contiguous().cpu() for name, value in model.visual.state_dict().items()}
    files.write(folder / "visual.safetensors", files.tensor_bytes(values))
    card = {"format": FORMAT, "feature_width": model.visual.width, "visual_tokens": model.visual.tokens or 0,
            "images": model.visual.image_order.num_embeddings, "tower": tower}
    files.write(folder / VL_CARD, files.canonical(card))
    return folder


def from_own_folder(folder: Path, wish: Wish) -> VisionLanguage:
    """A folder that ``save`` wrote."""
    card = _card(folder / VL_CARD)
    for name, wished in (("feature_width", wish.feature_width), ("visual_tokens", wish.visual_tokens)):
        if wished is not None and wished != card[name]:
            raise ConfigError(f"{folder}: its projector was made for {name}={card[name]}, not {wished}; leave it out or use other features")
    model = _assembled(from_transformers(folder / "language", wish), wish, card["feature_width"], card["visual_tokens"], card["images"])
    if wish.weights:
        _fill(model.visual, folder / "visual.safetensors")
    return model


def _card(path: Path) -> dict[str, Any]:
    """What ``save`` wrote of the projector, checked before anything is built from it."""
    card = files.parse_json(files.read(path), path)
    if card.get("format") != FORMAT:
        raise Mismatch(f"{path}: format {card.get('format')!r}; this inarch reads {FORMAT}: upgrade it")
    for name, least in (("feature_width", 1), ("visual_tokens", 0), ("images", 1)):
        if type(card.get(name)) is not int or not least <= card[name] <= MOST:
            raise Corrupt(f"{path}: {name} is {card.get(name)!r}; expected a whole number from {least} to {MOST}: save the backbone again")
    return card


def _fill(visual: nn.Module, path: Path) -> None:
    state = visual.state_dict()
    data = files.read(path)
    files.check_tensors(files.header(data, path), {name: list(value.shape) for name, value in state.items()}, path)
    visual.load_state_dict({name: value.float() for name, value in files.tensors(data, path).items()})
