"""Measurements as files: one of training keeps an entry per model, each with its own settings and circumstances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inarch import files
from inarch.errors import ConfigError

FORMAT = 1
KINDS = ("train", "memory", "profile", "compile", "infer", "import", "check", "save", "load", "compare")


def store(found: dict[str, Any], path: Path) -> None:
    """Write; models that an existing file holds, with settings of their own, and this run did not measure stay in it."""
    check_place(found["kind"], path)
    if path.exists() and found["kind"] in ("train", "memory", "compile"):
        found = {**found, "models": {**fetch(path)["models"], **found["models"]}}
    files.write(path, files.canonical(found))


def check_place(kind: str, path: Path) -> None:
    """Refused before anything is measured: no such folder, or a file there that is something else."""
    if not path.parent.is_dir():
        raise ConfigError(f"--json {path}: there is no folder {path.parent}; create it first")
    if path.exists() and fetch(path)["kind"] != kind:
        raise ConfigError(f"--json {path} holds {fetch(path)['kind']!r} measurements, these are {kind!r}; choose another file")


def fetch(path: Path) -> dict[str, Any]:
    """The measurements in a file; raises ``ConfigError`` when it holds none."""
    found = files.parse_json(files.read(path), path)
    if found.get("format") != FORMAT or found.get("kind") not in KINDS:
        raise ConfigError(f"{path} holds no measurements: format {found.get('format')!r}, kind {found.get('kind')!r}; "
                          f"expected format {FORMAT} and kind {' or '.join(KINDS)}, as inarch bench writes")
    return found
