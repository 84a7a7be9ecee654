"""transformers models by address: ``hf:NAME`` from the hub, ``hf:FOLDER`` from disk, always as an image classifier.

What a model's head is, is not looked up per family: it is the set of tensors whose shape changes with the number of classes.
Everything else must come from the file, whole and in the right shape.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inarch.backbones import positions, weights_file
from inarch.backbones.address import Address, recognise, suggest
from inarch.backbones.backbone import Backbone, Wish, drawing, placed, prove, whole_patches, zero
from inarch.backbones.hub import HF_BESIDE, HF_WEIGHTS, commit, fetch
from inarch.backbones.processors import from_transformers
from inarch.backbones.torchvision import import_library
from inarch.errors import ConfigError, Corrupt, Mismatch
from inarch.preprocess import Preprocess


def load(address: Address, wish: Wish) -> Backbone:
    """``hf:``; a folder or repository that timm wrote is handed to timm."""
    folder = Path(address.name) if address.folder else _fetched(address, wish)
    if recognise(folder) == "timm":
        from inarch.backbones import timm

        return timm.from_folder(address, folder, wish)
    config = read_config(folder)
    model, unused, native = from_folder(folder, config, wish) if wish.weights else (random_model(config, wish), [], False)
    source = {"name": address.name, "revision": commit(folder), "licence": weights_file.licence(folder),
              "pretrained": wish.weights, "unused": unused}
    if wish.weights:
        source["sha256"] = weights_file.sha256(weights_file.in_folder(folder, HF_WEIGHTS))
    return finished(model, str(address), preprocess_of(folder, side_of(config)), wish, source, native)


def _fetched(address: Address, wish: Wish) -> Path:
    return fetch(address.name, "config.json", HF_WEIGHTS if wish.weights else (), HF_BESIDE, address.at)


def finished(model: Any, address: str, rule: Preprocess, wish: Wish, source: dict[str, Any], native_head: bool) -> Backbone:
    """Size, head and place as wished; the steps every transformers model shares, wherever its weights came from."""
    side = wish.image_size or rule.size
    model = resized(model, side, address)
    if wish.classes is not None:
        fresh_head(model, wish.classes, wish)
    elif not native_head:
        fresh_head(model, model.config.num_labels, wish)
    source |= {"head": "native" if native_head and wish.classes is None else "fresh"}
    return Backbone(placed(model, wish), address, rule.resized(side), "transformers", source, side)


def transformers() -> Any:
    """The library, with its heavy parts importable."""
    return import_library("transformers", "train", part="transformers.modeling_utils")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and load reports from transformers: what they would say is checked here and raised."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read_config(folder: Path) -> Any:
    """The configuration; code that came with a model is never run."""
    fields = weights_file.read_json(folder / "config.json")
    library = transformers()
    known = library.CONFIG_MAPPING.keys()
    if fields.get("model_type") not in known:
        kind = str(fields.get("model_type"))
        raise ConfigError(f"{folder}/config.json: transformers {library.__version__} has no model_type {kind!r}; "
                          f"{suggest(kind, _classifiers())}")
    try:
        with quiet():
            return library.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{folder}/config.json: {error}") from error


def _classifiers() -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    return list(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)


def classifier_class(config: Any) -> Any:
    """The image classifier of this configuration: the one its file names where a family has several, else the first."""
    mapping = transformers().MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    if type(config) not in mapping:
        raise ConfigError(f"transformers has no image classifier for model_type {config.model_type!r}; "
                          f"{suggest(config.model_type, _classifiers())}")
    found = mapping[type(config)]
    choices = found if isinstance(found, tuple) else (found,)
    return next((choice for choice in choices if choice.__name__ in (config.architectures or ())), choices[0])


def random_model(config: Any, wish: Wish) -> nn.Module:
    with drawing(wish):
        return classifier_class(config)(config)


def from_folder(folder: Path, config: Any, wish: Wish) -> tuple[nn.Module, list[str], bool]:
    """(model, top-level names of the tensors it has no use for, whether its head is in the file)."""
    if (folder / "adapter_config.json").exists():
        raise ConfigError(f"{folder}: holds an adapter (adapter_config.json), not a backbone; merge it first")
    for path in weights_file.in_folder(folder, HF_WEIGHTS):
        weights_file.shapes(path)
    try:
        with quiet(), drawing(wish):
            model, info = classifier_class(config).from_pretrained(
                folder, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True,
                ignore_mismatched_sizes=True, local_files_only=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise Corrupt(f"{folder}: transformers cannot read the weights: {error}") from error
    heads = head_tensors(model)
    replaced = heads if wish.classes is not None else heads & set(info["missing_keys"])
    _refuse_differences(folder, info, replaced, model)
    weights_file.refuse_nonfinite(model, folder)
    unused = sorted({name.partition(".")[0] for name in info["unexpected_keys"]})
    return model, unused, not heads & set(info["missing_keys"])


def _refuse_differences(folder: Path, info: dict[str, Any], replaced: set[str], model: nn.Module) -> None:
    missing = set(info["missing_keys"]) - replaced
    if missing:
        raise Mismatch(f"{folder}: the weights lack {weights_file.listed(missing)}, which config.json asks for")
    wrong = [f"{name} {tuple(found)} for {tuple(wanted)}"
             for name, found, wanted in info["mismatched_keys"] if name not in replaced]
    if wrong:
        raise Mismatch(f"{folder}: shapes in the weights differ from config.json: {weights_file.listed(wrong)}")
    extra = weights_file.strangers(info["unexpected_keys"], model.state_dict())
    if extra:
        raise Mismatch(f"{folder}: the weights hold {weights_file.listed(extra)}, for which config.json has no place")


def head_tensors(model: Any) -> set[str]:
    """Names of the tensors whose shape changes with the number of classes, found on the meta device."""
    config = copy.deepcopy(model.config)
    config.num_labels = model.config.num_labels + 1
    with quiet(), torch.device("meta"):
        other = type(model)(config).state_dict()
    return {name for name, tensor in model.state_dict().items() if name in other and tensor.shape != other[name].shape}


def fresh_head(model: Any, classes: int, wish: Wish) -> None:
    """A new head of ``classes`` outputs in the place of the old one, in its width."""
    for path in sorted({name.rpartition(".")[0] for name in head_tensors(model)}):
        old = model.get_submodule(path)
        if not isinstance(old, nn.Linear):
            raise ConfigError(f"{type(model).__name__}: head {path} is a {type(old).__name__}; only a linear one can be replaced")
        with drawing(wish):
            head = nn.Linear(old.in_features, classes, bias=old.bias is not None)
            zero(head) if wish.head_init == "zeros" else model._init_weights(head)
        model.set_submodule(path, head)
    model.config.num_labels = model.num_labels = classes


def vision(config: Any) -> Any:
    """The part of a configuration that describes the image tower: itself, but for models of two towers."""
    return config.vision_config if "vision_config" in config.sub_configs else config


def side_of(config: Any) -> int:
    size = getattr(vision(config), "image_size", 224)  # convolutional families state none
    return size if isinstance(size, int) else size[0]


def resized(model: Any, side: int, address: str) -> nn.Module:
    """An ordinary model of image size ``side`` with the same weights, position tables resampled; saves and loads as such."""
    new = reshaped(model, side, address)
    if new is not model:
        prove(new, side, address)
    return new


def reshaped(model: Any, side: int, address: str) -> nn.Module:
    """The same without a dry forward."""
    old = side_of(model.config)
    patch = getattr(vision(model.config), "patch_size", 1)
    patch = patch if isinstance(patch, int) else patch[0]
    if side == old:
        return model
    whole_patches(side, patch, address)
    config = copy.deepcopy(model.config)
    vision(config).image_size = side
    with quiet(), torch.random.fork_rng(devices=[]), next(model.parameters()).device:
        new = type(model)(config).eval()
    if not next(model.parameters()).is_meta:
        new.load_state_dict(positions.fitted(model.state_dict(), new.state_dict(), old // patch, side // patch, address))
    return new


def preprocess_of(folder: Path, side: int, otherwise: Preprocess | None = None) -> Preprocess:
    """What the folder's image processor says; without one, ``otherwise``, or the plain rule at the model's own size."""
    own = folder / "preprocess.json"
    if own.is_file():
        return Preprocess.from_json(weights_file.read_json(own))
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            return from_transformers(weights_file.read_json(folder / name), side, folder / name)
    return otherwise or Preprocess(side)
