"""Few-shot data by address.

    coop:NAME@ROOT            a published data set below ROOT, in the folders that CoOp's code expects
    split:FILE.json@IMAGES    a split file of CoOp's form; without @IMAGES the images lie beside it
    shots:FILE.jsonl@DATA     a published sample of the data set at DATA, or of a folder of images
    anything else             what ``load_splits`` reads: a folder, a table, an .npz, datasets:NAME, digits
"""

from __future__ import annotations

import os
from pathlib import Path

from inarch.data.fewshot.drafts import read_images
from inarch.data.fewshot.layouts import read_published
from inarch.data.fewshot.listing import Listing
from inarch.data.fewshot.sets import SETS
from inarch.data.fewshot.shots import alone, chosen
from inarch.data.fewshot.split_json import read_split
from inarch.errors import ConfigError

COOP, SPLIT, SHOTS = "coop:", "split:", "shots:"


def is_fewshot(address: str | Path) -> bool:
    """Whether only few-shot data has this address, so that nothing else would read it."""
    text = os.fspath(address)
    return text.startswith((COOP, SPLIT, SHOTS)) or (text.lower().endswith(".json") and _path(text).is_file())


def read_listing(address: str | Path, split_seed: int = 0) -> Listing:
    """The list of images at ``address``, with all that is wrong with it; no image is opened."""
    text = os.fspath(address)
    if text.startswith(COOP):
        return read_published(*_set_places(text))
    if text.startswith(SHOTS):
        return _read_shots(text, split_seed)
    return read_split(*_split_places(text)) if is_fewshot(text) else read_images(address, split_seed)


def _set_places(text: str) -> tuple[str, Path]:
    name, _, root = text.removeprefix(COOP).partition("@")
    if not name or not root:
        raise ConfigError(f"{text}: expected coop:NAME@ROOT; ROOT holds the folders of all data sets, NAME is one of {', '.join(SETS)}")
    return name, _path(root)


def _read_shots(text: str, split_seed: int) -> Listing:
    """The sample on the data set it was drawn from, or alone, on a folder of images."""
    file, _, data = text.removeprefix(SHOTS).partition(".jsonl@")
    if not data:
        raise ConfigError(f"{text}: expected shots:FILE.jsonl@DATA, such as shots:shot_16-seed_1_train.jsonl@coop:EuroSAT@datasets")
    if is_fewshot(data) and not data.startswith(SHOTS):
        return chosen(_path(f"{file}.jsonl"), read_listing(data, split_seed))
    return alone(_path(f"{file}.jsonl"), _path(data))


def _split_places(text: str) -> tuple[Path, Path]:
    text = text.removeprefix(SPLIT)
    file, _, images = text.partition(".json@")
    if not images:
        if not text.lower().endswith(".json"):
            raise ConfigError(f"split:{text}: expected split:FILE.json@IMAGES")
        return _path(text), _path(text).parent
    return _path(f"{file}.json"), _path(images)


def _path(text: str) -> Path:
    return Path(text).expanduser()
