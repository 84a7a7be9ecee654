"""What a measurement must say about itself: versions, commit, hardware in words, and how busy the machine was."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import inarch

PACKAGES = ("torch", "transformers", "peft", "safetensors", "typer")


def circumstances() -> dict[str, Any]:
    """Everything but the settings that a reader needs to judge a figure."""
    return {
        "date": datetime.now(UTC).date().isoformat(), "commit": commit(), "hardware": hardware(), "versions": versions(),
        "load": round(os.getloadavg()[0], 1),
    }


def versions() -> dict[str, str]:
    found = {"inarch": inarch.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> str:
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()}-core {platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()}, {gpu}"


def commit() -> str | None:
    """The commit of the checkout that this package lies in, ``+`` when the checkout differs from it; None outside of one."""
    root = Path(inarch.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    return head and head + ("+" if _git(root, "status", "--porcelain", "--", "inarch") else "")


def _git(root: Path, *words: str) -> str | None:
    try:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
