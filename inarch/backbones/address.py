"""Addresses: one line of text that names a backbone, and names the same one again next year.

    hf:NAME  hf:NAME@REVISION  hf:FOLDER        timm:NAME  timm:NAME@FILE  timm:FOLDER
    open_clip:ARCH/TAG  open_clip:ARCH@FILE     npz:FILE (also google:FILE)
    config:NAME  config:NAME@SEED               FOLDER     mini-vit
    vl:NAME  vl:NAME@REVISION  vl:FOLDER        (BART or T5 with visual features)   mini-vl
    vlm:NAME  vlm:NAME@REVISION  vlm:FOLDER     (vision tower, projector and causal language blocks)
    clip:NAME  clip:NAME@REVISION  clip:FOLDER  clip:open_clip:ARCH/TAG  clip:open_clip:ARCH@FILE   (two towers)   mini-clip
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inarch.backbones.weights_file import read_json
from inarch.errors import ConfigError, InarchError, nearest
from inarch.files import parse_json, read

SCHEMES = ("hf", "timm", "open_clip", "config", "npz", "google", "vl", "vlm", "clip")
WEIGHTS = Path(__file__).parent / "weights"
VL_CARD = "vision_language.json"
TWO_TOWER_CARD = "two_tower.json"


@dataclass(frozen=True)
class Address:
    """``scheme`` picks the loader; ``name`` is a hub name, an architecture or a folder; ``at`` is what stands after ``@``."""

    scheme: str
    name: str
    at: str | None = None
    folder: bool = False

    def __str__(self) -> str:
        prefix = "" if self.scheme == "embedded" else f"{self.scheme}:"
        return f"{prefix}{self.name}" + (f"@{self.at}" if self.at else "")


def embedded_names() -> list[str]:
    """Backbones that come with the package."""
    return sorted(path.name for path in WEIGHTS.glob("*") if (path / "origin.json").is_file())


def parse(text: str) -> Address:
    """``ConfigError`` with the nearest known word for anything that is no address."""
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SCHEMES and rest:
        return _with_scheme("npz" if scheme == "google" else scheme, rest)
    if text in embedded_names():
        return Address("embedded", text)
    if _is_folder(text):
        folder = _folder(text)
        return Address(recognise(Path(folder)), folder, folder=True)
    raise ConfigError(f"no backbone {text!r}: {_hint(text, scheme if colon else '')}")


def _hint(text: str, scheme: str) -> str:
    if scheme:
        return f"unknown scheme {scheme!r}, {nearest(scheme, SCHEMES)}" if scheme not in SCHEMES else f"nothing after '{scheme}:'"
    return (f"embedded: {nearest(text, embedded_names())}; a library's model is written hf:NAME, timm:NAME, open_clip:ARCH/TAG "
            f"or config:NAME; a local one by its folder (there is no folder {text!r} here)")


def _with_scheme(scheme: str, rest: str) -> Address:
    if scheme == "npz":
        return Address(scheme, os.path.expanduser(rest))
    if scheme != "config" and _is_folder(rest):
        return Address(scheme, _folder(rest), folder=True)
    name, at_sign, at = rest.partition("@")
    if not name or (at_sign and not at):
        raise ConfigError(f"address {scheme}:{rest!r}: expected {scheme}:NAME or {scheme}:NAME@{_after(scheme)}")
    return Address(scheme, name, os.path.expanduser(at) or None)


def _after(scheme: str) -> str:
    return {"hf": "REVISION", "vl": "REVISION", "vlm": "REVISION", "clip": "REVISION", "config": "SEED"}.get(scheme, "FILE")


def _is_folder(text: str) -> bool:
    return os.path.isdir(os.path.expanduser(text)) or text.startswith(("/", "./", "../", "~"))


def _folder(text: str) -> str:
    """The folder, written so that it can never be taken for a hub name: absolute, or beginning with a dot."""
    folder = os.path.normpath(os.path.expanduser(text))
    if not os.path.isdir(folder):
        raise ConfigError(f"no backbone folder {text!r}; paths are taken from the folder the command runs in, {os.getcwd()!r}")
    return folder if folder.startswith(("/", ".")) else f"./{folder}"


def recognise(folder: Path) -> str:
    """Which library wrote this folder: ``model_type`` is transformers' mark, ``architecture`` timm's."""
    for card, scheme in ((VL_CARD, "vl"), (TWO_TOWER_CARD, "clip")):
        if (folder / card).is_file():
            return scheme
    if (folder / "config.json").is_file():
        config = read_json(folder / "config.json")
        for mark, scheme in (("model_type", "hf"), ("architecture", "timm")):
            if mark in config:
                return scheme
    if (folder / "open_clip_config.json").is_file():
        return "open_clip"
    raise ConfigError(f"{folder}: no backbone here; expected config.json with 'model_type' (transformers) or 'architecture' "
                      "(timm), or open_clip_config.json; a run folder is loaded with inarch.Predictor, not as a backbone")


def backbone_tower(address: str) -> str:
    """The image tower that a vision-language backbone's own folder names; "" where it names none, or where there is no such backbone."""
    try:
        found = parse(address)
    except InarchError:
        return ""  # loading will say what is wrong
    card = (Path(found.name) if found.folder else WEIGHTS / found.name) / VL_CARD
    return str(parse_json(read(card), card).get("tower") or "") if card.is_file() else ""


def suggest(word: str, known: Iterable[str]) -> str:
    """The nearest of a library's many names; all of them only where they are few."""
    options = sorted(known)
    hint = nearest(word, options)
    return hint if len(options) <= 30 or not hint.startswith("known") else f"none of {len(options)} known names is near"


def existing_file(address: Address, path: str) -> Path:
    """The weights file an address names; ``ConfigError`` when it is not there."""
    if not os.path.isfile(path):
        raise ConfigError(f"{address}: no weights file {path!r}; paths are taken from the folder the command runs in, "
                          f"{os.getcwd()!r}")
    return Path(path)
