"""A job: one training run, known by the hash of all that decides its numbers: the recipe, the data and the weights it starts from.

    key = sha256(recipe fields that decide, data, weights)          names of files: METHOD-seed0-KEY.json, METHOD-lr0.01-KEY.json
Where files lie does not decide; what is in them does.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from inarch import files
from inarch.recipe import FREE, Recipe
from inarch.reporting.results import LATER

PLACES = frozenset(("data", "backbone", "out", "device", "threads", "eval_batch_size"))  # what a key does not hold as it stands
ASKED = {"evaluate_every": 1}  # of kept comparisons; scores on the way decide nothing
SINCE = {name: LATER[name]  # younger than kept comparisons: a key is as it was
         for name in ("cache_dtype", "half_base", "quantised_base", "rebuild")}
Kind = Literal["trial", "seed"]


@dataclass(frozen=True, eq=False)
class Job:
    """``task``: name of the data set; ``method``: as it was asked for; ``fields``: of the recipe, all but ``out``."""

    kind: Kind
    task: str
    method: str
    rate: float
    seed: int
    fields: Mapping[str, Any]

    @cached_property
    def recipe(self) -> Recipe:
        return Recipe.parse(dict(self.fields))

    @cached_property
    def key(self) -> str:
        """Forty hexadecimal digits."""
        recipe = self.recipe
        decides = {name: _plain(value) for name, value in recipe.model_dump().items()
                   if name not in FREE | PLACES and not (name in SINCE and value == SINCE[name])}
        decides |= ASKED | {"set": recipe.method_config().fields(), "data": content(recipe.data), "backbone": _weights(recipe.backbone)}
        return files.sha256(files.canonical(decides))[:40]

    @property
    def name(self) -> str:
        """Of its folder and files, in the folder of its task."""
        what = f"seed{self.seed}" if self.kind == "seed" else f"lr{self.rate:g}"
        word = "".join(c if c.isalnum() or c in "-_" else "-" for c in self.method)
        return f"{word}-{what}-{self.key[:8]}"

    def __str__(self) -> str:
        what = f"seed {self.seed}" if self.kind == "seed" else f"trial of lr {self.rate:g}"
        return f"{self.method} on {self.task}, {what}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _weights(address: str) -> str:
    """A backbone's address with the content of the files that it names."""
    name, at, file = address.partition("@")
    scheme, colon, rest = name.partition(":")
    return f"{scheme}{colon}{content(rest)}{at}{content(file) if file else ''}"


@cache
def content(address: str) -> str:
    """What an address holds: the SHA-256 of a file, of a folder that of the names and sizes in it; any other address stands for itself."""
    path = Path(address).expanduser()
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        return address
    listing = hashlib.sha256()
    for folder, below, names in os.walk(path):
        below.sort()
        for name in sorted(names):
            here = Path(folder, name)
            listing.update(f"{here.relative_to(path)}\0{here.stat().st_size}\0".encode(errors="surrogateescape"))
    return listing.hexdigest()
