"""Which backbone an adapter belongs to: SHA-256 over role and layer, shape and 64 evenly spaced values of every tensor.

Never over module paths, and never over what trains (heads and thawed parameters), so that a renamed module or a new head
does not turn the right backbone into a stranger. One digest per float width; two models are compared at the narrower.

What was computed once is kept by what it was computed from, the structure of the model and the values looked at, which are read
again each time: a write through ``.data`` leaves a tensor's version counter alone, so that no counter could vouch for its values.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from inarch.packed import packed, plain
from inarch.structure import Learned, learned

SAMPLES = 64
WIDTHS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Chosen:
    """One tensor that the digests are over; ``place``: where the walk meets it."""

    role: str
    name: str
    place: int


@dataclass(frozen=True)
class Verdict:
    """``difference``: what makes it another backbone. ``note``: what could not be compared."""

    difference: str | None = None
    note: str | None = None


def fingerprint(model: nn.Module, without: frozenset[str] = frozenset(), pristine: Mapping[str, Tensor] | None = None) -> dict[str, str]:
    """Digest per float width, the dtype, and the architecture's digest (roles and shapes alone).

    ``without``: names of thawed parameters. ``pristine``: values to use where a live graft has changed a parameter.
    """
    known, tensors = _known(model, without)
    values: list[Tensor] = [tensors[place] for place in known.places]
    if pristine:
        values = [pristine.get(one.name, value) for one, value in zip(known.chosen, values, strict=True)]
    samples = _samples(known, values)
    for seen, digests in known.digests:
        if seen == samples:
            return dict(digests)
    found = _digests(known.chosen, values) | {"dtype": _dtype(tensors, values)}
    known.digests.append((samples, found))
    return dict(found)


def architecture(model: nn.Module, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """Depth and width of every tower, shape of every kind of matrix, number of tensors: in words, what two backbones differ in."""
    known, tensors = _known(model, without)
    chosen = known.chosen
    depths: dict[str, dict[str, None]] = {}
    shapes: dict[str, dict[str, None]] = {}
    for one in chosen:
        tower, layer, kind = one.role.split(".", 2)
        shape = tensors[one.place].shape
        where = f"{tower}.{kind}" if tower != "base" else one.role + (" (patches)" if len(shape) == 4 else "")
        if len(shape) > 1 or kind == "norm1.weight":
            shapes.setdefault(where, {})["x".join(map(str, shape))] = None
        if tower != "base":
            depths.setdefault(tower, {})[layer] = None
    told = {where: ", ".join(found) for where, found in shapes.items()}
    for tower, layers in depths.items():
        width = told.pop(f"{tower}.norm1.weight", "")
        told[tower] = f"{len(layers)} layers" + (f" of width {width}" if width else "")
    return told | {"tensors": str(len(chosen))}


def compare(stored: Mapping[str, str], found: Mapping[str, str], source: Callable[[], str]) -> Verdict:
    """Whether two fingerprints are of one backbone: at the narrower width, and by source where no width could agree.

    ``source``: asked where the weights of the second come from, if that matters; the first may say it as ``source``.
    """
    if stored["shapes"] != found["shapes"]:
        return Verdict("another architecture")
    narrow = {stored["dtype"], found["dtype"]} - {"float32", "float64"}
    if len(narrow) < 2:
        width = narrow.pop() if narrow & WIDTHS.keys() else "float32"
        if stored[width] == found[width]:
            return Verdict()
        if not narrow:
            return Verdict("the same architecture with other weights")
    return _by_source({stored["dtype"], found["dtype"]}, stored.get("source", ""), source())


def differences(stored: Mapping[str, str], found: Mapping[str, str]) -> str:
    """The differences of two architectures: depths, then shapes; at most four of them."""
    keys = [key for key in sorted(stored.keys() | found.keys(), key=lambda key: ("." in key, key)) if stored.get(key) != found.get(key)]
    lines = [f"{key}: {stored.get(key, 'absent')}, here {found.get(key, 'absent')}" for key in keys[:4]]
    return "; ".join(lines + ([f"and {len(keys) - 4} more"] if len(keys) > 4 else []))


def _by_source(dtypes: set[str], there: str, here: str) -> Verdict:
    """fp16 against bf16, or a quantised base: no value of one need equal the other's."""
    widths = " against ".join(sorted(dtypes))
    if there and here:
        same = f"{widths}: compared by architecture and source ({here}), not by values"
        return Verdict(note=same) if there == here else Verdict(f"weights of {there}, this model's are of {here}")
    if dtypes <= {*WIDTHS, "float64"}:
        return Verdict(note=f"{widths}: compared by architecture alone, no source is recorded")
    return Verdict(f"{widths}: a quantised base is recognised by its source, and none is recorded")


