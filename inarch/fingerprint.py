"""Which backbone an adapter belongs to: SHA-256 over role and layer, shape and 64 evenly spaced values of every tensor.

Never over module paths, and never over what trains (heads and thawed parameters), so that a renamed module or a new head
does not turn the right backbone into a stranger. One digest per float width; two models are compared at the narrower.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from inarch import roles

SAMPLES = 64
WIDTHS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def fingerprint(model: nn.Module, without: frozenset[str] = frozenset(), pristine: dict[str, Tensor] | None = None) -> dict[str, str]:
    """Digest per float width, the dtype, and the architecture's digest (roles and shapes alone).

    ``without``: names of thawed parameters. ``pristine``: values to use where a live graft has changed a parameter.
    """
    names = roles.canonical(model)
    chosen = sorted((role, name) for name, role in names.items() if name not in without and not role.startswith("head"))
    parameters = roles.base_parameters(model)
    digests = {width: hashlib.sha256() for width in WIDTHS}
    shapes = hashlib.sha256()
    for role, name in chosen:
        value = (pristine or {}).get(name, parameters[name].data)
        label = f"{role}{tuple(value.shape)}".encode()
        shapes.update(label)
        sample = _spaced(value)
        for width, digest in digests.items():
            digest.update(label)
            digest.update(sample.to(WIDTHS[width]).float().numpy().tobytes())
    found = {width: digest.hexdigest() for width, digest in digests.items()}
    return found | {"shapes": shapes.hexdigest(), "dtype": _dtype(parameters)}


def _spaced(value: Tensor) -> Tensor:
    flat = value.reshape(-1)
    picks = torch.linspace(0, flat.numel() - 1, min(SAMPLES, flat.numel()), dtype=torch.float64).round().long()
    return flat[picks.to(flat.device)].float().cpu()


def _dtype(parameters: dict[str, nn.Parameter]) -> str:
    return str(next(iter(parameters.values())).dtype).removeprefix("torch.")


def compare(stored: dict[str, str], found: dict[str, str]) -> str | None:
    """None when the two fingerprints are of one backbone, else what differs. float16 against bfloat16: by architecture alone."""
    if stored["shapes"] != found["shapes"]:
        return "another architecture (depth, width, patch size or the set of tensors differs)"
    narrow = {d for d in (stored["dtype"], found["dtype"]) if d in ("float16", "bfloat16")}
    if len(narrow) == 2:
        return None
    width = narrow.pop() if narrow else "float32"
    return None if stored[width] == found[width] else "the same architecture with other weights"
