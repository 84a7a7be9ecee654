"""What the scripts that make embedded weights share: files that appear whole, half precision, the record, a section of a page."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from inarch.backbones import weights_file

ROOT = Path(__file__).resolve().parent.parent


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    part.replace(path)


def halve(path: Path, keep: str = "") -> None:
    """Floating-point tensors whose name begins with ``keep``, in half precision."""
    values = {name: value for name, value in load_file(path).items() if name.startswith(keep)}
    part = path.with_name(path.name + ".part")
    save_file({name: value.half() if value.is_floating_point() else value for name, value in values.items()}, part, {"format": "pt"})
    part.chmod(0o644)
    part.replace(path)


def tidy(path: Path) -> None:
    """Without what says nothing about the weights; stored in half precision, meant to be computed with in single."""
    config = _said(json.loads(path.read_text()))
    write_json(path, config | {"dtype": str(torch.float32).removeprefix("torch.")})


def _said(config: dict[str, Any]) -> dict[str, Any]:
    dropped = ("id2label", "label2id", "transformers_version", "dtype", "_name_or_path")
    return {key: _said(value) if isinstance(value, dict) else value for key, value in config.items() if key not in dropped}


def recorded(folder: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """The folder's ``origin.json``, written, and what the record says of its weights."""
    files = sorted(folder.rglob("*.safetensors"))
    digest = weights_file.sha256(files)
    write_json(folder / "origin.json", origin | {"sha256": digest})
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    numbers = sum(value.numel() for path in files for value in load_file(path).values())
    return {"sha256": digest, "bytes": sizes, "parameters": numbers}


def commit(paths: Sequence[str]) -> str:
    """Of the checkout, with a mark where ``paths`` were not clean."""
    try:
        run = partial(subprocess.run, check=True, capture_output=True, text=True, cwd=ROOT)
        changed = run(["git", "status", "--porcelain", *paths]).stdout.strip()
        return run(["git", "rev-parse", "HEAD"]).stdout.strip() + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def put_section(page: Path, heading: str, section: str) -> None:
    """``section``, which begins with ``heading``, in the place of an earlier one, else at the end; other sections stay as they are."""
    before, _, old = page.read_text().partition(heading)
    _, mark, after = old.partition("\n## ")
    page.write_text(before.rstrip("\n") + "\n\n" + section.rstrip("\n") + "\n" + mark + after)
