"""open_clip image towers by address: ``open_clip:ARCH/TAG`` from the hub, ``open_clip:ARCH@FILE``, ``open_clip:FOLDER``.

The whole model is built and loaded strictly, so that a file for another model is refused; then the image tower is kept, with a
linear head on its embedding (``ImageClassifier``).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from inarch.backbones import weights_file
from inarch.backbones.address import Address, existing_file, suggest
from inarch.backbones.backbone import Backbone, Wish, drawing, placed, prove, whole_patches, zero
from inarch.backbones.classifier import ImageClassifier
from inarch.backbones.hub import commit, fetch_file
from inarch.backbones.processors import from_open_clip
from inarch.backbones.torchvision import import_library
from inarch.errors import ConfigError, Mismatch
from inarch.preprocess import Preprocess

HUB_WEIGHTS = ("open_clip_model.safetensors", "model.safetensors")


@dataclass(frozen=True)
class _Plan:
    """What is to be built: open_clip's configuration, its preprocessing, the weights file, and where these came from."""

    config: dict[str, Any]
    rules: Mapping[str, Any]
    file: Path | None
    source: dict[str, Any]


@dataclass(frozen=True)
class Both:
    """A whole two-tower model with its tokenizer."""

    model: nn.Module
    tokenizer: Any
    preprocess: Preprocess
    source: dict[str, Any]


def load(address: Address, wish: Wish) -> Backbone:
    return _built(address, _planned(address, wish), wish)


def _planned(address: Address, wish: Wish) -> _Plan:
    if address.folder:
        return _from_folder(address, Path(address.name), wish)
    library = _library()
    architecture, _, tag = address.name.partition("/")
    if architecture not in library.list_models():
        raise ConfigError(f"{address}: open_clip has no architecture {architecture!r}; "
                          f"{suggest(architecture, library.list_models())}")
    config = library.get_model_config(architecture)
    tags = library.list_pretrained_tags_by_model(architecture)
    if tag and tag not in tags:
        raise ConfigError(f"{address}: open_clip has no weights {tag!r} for {architecture}; {suggest(tag, tags)}")
    rules = library.get_pretrained_cfg(architecture, tag or tags[0]) if tag or tags else {}
    file = _weights(address, tag, rules, wish)
    config["quick_gelu"] = bool(rules.get("quick_gelu")) if tag else config.get("quick_gelu", False)
    source = {"name": address.name, "revision": commit(file) if file else None, "licence": None, "model_cfg": config}
    return _Plan(config, rules, file, source)


def _weights(address: Address, tag: str, rules: Mapping[str, Any], wish: Wish) -> Path | None:
    if address.at:
        return existing_file(address, address.at)
    if not wish.weights:
        return None
    repo, _, name = str(rules.get("hf_hub") or "").rpartition("/")
    if not tag or not repo:
        raise ConfigError(f"{address}: say which weights: open_clip:ARCH/TAG with a tag the hub has, or open_clip:ARCH@FILE")
    return fetch_file(repo, (str(Path(name).with_suffix(".safetensors")),) if name else HUB_WEIGHTS)


def _from_folder(address: Address, folder: Path, wish: Wish) -> _Plan:
    """A folder with ``open_clip_config.json``: open_clip's own, or an exported classifier."""
    fields = weights_file.read_json(folder / "open_clip_config.json")
    if not isinstance(fields.get("model_cfg"), dict):
        raise ConfigError(f"{folder}/open_clip_config.json: no 'model_cfg'; expected the file that open_clip or an export wrote")
    (file,) = weights_file.in_folder(folder, HUB_WEIGHTS) if wish.weights else (None,)
    source = {"name": address.name, "revision": None, "licence": weights_file.licence(folder), "model_cfg": fields["model_cfg"]}
    own = folder / "preprocess.json"  # an export's: open_clip's own record has no crop margin
    rules = weights_file.read_json(own) if own.is_file() else fields.get("preprocess_cfg", {})
    return _Plan(fields["model_cfg"], rules, file, source)


def _library() -> Any:
    return import_library("open_clip", "open_clip")


def _sized(address: Address, plan: _Plan, wish: Wish) -> tuple[dict[str, Any], Preprocess]:
    """The configuration and the preprocessing at the size that is wished."""
    vision = plan.config["vision_cfg"]
    native = int(vision.get("image_size", 224))
    side = wish.image_size or native
    patch = vision.get("patch_size") or 1  # a ResNet's is null
    whole_patches(side, patch if isinstance(patch, int) else patch[0], str(address))
    rules = plan.rules
    rule = Preprocess.from_json(dict(rules)) if "fit" in rules else from_open_clip(rules, native, address)
    return plan.config | {"vision_cfg": vision | {"image_size": side}}, rule.resized(side)