@dataclass(frozen=True)
class Known:
    """What follows from a structure: the tensors chosen, where the walk meets them; and the digests of the last values seen in them.

    ``vectors``: which of them are laid end to end, and ``within``: where 64 values of each lie there; ``sampled``: of which others, and at
    which places, 64 values are taken.
    """

    chosen: tuple[Chosen, ...]
    places: tuple[int, ...]
    vectors: tuple[int, ...]
    within: Any
    sampled: tuple[tuple[int, Any], ...]
    digests: deque[tuple[bytes, dict[str, str]]]


def _known(model: nn.Module, without: frozenset[str]) -> tuple[Known, list[nn.Parameter]]:
    here, tensors = learned(model)
    known = here.more.get(without)
    if known is None:
        known = here.more[without] = _learn(_choose(here, without), tensors)
    return known, tensors


def _learn(chosen: tuple[Chosen, ...], tensors: list[nn.Parameter]) -> Known:
    values = [tensors[one.place] for one in chosen]
    vectors = tuple(k for k, value in enumerate(values) if value.dim() == 1 and value.is_floating_point())
    others = sorted(set(range(len(values))) - set(vectors))
    sampled = tuple((k, _picks(values[k].numel())) for k in others)
    return Known(chosen, tuple(one.place for one in chosen), vectors, _within([values[k] for k in vectors]), sampled, deque(maxlen=2))


def _within(vectors: list[nn.Parameter]) -> Any:
    """Where the values of each lie once they are laid end to end."""
    sizes = [vector.numel() for vector in vectors]
    starts = list(accumulate(sizes, initial=0))[:-1]
    places = [torch.from_numpy(_picks(size)) + start for start, size in zip(starts, sizes, strict=True)]
    return torch.cat(places or [torch.empty(0, dtype=torch.long)]).numpy()


def _choose(here: Learned, without: frozenset[str]) -> tuple[Chosen, ...]:
    """Neither heads nor what is thawed, in the order of the roles."""
    names = [(role, name) for name, role in here.roles.items() if name not in without and not role.startswith("head")]
    return tuple(Chosen(role, name, here.places[name]) for role, name in sorted(names))


def _samples(known: Known, values: list[Tensor]) -> bytes:
    """The 64 values of every tensor, as they lie in memory: equal bytes, equal digests. Few calls, each over many tensors."""
    with suppress(TypeError, RuntimeError), torch.no_grad():  # numpy knows neither a GPU nor bfloat16; without gradients none is detached
        vectors = torch.cat([values[k] for k in known.vectors] or [torch.empty(0)])
        return _joined([vectors.numpy().take(known.within), *(values[k].numpy().take(places) for k, places in known.sampled)])
    return _joined([sample.cpu().view(torch.uint8).numpy() for sample in _taken(values)])


def _joined(arrays: list[Any]) -> bytes:
    return b"".join(arrays)


def _taken(values: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return [torch.cat([_taken_of(part).float() for part in plain(value)]) if packed(value) else _taken_of(value) for value in values]


def _taken_of(value: Tensor) -> Tensor:
    if value.is_floating_point() and value.dtype.itemsize == 1:
        value = value.view(torch.uint8)  # nothing can be picked out of eight-bit floats
    return torch.take(value, torch.from_numpy(_picks(value.numel())).to(value.device))


@lru_cache(256)
def _picks(count: int) -> Any:
    """Evenly spaced places in a tensor of so many values, as numpy takes them."""
    return torch.linspace(0, count - 1, min(SAMPLES, count), dtype=torch.float64).round().long().numpy()


def _digests(chosen: tuple[Chosen, ...], values: list[Tensor]) -> dict[str, str]:
    labels = [f"{one.role}{tuple(value.shape)}".encode() for one, value in zip(chosen, values, strict=True)]
    samples = [sample.float().cpu() for sample in _taken(values)]
    found = {"shapes": hashlib.sha256(b"".join(labels)).hexdigest()}
    for width, dtype in WIDTHS.items():
        digest = hashlib.sha256()
        for label, sample in zip(labels, samples, strict=True):
            digest.update(label)
            digest.update(sample.to(dtype).float().numpy().tobytes())
        found[width] = digest.hexdigest()
    return found


def _dtype(tensors: list[nn.Parameter], values: list[Tensor]) -> str:
    """The narrowest that the base is stored in; what a quantised one is stored as."""
    narrowest = min(values or tensors, key=lambda value: value.dtype.itemsize)
    return next(filter(None, map(packed, values)), str(narrowest.dtype).removeprefix("torch."))
