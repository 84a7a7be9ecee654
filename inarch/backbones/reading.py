"""What transformers wrote, read whole: a model of a named class and the tokenizer beside it; anything missing or foreign is refused."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from inarch.backbones import hf, weights_file
from inarch.backbones.address import Address
from inarch.backbones.backbone import Wish
from inarch.backbones.hub import HF_BESIDE, HF_WEIGHTS, commit, fetch
from inarch.backbones.torchvision import needed
from inarch.errors import ConfigError, Corrupt, Mismatch

VOCABULARY = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model")  # without one transformers makes up a tokenizer of no words
TOKENIZER = (*VOCABULARY, "tokenizer_config.json", "merges.txt", "special_tokens_map.json", "added_tokens.json", "generation_config.json")


def folder_of(address: Address, wish: Wish, beside: Iterable[str] = (*HF_BESIDE, *TOKENIZER)) -> Path:
    """The folder that an address names, or the cached one of the hub with what is wished of it."""
    if address.folder:
        return Path(address.name)
    needed("transformers", "train")
    return fetch(address.name, "config.json", HF_WEIGHTS if wish.weights else (), tuple(beside), address.at)


def origin(address: Address, folder: Path, wish: Wish) -> dict[str, Any]:
    """Where the backbone came from: name, revision, licence, and the checksum of its weights where they were read."""
    source = {"name": address.name, "revision": commit(folder), "licence": weights_file.licence(folder), "pretrained": wish.weights}
    return source | ({"sha256": weights_file.sha256(sorted(folder.rglob("*.safetensors")))} if wish.weights else {})


def drawn(address: Address, wish: Wish) -> dict[str, Any]:
    """The same of weights that come from a seed."""
    return {"name": address.name, "revision": None, "licence": None, "pretrained": False, "seed": wish.seed}


def read(kind: Any, folder: Path, config: Any, spare: Iterable[str] = (), **more: Any) -> Any:
    """The folder's model, in single precision; every tensor but the ``spare`` ones comes from the file. ``more``: for its constructor."""
    for path in weights_file.in_folder(folder, HF_WEIGHTS):
        weights_file.shapes(path)
    try:
        with hf.quiet():
            model, info = kind.from_pretrained(folder, config=config, dtype=torch.float32, use_safetensors=True,
                                               output_loading_info=True, local_files_only=True,
                                               ignore_mismatched_sizes=True, **more)  # they are named and refused below
    except (OSError, RuntimeError, ValueError) as error:
        raise Corrupt(f"{folder}: transformers cannot read the weights: {error}") from error
    missing = set(info["missing_keys"]) - set(spare)  # what is tied does not count as missing
    if missing or info["mismatched_keys"]:
        odd = weights_file.listed(missing or {name for name, *_ in info["mismatched_keys"]})
        raise Mismatch(f"{folder}: the weights lack, or hold in another shape, {odd}, which config.json asks for")
    extra = weights_file.strangers(info["unexpected_keys"], model.state_dict())
    if extra:
        raise Mismatch(f"{folder}: the weights hold {weights_file.listed(extra)}, for which config.json has no place")
    weights_file.refuse_nonfinite(model, folder)
    return model


def tokenizer_of(folder: Path) -> Any:
    """The folder's tokenizer; code that came with it is never run."""
    if not any((folder / name).is_file() for name in VOCABULARY):
        raise ConfigError(f"{folder}: no tokenizer; expected {' or '.join(VOCABULARY)} beside the model: tokenizer.save_pretrained(folder)")
    try:
        with hf.quiet():
            return hf.transformers().AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{folder}: no tokenizer that transformers can read ({str(error).splitlines()[0]}); save it beside the model: "
                          "tokenizer.save_pretrained(folder)") from error
