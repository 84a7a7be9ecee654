"""The adapter folder of a guest: PEFT's own two files, and a sealed card of ours beside them.

    adapter_config.json, adapter_model.safetensors    what ``PeftModel.from_pretrained`` reads, the head among ``modules_to_save``
    guest.json                                        method, thawed roles, the backbone's fingerprint, SHA-256 and size of both files
The card is written last; nothing of the folder is used before all three files are as they were written.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import peft
from peft.config import PeftConfig
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from torch import Tensor

from inarch import files, folders
from inarch.card import GUEST, NEEDS, sealed, unsealed
from inarch.errors import Corrupt, Mismatch

FORMAT = 1
WEIGHTS = SAFETENSORS_WEIGHTS_NAME
FILES = (CONFIG_NAME, WEIGHTS)
KINDS: dict[str, type] = {
    "format": int, "needs": str, "method": str, "config": dict, "thaw": list, "thawed": list, "fingerprint": dict, "architecture": dict,
    "backbone": str, "extra": dict, "files": dict, "peft": str,
}


def write(folder: Path, config: PeftConfig, values: dict[str, Tensor], card: dict[str, Any]) -> None:
    """The two files, then the card that vouches for them; ``StorageError`` where the disk refuses."""
    data = {CONFIG_NAME: config_bytes(config),
            WEIGHTS: files.tensor_bytes({n: v.detach().cpu().clone().contiguous() for n, v in values.items()})}
    told = {name: {"bytes": len(found), "sha256": files.sha256(found)} for name, found in data.items()}
    folders.make_folder(folder)
    with folders.alone(folder):
        for name, found in data.items():
            files.write(folder / name, found)
        files.write(folder / GUEST, sealed({"format": FORMAT, "needs": NEEDS, "peft": peft.__version__, "files": told} | card))


def config_bytes(config: PeftConfig) -> bytes:
    """As PEFT writes it, sets in order so that equal configurations give equal bytes."""
    config = copy.copy(config)
    for name, value in vars(config).items():
        setattr(config, name, sorted(value) if isinstance(value, set) else value)
    with tempfile.TemporaryDirectory() as place:
        config.save_pretrained(place)
        return (Path(place) / CONFIG_NAME).read_bytes()


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The verified card and tensors; raises ``Incomplete``, ``Corrupt``, ``Mismatch`` (a later format) or ``Unsafe``."""
    card = read_card(folder)
    data = {name: files.read_sealed(folder / name, size=told["bytes"], digest=told["sha256"]) for name, told in card["files"].items()}
    return card, files.tensors(data[WEIGHTS], folder / WEIGHTS)


def read_card(folder: Path) -> dict[str, Any]:
    """The card alone, its seal and fields checked."""
    path = folder / GUEST
    card = unsealed(path)
    number = card.get("format")
    if type(number) is int and number > FORMAT:
        raise Mismatch(f"{path}: format {number} is newer than this inarch reads ({FORMAT}); it needs inarch >= {card.get('needs')}")
    if card.keys() != KINDS.keys() or any(type(card[name]) is not kind for name, kind in KINDS.items()):
        raise Corrupt(f"{path}: its fields are not those that inarch writes; restore the file")
    if card["files"].keys() != {*FILES}:
        raise Corrupt(f"{path}: files={sorted(card['files'])}; expected {', '.join(FILES)}; restore the file")
    return card


__all__ = ["WEIGHTS", "read", "read_card", "write"]
