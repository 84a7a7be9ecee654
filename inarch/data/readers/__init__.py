"""Data by address: a row per kind, tried from the top; the first that matches reads it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch.data.draft import Draft, Options
from inarch.data.images import shown
from inarch.data.readers.arrays import read_digits, read_npz
from inarch.data.readers.fgvc import is_fgvc, read_fgvc
from inarch.data.readers.folder import read_folder
from inarch.data.readers.hub import PREFIX, is_saved, read_hub
from inarch.data.readers.listing import read_listing
from inarch.data.readers.things import is_things, read_things
from inarch.data.readers.vtab import is_vtab, read_vtab
from inarch.errors import ConfigError, DataError


@dataclass(frozen=True)
class Kind:
    """One accepted form of address: how to recognise and read it, and the options that mean something to it."""

    example: str
    matches: Callable[[Any], bool]
    read: Callable[[Any, Options], Draft]
    options: frozenset[str] = frozenset()


COLUMNS = frozenset({"image_column", "label_column"})
ROWS = COLUMNS | {"multilabel"}


def _file(*suffixes: str) -> Callable[[Path], bool]:
    return lambda path: path.suffix.lower() in suffixes and path.is_file()


WORDS = (  # addresses that are no paths
    Kind("digits (scikit-learn's)", lambda word: word == "digits", read_digits),
    Kind("things:STYLE@SEED (drawn here)", is_things, read_things),
    Kind("datasets:NAME", lambda word: word.startswith(PREFIX), read_hub, COLUMNS),
)
PATHS = (
    Kind("data.npz (x_train, y_train, ...)", _file(".npz"), read_npz),
    Kind("table.csv or table.jsonl (path, label)", _file(".csv", ".jsonl", ".ndjson"), read_listing, ROWS),
    Kind("a folder saved by datasets", is_saved, read_hub, COLUMNS),
    Kind("a VTAB-1k folder (train800.txt, val200.txt, test.txt)", is_vtab, read_vtab, frozenset({"protocol"})),
    Kind("an FGVC folder in VPT's split (train.json, val.json, test.json)", is_fgvc, read_fgvc),
    Kind("a folder of class folders, or of train/, val/, test/ with class folders", Path.is_dir, read_folder),
)


def read(address: str | Path, options: Options) -> Draft:
    """The data set at ``address`` as found; raises ``DataError`` when there is none, or when it cannot be read at all."""
    place: str | Path = address
    kind = next((kind for kind in WORDS if isinstance(address, str) and kind.matches(address)), None)
    if kind is None:
        place = Path(os.path.expanduser(address))
        kind = next((kind for kind in PATHS if str(address) and kind.matches(place)), None)
    if kind is None:
        raise DataError(f"data {_missing(Path(place))}; accepted are: {'; '.join(k.example for k in (*PATHS, *WORDS))}")
    _suit(kind, options)
    return kind.read(place, options)


def absent(address: str) -> str | None:
    """What is wrong with the path that an address is or ends in, as ``SCHEME:NAME@PATH`` does; None where it is there, or names none."""
    path = address.rpartition("@")[2] if ":" in address.partition("@")[0] else address
    place = Path(os.path.expanduser(path))
    if ":" in path or place.exists() or any(kind.matches(address) for kind in WORDS):
        return None
    return _missing(place)


def _suit(kind: Kind, options: Options) -> None:
    """Refuse an option that this kind of data would ignore."""
    given = {name for name, value in vars(options).items() if value and name != "seed"}
    for name in sorted(given - kind.options):
        raise ConfigError(f"{name} means nothing for {kind.example}; leave it out")


def _missing(path: Path) -> str:
    """What is at ``path`` instead: a file of unknown kind, or the nearest thing that exists."""
    child = path
    while not os.path.isdir(child.parent):
        child = child.parent
    if os.path.exists(child):
        return f"{shown(child)}: a file of unknown kind ({child.suffix or 'no suffix'})"
    there = sorted(shown(name) for name in os.listdir(child.parent) if not name.startswith("."))
    close = difflib.get_close_matches(child.name, there, n=1)
    found = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(there[:10]) or 'no files'}"
    return f"{shown(path)}: no {shown(child.name)!r} in {os.path.join(shown(child.parent), '')}; {found}"
