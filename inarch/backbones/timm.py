"""timm models by address: ``timm:NAME`` from the hub, ``timm:NAME@FILE`` with local weights, ``timm:FOLDER`` as timm saves one.

Every model is built with the head its weights have, loaded strictly, and only then given another head: timm itself loads
non-strictly as soon as the number of classes differs, and then a file for another model passes unnoticed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from inarch.backbones import weights_file
from inarch.backbones.address import Address, existing_file, suggest
from inarch.backbones.backbone import Backbone, Wish, drawing, placed, prove, whole_patches, zero
from inarch.backbones.hub import commit, fetch_file
from inarch.backbones.processors import from_timm
from inarch.backbones.torchvision import import_library
from inarch.errors import ConfigError, Mismatch

FOLDER_WEIGHTS = ("model.safetensors",)
_SIZED = ("pos_embed", "relative_position_bias_table")  # what an asked-for image size may resample


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is to be built: architecture, its arguments, its pretrained configuration, the weights file."""

    architecture: str
    config: dict[str, Any]
    arguments: dict[str, Any]
    file: Path | None
    own_file: bool  # given by the user, not fetched under the configuration's own name


def load(address: Address, wish: Wish) -> Backbone:
    if address.folder:
        return from_folder(address, Path(address.name), wish)
    timm = library()
    config = _pretrained_config(timm, address)
    name = f"{config['architecture']}.{config['tag']}" if config.get("tag") else address.name
    file, own = None, address.at is not None
    if own:
        file = existing_file(address, str(address.at))
    elif wish.weights:
        file = _from_hub(config, name)
    plan = _Plan(config["architecture"], config, {}, file, own)
    return _built(plan, dataclasses.replace(address, name=name), wish)


def from_folder(address: Address, folder: Path, wish: Wish) -> Backbone:
    """A folder with timm's ``config.json`` and ``model.safetensors``."""
    fields = weights_file.read_json(folder / "config.json")
    nested = dict(fields.get("pretrained_cfg", {}))
    nested |= {key: fields[key] for key in ("num_classes", "label_names") if key in fields}
    timm = library()
    architecture = str(fields["architecture"])
    if not timm.is_model(architecture):
        raise ConfigError(f"{folder}/config.json: timm {timm.__version__} has no architecture {architecture!r}; "
                          f"{suggest(architecture, timm.list_models())}")
    (file,) = weights_file.in_folder(folder, FOLDER_WEIGHTS) if wish.weights else (None,)
    registered = timm.get_pretrained_cfg(architecture).to_dict()
    config = registered | nested | {"architecture": architecture}
    return _built(_Plan(architecture, config, dict(fields.get("model_args", {})), file, True), address, wish)


def library() -> Any:
    """timm, importable even where torchvision is broken."""
    return import_library("timm", "timm")


def _pretrained_config(timm: Any, address: Address) -> dict[str, Any]:
    architecture, _, tag = address.name.partition(".")
    if not timm.is_model(architecture):
        raise ConfigError(f"{address}: timm {timm.__version__} has no architecture {architecture!r}; "
                          f"{suggest(architecture, timm.list_models())}")
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise ConfigError(f"{address}: timm has no weights {tag!r} for {architecture}; {suggest(tag, tags)}")
    return timm.get_pretrained_cfg(address.name).to_dict() | {"architecture": architecture}


def _from_hub(config: Mapping[str, Any], name: str) -> Path:
    if not config.get("hf_hub_id"):
        raise ConfigError(f"timm:{name}: the hub has no weights of this name; choose one with a tag, or give a file: "
                          f"timm:{name}@FILE")
    named = config.get("hf_hub_filename")
    names = (str(Path(named).with_suffix(".safetensors")),) if named else FOLDER_WEIGHTS
    return fetch_file(config["hf_hub_id"], names)