def both_towers(address: Address, wish: Wish) -> Both:
    """The whole model, for texts too; only open_clip's plain CLIP, whose text tower is its own and whose tokenizer comes with it."""
    plan = _planned(address, wish)
    config, rule = _sized(address, plan, wish)
    text = config["text_cfg"]
    if config.get("custom_text") or any(name in text for name in ("hf_model_name", "hf_tokenizer_name")):
        raise ConfigError(f"{address}: its text tower or tokenizer is not open_clip's plain one, so its texts cannot be read here; "
                          "choose a plain CLIP such as ViT-B-32, or the model's transformers copy (clip:NAME)")
    found = weights_file.shapes(plan.file) if plan.file else {}
    if "logit_scale" not in found and found:
        raise Mismatch(f"{plan.file}: an image tower alone; expected both towers of a CLIP")
    model = _loaded(config, plan.file, found, wish)
    tokenizer = _library().SimpleTokenizer(context_length=text.get("context_length", 77), **text.get("tokenizer_kwargs", {}))
    source = plan.source | {"pretrained": plan.file is not None and wish.weights, "model_cfg": config}
    if plan.file is not None:
        weights_file.refuse_nonfinite(model, plan.file) if wish.weights else None
        source["sha256"] = weights_file.sha256([plan.file])
    return Both(model, tokenizer, rule, source)


def _built(address: Address, plan: _Plan, wish: Wish) -> Backbone:
    config, rule = _sized(address, plan, wish)
    file, source, side = plan.file, plan.source, rule.size
    found = weights_file.shapes(file) if file else {}
    if file and "head.weight" in found and "logit_scale" not in found:
        model = _classifier_from(file, config, found, wish)
    else:
        model = ImageClassifier(_loaded(config, file, found, wish).visual, nn.Identity())  # type: ignore[arg-type]
    if wish.image_size:
        prove(model, side, str(address))
    _head(model, config["embed_dim"], wish)
    source |= {"pretrained": file is not None and wish.weights, "model_cfg": config,
               "head": "fresh" if wish.classes else "none" if isinstance(model.head, nn.Identity) else "native"}
    if file is not None:
        weights_file.refuse_nonfinite(model, file) if wish.weights else None
        source["sha256"] = weights_file.sha256([file])
    return Backbone(placed(model, wish), str(address), rule, "open_clip", source, side)


def _head(model: ImageClassifier, width: int, wish: Wish) -> None:
    if wish.classes is None:
        return
    with drawing(wish):
        model.head = nn.Linear(width, wish.classes)
        if wish.head_init == "zeros":
            zero(model.head)


def _whole(config: Mapping[str, Any], wish: Wish) -> nn.Module:
    """The two-tower model of a configuration, random weights."""
    library = _library()
    if "multimodal_cfg" in config:
        raise ConfigError("open_clip: a captioner, whose image tower gives tokens and no feature; choose a CLIP architecture")
    custom = config.get("custom_text") or "hf_model_name" in config["text_cfg"]
    kind = library.CustomTextCLIP if custom else library.CLIP
    text = config["text_cfg"] | ({"hf_model_pretrained": False} if "hf_model_name" in config["text_cfg"] else {})
    vision = config["vision_cfg"] | ({"timm_model_pretrained": False} if "timm_model_name" in config["vision_cfg"] else {})
    fields = {key: value for key, value in config.items() if key != "custom_text"} | {"text_cfg": text, "vision_cfg": vision}
    with drawing(wish), muted():
        return kind(**fields)


def _loaded(config: Mapping[str, Any], file: Path | None, found: Mapping[str, tuple[int, ...]], wish: Wish) -> nn.Module:
    model = _whole(config, wish)
    if file is None or not wish.weights:
        return model
    _refuse_reshaped(file, found, model, wish)
    try:
        with muted():
            _library().load_checkpoint(model, str(file), strict=True)
    except RuntimeError as error:
        raise Mismatch(f"{file}: not the weights of this architecture: {' '.join(str(error).split())[:600]}") from error
    return model


def _refuse_reshaped(file: Path, found: Mapping[str, tuple[int, ...]], model: nn.Module, wish: Wish) -> None:
    """open_clip resamples position tables in silence; here only where an image size was asked for."""
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [f"{name} {shape} for {wanted[name]}" for name, shape in found.items()
             if name in wanted and name != "logit_scale" and shape != wanted[name]
             and not (wish.image_size and name == "visual.positional_embedding")]
    if wrong:
        raise Mismatch(f"{file}: shapes differ from the architecture's: {weights_file.listed(wrong)}; "
                       "choose the architecture the file was made for, or give image_size to resample positions")


def _classifier_from(file: Path, config: Mapping[str, Any], found: Mapping[str, tuple[int, ...]], wish: Wish) -> ImageClassifier:
    """An exported classifier: the tower and the head, nothing else."""
    classes, width = found["head.weight"]
    model = ImageClassifier(_whole(config, wish).visual, nn.Linear(width, classes))  # type: ignore[arg-type]
    state = safetensors.torch.load_file(file)
    if wish.image_size:
        from open_clip.model import resize_pos_embed

        resize_pos_embed(state, model)
    if wish.weights:
        _load_strictly(model, state, file)
    return model


def _load_strictly(model: nn.Module, state: dict[str, torch.Tensor], file: Path) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise Mismatch(f"{file}: not the weights of this architecture: {' '.join(str(error).split())[:600]}") from error


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """open_clip writes to the root logger while it builds; what matters is checked and raised here."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


