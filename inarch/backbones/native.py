"""Each library's own folder format: write a classifier so that the library loads it without inarch, and load it that way.

A query, key or value bias that merging created is written as the architecture's own option (``qkv_bias``); a bias that only the
plain architecture has is zero, which is the same function. Anything else that differs is refused by name.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from inarch.backbones import hf, open_clip, timm
from inarch.backbones.address import Address
from inarch.backbones.backbone import Backbone, Wish, drawing
from inarch.backbones.processors import to_open_clip, to_timm, to_transformers
from inarch.backbones.weights_file import listed
from inarch.errors import ConfigError
from inarch.files import canonical
from inarch.preprocess import Preprocess


@dataclass(frozen=True)
class Job:
    """What is exported: the model, where it came from, its preprocessing and class names."""

    model: Any
    backbone: Backbone
    rule: Preprocess
    names: tuple[str, ...]
    classes: int


@dataclass(frozen=True)
class Format:
    """Write the folder (returns the tensors written), load it the library's own way, and the lines that tell a reader how."""

    write: Callable[[Job, Path], dict[str, Tensor]]
    load: Callable[[Job, Path], nn.Module]
    recipe: str


def _aligned(plain: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    """``model``'s tensors for every name of ``plain``; a bias only ``plain`` has is zero; any other difference is refused."""
    wanted = plain.state_dict()
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    extra = own.keys() - wanted.keys()
    missing = {name for name in wanted.keys() - own.keys() if not name.endswith("bias")}
    if extra or missing:
        raise ConfigError(f"{type(model).__name__}: its native format has no place for: {listed(extra) or 'none'}; it also "
                          f"expects: {listed(missing) or 'none'}; nothing was written, keep the adapter and its backbone instead")
    return {name: own.get(name, torch.zeros_like(tensor)) for name, tensor in wanted.items()}


def _created_bias(plain: nn.Module, model: nn.Module) -> bool:
    """Did merging give a query, key or value projection a bias that the architecture was built without?"""
    extra = model.state_dict().keys() - plain.state_dict().keys()
    return any(name.endswith(".bias") for name in extra)


def _write_transformers(job: Job, folder: Path) -> dict[str, Tensor]:
    config = copy.deepcopy(job.model.config)
    config.num_labels = job.classes
    if job.names:
        config.id2label = dict(enumerate(job.names))
        config.label2id = {name: index for index, name in enumerate(job.names)}
    with hf.quiet(), drawing(Wish()):
        plain = type(job.model)(config)
        if _created_bias(plain, job.model) and getattr(config, "qkv_bias", True) is False:
            config.qkv_bias = True
            plain = type(job.model)(config)
        state = _aligned(plain, job.model)
        plain.load_state_dict(state)
        plain.to(next(job.model.parameters()).dtype).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_bytes(canonical(to_transformers(job.rule)))
    return state


def _load_transformers(job: Job, folder: Path) -> nn.Module:
    with hf.quiet():
        return type(job.model).from_pretrained(folder, use_safetensors=True, local_files_only=True)


def _write_timm(job: Job, folder: Path) -> dict[str, Tensor]:
    library = timm.library()
    architecture = job.backbone.source["architecture"]
    arguments = dict(job.backbone.source["model_args"])
    with drawing(Wish()):
        plain = library.create_model(architecture, num_classes=job.classes, **arguments)
        if _created_bias(plain, job.model):
            arguments["qkv_bias"] = True
            plain = library.create_model(architecture, num_classes=job.classes, **arguments)
    state = _aligned(plain, job.model)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_bytes(canonical(_timm_config(job, architecture, arguments)))
    return state


_NOT_EXPORTED = ("url", "file", "hf_hub_id", "hf_hub_filename", "source", "state_dict", "architecture", "custom_load",
                 "label_offset", "test_input_size", "test_crop_pct", "label_names", "label_descriptions")


def _timm_config(job: Job, architecture: str, arguments: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in job.model.pretrained_cfg.items() if key not in _NOT_EXPORTED}
    fields = {"architecture": architecture, "num_classes": job.classes, "num_features": job.model.num_features,
              "model_args": arguments, "pretrained_cfg": kept | to_timm(job.rule) | {"num_classes": job.classes}}
    return fields | ({"label_names": list(job.names)} if job.names else {})


def _load_timm(job: Job, folder: Path) -> nn.Module:
    return timm.library().create_model(f"local-dir:{folder}", pretrained=True).eval()


def _write_open_clip(job: Job, folder: Path) -> dict[str, Tensor]:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in job.model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    fields = {"model_cfg": job.backbone.source["model_cfg"], "preprocess_cfg": to_open_clip(job.rule), "num_classes": job.classes,
              "label_names": list(job.names)}
    (folder / "open_clip_config.json").write_bytes(canonical(fields))
    (folder / "preprocess.json").write_bytes(canonical(job.rule.to_json()))
    return state


def _load_open_clip(job: Job, folder: Path) -> nn.Module:
    return open_clip.load(Address("open_clip", str(folder), folder=True), Wish()).model


FORMATS = {
    "transformers": Format(_write_transformers, _load_transformers, """\
from transformers import AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained(".").eval()
"""),
    "timm": Format(_write_timm, _load_timm, """\
import timm

model = timm.create_model("local-dir:.", pretrained=True).eval()
"""),
    "open_clip": Format(_write_open_clip, _load_open_clip, """\
import open_clip
import torch
from safetensors.torch import load_file

state = load_file("model.safetensors")
visual = open_clip.create_model("local-dir:.", load_weights=False).visual
head = torch.nn.Linear(*reversed(state["head.weight"].shape))
torch.nn.ModuleDict({"visual": visual, "head": head}).load_state_dict(state)
model = torch.nn.Sequential(visual, head).eval()
"""),
}
