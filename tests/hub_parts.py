"""Fixtures of the hub's tests: a hub on this machine, and an adapter that was pushed to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from adapter_files import adapter, fresh
from hub_stub import Hub, serving, used
from torch import Tensor, nn

import inarch


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``inarch.save`` wrote."""
    return adapter(tmp_path_factory.mktemp("saved") / "adapter")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Empty, with an empty cache."""
    with serving() as found, used(found, str(tmp_path / "cache"), monkeypatch):
        yield found


@pytest.fixture
def pets(hub: Hub, saved: Path) -> Hub:
    """With the repository ada/pets, an adapter."""
    inarch.push(saved, "hf:ada/pets")
    return hub


def outputs(model: nn.Module) -> Tensor:
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()(pixels).logits


def loaded(folder: str | Path) -> Tensor:
    """What a fresh backbone says with the adapter of ``folder``."""
    model = fresh()
    inarch.load(model, folder)
    return outputs(model)
