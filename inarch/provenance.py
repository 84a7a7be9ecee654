"""What stands beside a number so that it can be made again: versions, commit, hardware, command, time."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import inarch

PACKAGES = ("torch", "numpy", "pillow", "safetensors", "accelerate", "transformers", "timm", "open_clip_torch")


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Of inarch, Python and those of the packages that are installed."""
    found = {"inarch": inarch.__version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the checkout this package is imported from, ``+`` where its code differs from it; None outside a checkout.

    A copy that travelled without its history is told by the environment, ``INARCH_COMMIT``.
    """
    if os.environ.get("INARCH_COMMIT"):
        return os.environ["INARCH_COMMIT"]
    root = Path(inarch.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "HEAD")
    return head and head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no", "--", "inarch") else "")


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def hardware(device: str, processes: int, threads: int) -> str:
    """``2 x NVIDIA H100`` or ``x86_64 CPU, 2 threads``."""
    import torch

    if device.startswith("cuda"):
        return f"{processes} x {torch.cuda.get_device_name(device)}"
    return f"{platform.machine()} {device}, {processes} process{'es' * (processes > 1)}, {threads} threads each"


def command() -> list[str]:
    """The command line, its program by name alone: a path to somebody's home is nobody's business."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
