"""Where a path that a user gives leads: to a folder here, or to the copy of one that an address names somewhere else.

    FOLDER    itself                hf:USER/NAME    the adapter or run of the hub, fetched first (inarch/hub)
Everything that reads an adapter or a run comes through here, so that an address is taken wherever a folder is.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

FETCHERS = {"hf": "inarch.hub.fetching"}  # scheme -> the module whose ``fetch`` brings the folder; imported for such an address alone


def is_address(path: str | Path) -> bool:
    """Whether this is an address to fetch from, and no path."""
    scheme, colon, _ = os.fspath(path).partition(":")
    return bool(colon) and scheme in FETCHERS


def place(path: str | Path) -> Path:
    """The folder that is meant, fetched where it is not here; raises what its fetcher does."""
    if not is_address(path):
        return Path(path)
    text = os.fspath(path)
    return import_module(FETCHERS[text.partition(":")[0]]).fetch(text)


def namesake(path: str | Path) -> Path:
    """The path that names of new folders are made from: of an address, its last word, in the current folder."""
    return Path(os.fspath(path).partition("@")[0].rpartition("/")[2]) if is_address(path) else Path(path)


__all__ = ["is_address", "namesake", "place"]
