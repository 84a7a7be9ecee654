"""The backbone under a LoRA folder: as its own library finds it by name, or in the folder where no other library can make it.

A backbone that comes with inarch, was read from another format or was resized is written beside the adapter, as ``base/``.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inarch.backbones import hf, timm
from inarch.backbones.address import Address, parse
from inarch.backbones.backbone import Backbone, Wish, drawing
from inarch.errors import CannotFold
from inarch.export import export_native

BASE = "base"
_TRANSFORMERS = """\
from transformers import AutoModelForImageClassification

base = AutoModelForImageClassification.from_pretrained({name}, {more}dtype=torch.float32)
"""
_TIMM = """\
import timm

base = timm.create_model({name}, pretrained=True{more})
"""


@dataclass(frozen=True)
class Stock:
    """``name``: what a reader gives to the library; ``code``: the lines that make ``base``; ``load``: the same from the folder."""

    name: str
    code: str
    load: Callable[[Path], nn.Module]


def stock_of(base: nn.Module, backbone: Backbone, classes: int, folder: Path, without: Collection[str]) -> Stock:
    """How to load ``base`` without inarch; ``without``: modules whose values do not matter, because the adapter brings them."""
    refuse_library(backbone)
    named = _named(backbone, classes)
    if named is not None and _same(base, named, folder, without):
        return named
    export_native(base, folder / BASE, backbone)
    return _transformers(BASE, Path(BASE)) if backbone.library == "transformers" else _timm(f"local-dir:{BASE}")


def refuse_library(backbone: Backbone) -> None:
    """``CannotFold`` where no library of the backbone's own builds the model that peft would wrap."""
    if backbone.library not in ("transformers", "timm"):
        raise CannotFold(f"a classifier on {backbone.address} is put together by inarch, and no library of its own builds it for peft; "
                         "export the whole model instead: --to native")


def _named(backbone: Backbone, classes: int) -> Stock | None:
    """By its address, if the library understands that one."""
    address = parse(backbone.address)
    if address.folder:  # the script is run in another folder than this command
        address = dataclasses.replace(address, name=str(Path(address.name).absolute()))
    if backbone.library == "transformers" and address.scheme == "hf":
        return _transformers(address.name, None, classes, address.at)
    if backbone.library == "timm" and address.scheme in ("timm", "hf"):
        return _timm(_timm_name(address), {"num_classes": classes, **backbone.source["model_args"]}) if address.at is None else None
    return None


def _timm_name(address: Address) -> str:
    if address.folder:
        return f"local-dir:{address.name}"
    return address.name if address.scheme == "timm" else f"hf-hub:{address.name}"


def _transformers(name: str, inside: Path | None, classes: int | None = None, revision: str | None = None) -> Stock:
    more: dict[str, Any] = {} if classes is None else {"num_labels": classes, "ignore_mismatched_sizes": True}
    more |= {} if revision is None else {"revision": revision}

    def load(folder: Path) -> nn.Module:
        return hf.transformers().AutoModelForImageClassification.from_pretrained(
            name if inside is None else folder / inside, **more, dtype=torch.float32, use_safetensors=True, local_files_only=True)

    return Stock(name, _TRANSFORMERS.format(name=repr(name), more="".join(f"{key}={value!r}, " for key, value in more.items())), load)


def _timm(name: str, more: dict[str, Any] | None = None) -> Stock:
    given = more or {}

    def load(folder: Path) -> nn.Module:
        return timm.library().create_model(f"local-dir:{folder / BASE}" if more is None else name, pretrained=True, **given)

    return Stock(name, _TIMM.format(name=repr(name), more="".join(f", {key}={value!r}" for key, value in given.items())), load)


def _same(base: nn.Module, stock: Stock, folder: Path, without: Collection[str]) -> bool:
    """Whether the library, asked by name, makes the very tensors of ``base``."""
    with still():
        try:
            found = stock.load(folder).state_dict()
        except (OSError, ValueError, RuntimeError, TypeError):  # a size or a format that only inarch reads
            return False
    prefixes = tuple(path + "." for path in without)
    mine = {name: tensor for name, tensor in base.state_dict().items() if not name.startswith(prefixes)}
    return all(name in found and torch.equal(found[name].float(), tensor) for name, tensor in mine.items())


@contextlib.contextmanager
def still() -> Iterator[None]:
    """Libraries load without reports, and without drawing from the caller's random numbers."""
    with hf.quiet(), drawing(Wish()):
        yield
