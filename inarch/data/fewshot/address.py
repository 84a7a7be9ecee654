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
from inarch.data.fewshot.listing import Listing
from inarch.data.fewshot.split_json import read_split
from inarch.errors import ConfigError

SPLIT = "split:"


def read_listing(address: str | Path, split_seed: int = 0) -> Listing:
    """The list of images at ``address``, with all that is wrong with it; no image is opened."""
    text = os.fspath(address)
    if text.startswith(SPLIT) or (text.lower().endswith(".json") and Path(text).expanduser().is_file()):
        return read_split(*_split_places(text.removeprefix(SPLIT)))
    return read_images(address, split_seed)


def _split_places(text: str) -> tuple[Path, Path]:
    file, _, images = text.partition(".json@")
    if not images:
        if not text.lower().endswith(".json"):
            raise ConfigError(f"split:{text}: expected split:FILE.json@IMAGES")
        return _path(text), _path(text).parent
    return _path(f"{file}.json"), _path(images)


def _path(text: str) -> Path:
    return Path(text).expanduser()