def _built(plan: _Plan, address: Address, wish: Wish) -> Backbone:
    side = wish.image_size or _native_side(plan)
    arguments = plan.arguments | ({"img_size": side} if wish.image_size and plan.config.get("fixed_input_size") else {})
    read = plan.file if wish.weights else None
    model = _create(plan, arguments, read, address, wish)
    if wish.image_size:
        _check_patches(model, plan, side, address)
        prove(model, side, str(address))
    native = read is not None and bool(model.num_classes)
    if wish.classes is not None or not native:
        _fresh_head(model, wish.classes or model.num_classes, wish)  # type: ignore[arg-type]
    head = "native" if native and wish.classes is None else "fresh" if model.num_classes else "none"
    source = {"name": plan.architecture if plan.own_file else address.name, "revision": commit(plan.file) if plan.file else None,
              "licence": None if plan.own_file else plan.config.get("license"), "pretrained": read is not None, "head": head,
              "architecture": plan.architecture, "model_args": arguments}
    if read is not None:
        source["sha256"] = weights_file.sha256([read])
    rule = from_timm(plan.config, _native_side(plan), address).resized(side)
    return Backbone(placed(model, wish), str(address), rule, "timm", source, side)


def _native_side(plan: _Plan) -> int:
    size = plan.arguments.get("img_size", plan.config.get("input_size", (3, 224, 224))[-1])
    return size if isinstance(size, int) else size[0]


def _create(plan: _Plan, arguments: dict[str, Any], file: Path | None, address: Address, wish: Wish) -> nn.Module:
    timm = library()
    config = {key: value for key, value in plan.config.items() if key not in ("url", "hf_hub_id", "hf_hub_filename", "source")}
    if file is not None:
        found = weights_file.shapes(file)
        config |= {"file": str(file), "custom_load": False}
        if plan.own_file:
            config["num_classes"] = _classes_in(found, config)
    try:
        with drawing(wish):
            if plan.own_file and file is not None:
                _refuse_reshaped(file, found, timm.create_model(plan.architecture, pretrained_cfg=config, **arguments), wish)
            model = timm.create_model(plan.architecture, pretrained=file is not None, pretrained_cfg=config, **arguments)
    except TypeError as error:
        raise ConfigError(f"{address}: timm cannot build {plan.architecture} with {arguments}: {error}") from error
    except RuntimeError as error:
        raise Mismatch(f"{file or address}: the weights are not those of {plan.architecture}: {_one_line(error)}") from error
    if file is not None:
        weights_file.refuse_nonfinite(model, file)
    return model


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 600 else text[:600] + " ..."


def _classes_in(found: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> int:
    """The number of classes of the head in the file, 0 for a file without one."""
    names = config.get("classifier") or ()
    first = names if isinstance(names, str) else (names[0] if names else "")
    return found.get(f"{first}.weight", (0,))[0]


def _refuse_reshaped(file: Path, found: Mapping[str, tuple[int, ...]], model: nn.Module, wish: Wish) -> None:
    """timm resamples patch kernels and position tables of another size in silence; here only where a size was asked for."""
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [f"{name} {shape} for {wanted[name]}" for name, shape in found.items()
             if name in wanted and shape != wanted[name] and not (wish.image_size and name.endswith(_SIZED))]
    if wrong:
        raise Mismatch(f"{file}: shapes differ from {type(model).__name__}'s: {weights_file.listed(wrong)}; "
                       "choose the architecture the file was made for, or give image_size to resample position tables")


def _check_patches(model: nn.Module, plan: _Plan, side: int, address: Address) -> None:
    stem = plan.config.get("first_conv")
    conv = model.get_submodule(stem) if isinstance(stem, str) else None
    if isinstance(conv, nn.Conv2d) and conv.kernel_size == conv.stride:
        whole_patches(side, conv.stride[0], str(address))


def _fresh_head(model: nn.Module, classes: int, wish: Wish) -> None:
    with drawing(wish):
        model.reset_classifier(classes)  # type: ignore[operator]
    head = model.get_classifier()  # type: ignore[operator]
    if wish.head_init == "zeros":
        for part in head if isinstance(head, tuple) else (head,):
            zero(part)
