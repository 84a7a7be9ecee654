"""The run folder: what is in it under which name, and how each file is read back, strictly.

    recipe.toml      the resolved recipe               run.json      what the recipe met: classes, preprocessing, fingerprints
    metrics.jsonl    a line per epoch                  tensorboard/  events
    checkpoints/     generations, while training       adapter/      what inarch.save wrote
    result.json      the numbers and where they came from
    predictions.npz  logits and labels of the scored parts, or predictions-PART.jsonl: every text that was generated
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inarch import files, folders
from inarch.errors import ConfigError, Corrupt, Incomplete, Mismatch, StorageError
from inarch.places import place
from inarch.preprocess import Preprocess
from inarch.recipe import Recipe
from inarch.seal import read_result, sealed
from inarch.toml import read_toml, to_toml

FORMAT = 1
CARD_CAP = 64 << 20


@dataclass(frozen=True)
class Card:
    """``run.json``: with the recipe and the adapter, all that is needed to rebuild the model.

    ``base``: the folder that relative addresses count from, relative to the run folder. ``fingerprint``: of the frozen backbone.
    """

    base: str
    classes: tuple[str, ...]
    multilabel: bool
    preprocess: dict[str, Any]
    backbone: dict[str, Any]  # address, image_size, library, source
    fingerprint: dict[str, str]
    data: dict[str, Any]  # source, sha256, images per part, notes
    count: dict[str, Any]
    processes: int
    started: str
    versions: dict[str, str]
    format: int = FORMAT

    @property
    def view(self) -> Preprocess:
        return Preprocess.from_json(self.preprocess)

    @property
    def features_sha(self) -> str | None:
        """Of the stored image features, where the run reads such."""
        return self.data.get("features", {}).get("sha256")


class Run:
    """A run folder by path, or fetched by its address on the hub; nothing is read before it is asked for."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = place(folder)
        self.adapter, self.checkpoints = self.folder / "adapter", self.folder / "checkpoints"
        self.metrics, self.predictions = self.folder / "metrics.jsonl", self.folder / "predictions.npz"
        self.recipe_file, self.card_file, self.result_file = (self.folder / n for n in ("recipe.toml", "run.json", "result.json"))

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def exists(self) -> bool:
        return self.recipe_file.exists() or self.card_file.exists()

    @property
    def finished(self) -> bool:
        return self.result_file.exists()

    def refuse_used(self) -> None:
        """``ConfigError`` when the folder already holds something: nothing is ever overwritten."""
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"{self} is a file; expected a folder for the run: choose another --out")
        there = sorted(p.name for p in self.folder.iterdir() if p.name != ".lock") if self.folder.is_dir() else []
        if self.exists:
            raise ConfigError(f"{self} already holds a run; resume it (inarch train --resume {self}) or choose another --out")
        if there:
            raise ConfigError(f"{self} is not empty ({', '.join(there[:3])}); choose another --out")

    def make(self) -> None:
        try:
            folders.make_folder(self.folder)
        except OSError as problem:
            raise StorageError(f"{self}: {problem.strerror}; choose a folder that can be written") from None

    def write_recipe(self, recipe: Recipe) -> None:
        files.write(self.recipe_file, to_toml(recipe.spelled()).encode())

    def recipe(self) -> Recipe:
        """The resolved recipe; ``Incomplete`` where the folder is no run."""
        if not self.recipe_file.is_file():
            raise Incomplete(f"{self} is not a run folder: no recipe.toml; expected one written by `inarch train`")
        return Recipe.parse(read_toml(self.recipe_file) | {"out": str(self.folder)}, str(self.recipe_file))

    def write_card(self, card: Card) -> None:
        files.write(self.card_file, files.canonical(dataclasses.asdict(card)))

    def card(self) -> Card:
        """``run.json``, its keys and format checked."""
        fields = files.parse_json(files.read(self.card_file, cap=CARD_CAP), self.card_file)
        if isinstance(fields.get("format"), int) and fields["format"] > FORMAT:
            raise Mismatch(f"{self.card_file}: format {fields['format']} is newer than {FORMAT}, the newest known here; upgrade")
        known = {field.name for field in dataclasses.fields(Card)}
        if fields.keys() != known:
            odd = ", ".join(sorted(fields.keys() ^ known))
            raise Corrupt(f"{self.card_file}: unexpected or missing: {odd}; restore the file")
        return Card(**fields | {"classes": tuple(fields["classes"])})

    def result(self) -> dict[str, Any]:
        """``result.json``; ``Incomplete`` while the run has not finished, ``Corrupt`` where it was changed afterwards."""
        if not self.finished:
            raise Incomplete(f"{self} has no result yet; finish it by `inarch train --resume {self}`")
        return read_result(self.result_file, CARD_CAP)

    def write_result(self, result: dict[str, Any]) -> None:
        """The result, sealed: an edit by hand shows."""
        files.write(self.result_file, files.canonical(sealed(result)))

    def write_predictions(self, parts: dict[str, tuple[np.ndarray, np.ndarray, list[str]]]) -> None:
        """``test_logits [n, classes]``, ``test_labels``, ``test_names`` and the same of val: plain arrays, no pickle."""
        arrays: dict[str, np.ndarray] = {}
        for part, (logits, labels, names) in parts.items():
            arrays |= {f"{part}_logits": logits, f"{part}_labels": labels, f"{part}_names": np.array(names, dtype=np.str_)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        files.write(self.predictions, buffer.getvalue())

    def answers(self, part: str) -> Path:
        """Where the generated texts of a part are kept."""
        return self.folder / f"predictions-{part}.jsonl"

    def lines(self) -> list[dict[str, Any]]:
        """The epochs logged so far; a last line cut by a kill is left out."""
        if not self.metrics.exists():
            return []
        whole = files.read(self.metrics).decode().rpartition("\n")[0].splitlines()
        return [files.parse_json(line.encode(), self.metrics) for line in whole]

    def logged(self) -> int:
        """How many whole lines there are, whatever they say; for whoever only watches."""
        try:
            return self.metrics.read_bytes().count(b"\n")
        except OSError:
            return 0

    def log(self, line: dict[str, Any]) -> None:
        """Append one epoch."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
        except OSError as problem:
            raise StorageError(f"{self.metrics}: {problem.strerror}; free some space and resume") from None

    def keep_lines(self, epochs: int) -> None:
        """Forget the lines after epoch ``epochs``: the resumed run writes them again."""
        lines = [line for line in self.lines() if line["epoch"] <= epochs]
        if self.metrics.exists():
            files.write(self.metrics, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def locate(self, address: str, base: str) -> str:
        """``address`` with the files it names found from where the run was started, whatever folder the reader is in."""
        from inarch.backbones import embedded_names

        if address in ("digits", *embedded_names()):  # these words stand before any folder of the same name
            return address
        root = self.folder / base
        if (found := _found(root, address)) != address:
            return found
        scheme, colon, rest = address.partition(":")
        name, at, file = (rest if colon else address).partition("@")
        return scheme * bool(colon) + colon + _found(root, name) + at + _found(root, file)


def _found(root: Path, path: str) -> str:
    if not path or os.path.isabs(path) or path.startswith("~"):
        return path
    moved = os.path.normpath(root / path)
    return moved if os.path.exists(moved) else path


def relative(run: Path) -> str:
    """The current folder as seen from the run folder; absolute where no relative path leads there."""
    try:
        return os.path.relpath(os.getcwd(), run)
    except ValueError:  # another drive
        return os.getcwd()
