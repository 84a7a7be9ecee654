"""What a measurement must say about itself: versions, commit, hardware in words, and how busy the machine was."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import Any

import torch

from inarch.provenance import commit, versions

PACKAGES = ("torch", "transformers", "peft", "safetensors", "typer", "torchao")


def circumstances() -> dict[str, Any]:
    """Everything but the settings that a reader needs to judge a figure."""
    return {
        "date": datetime.now(UTC).date().isoformat(), "commit": commit(), "hardware": hardware(), "versions": versions(PACKAGES),
        "load": round(os.getloadavg()[0], 1),
    }


def hardware() -> str:
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()}-core {platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()}, {gpu}"
