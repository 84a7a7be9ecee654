"""Adapter folders on a tiny ViT, hands that damage them, and the proof that a refusal left everything as it was."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from families import pristine
from safetensors.torch import save
from torch import nn

import inarch
from inarch import ARC, card, files


def fresh(seed: int | None = None) -> nn.Module:
    model = copy.deepcopy(pristine("hf-vit"))
    if seed is not None:
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.data += 0.01 * torch.randn_like(parameter)
    return model


def adapter(folder: Path, seed: int = 0) -> Path:
    """ARC of rank 4 and a thawed head, every number drawn."""
    model = inarch.graft(fresh(), ARC(rank=4), thaw="head")
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return inarch.save(model, folder)


def weights(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


def state_hash(model: nn.Module) -> str:
    """Over every tensor, what trains, the modes, and how many hooks there are."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.contiguous().view(torch.uint8).numpy().tobytes())
    digest.update(str([(name, p.requires_grad) for name, p in model.named_parameters()]).encode())
    digest.update(str([(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]).encode())
    return digest.hexdigest()


def refuses(folder: Path, error: type, match: str | None = None, model: nn.Module | None = None, **how: Any) -> None:
    """Loading raises ``error`` and leaves the model as it was, its modules and the global random numbers too."""
    model = fresh() if model is None else model
    before, drawn, modules = state_hash(model), torch.random.get_rng_state(), list(model.modules())
    with pytest.raises(error, match=match):
        inarch.load(model, folder, **how)
    assert state_hash(model) == before and list(model.modules()) == modules
    assert torch.equal(torch.random.get_rng_state(), drawn)


def reseal(folder: Path, fields: dict | None = None, tensors: dict | None = None, data: bytes | None = None,
           drop: tuple[str, ...] = ()) -> None:
    """What a knowing hand could do: new weights or fields, with every digest made right again."""
    told = json.loads((folder / "adapter.json").read_text()) | (fields or {})
    if tensors is not None:
        data = save(tensors)
    if data is not None:
        weights(folder).write_bytes(data)
        told |= {"bytes": len(data), "sha256": files.sha256(data)}
    for key in ("digest", *drop):
        told.pop(key)
    (folder / "adapter.json").write_bytes(card.sealed(told))


@contextmanager
def memory(most: int) -> Iterator[None]:
    """At the highest point, this process holds no more than ``most`` bytes more than before."""
    Path("/proc/self/clear_refs").write_text("5")  # the high mark falls to what is held now
    before = _status("VmRSS")
    yield
    assert _status("VmHWM") - before <= most


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10
