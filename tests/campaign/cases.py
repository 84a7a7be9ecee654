"""The 33 damaged adapters of the peers' measurement: what is done to the weights file, to the configuration, or which base is given.

Each case is one edit, made to any LoRA folder of safetensors and JSON. What a field is called there, ``Words`` says.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from campaign import damage

CANARY = "canary"
Edit = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Words:
    """Where a library's JSON keeps what: the path to the fields of the method, and their names."""

    inside: tuple[str, ...]
    rank: str
    alpha: str
    targets: str
    kind: str  # at the top: which method it is

    def fields(self, config: dict[str, Any]) -> dict[str, Any]:
        for key in self.inside:
            config = config[key]
        return config


@dataclass(frozen=True)
class Case:
    """One of: ``weights`` edits the bytes, ``config`` the parsed JSON in place, ``text`` its bytes, ``gone`` removes a file, ``base``."""

    name: str
    weights: Edit | None = None
    config: Callable[[dict[str, Any], Words], None] | None = None
    text: Edit | None = None
    gone: str | None = None
    base: str = "same"
    legal: bool = False  # with all digests made right again it is another adapter, and a good one


class Payload:
    """What runs if it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (CANARY, "w")


def _pickled(data: bytes) -> bytes:
    """As ``torch.save`` lays it out: an archive with a pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Payload()}, protocol=2))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _tensors(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Edit:
    return lambda data: save(change(load(data)))


def _first(change: Callable[[Tensor], Tensor]) -> Edit:
    """An edit of the first tensor, by name."""
    return _tensors(lambda found: {n: change(v.clone()) if n == min(found) else v for n, v in found.items()})


def _poked(value: float) -> Callable[[Tensor], Tensor]:
    def poke(tensor: Tensor) -> Tensor:
        tensor.view(-1)[0] = value
        return tensor
    return poke


def _flipped(tensor: Tensor) -> Tensor:
    """The highest bit of one exponent."""
    tensor.view(torch.int32).view(-1)[0] ^= 1 << 30
    return tensor


def _half(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: found[name] for name in sorted(found)[: len(found) // 2]}


def _moved(shift: Callable[[list[int]], list[int]]) -> Edit:
    """An edit of where the header says that its last tensor lies."""
    def edit(data: bytes) -> bytes:
        header, payload = damage.parts(data)
        entry = max((e for n, e in header.items() if n != "__metadata__"), key=lambda e: e["data_offsets"])
        entry["data_offsets"] = shift(entry["data_offsets"])
        return damage.joined(header, payload)
    return edit


def _set(field: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any], Words], None]:
    def edit(config: dict[str, Any], words: Words) -> None:
        fields, key = words.fields(config), getattr(words, field)
        fields[key] = change(fields[key])
    return edit


def _typo(config: dict[str, Any], words: Words) -> None:
    fields = words.fields(config)
    fields[words.alpha.replace("alpha", "alhpa")] = fields.pop(words.alpha)


def _bad_type(config: dict[str, Any], words: Words) -> None:
    config[words.kind] = "NOPE"


CASES = (
    Case("truncated to 5 bytes", weights=lambda data: data[:5]),
    Case("truncated to a half", weights=lambda data: data[: len(data) // 2]),
    Case("truncated by one byte", weights=lambda data: data[:-1]),
    Case("empty", weights=lambda data: b""),
    Case("random bytes", weights=lambda data: Random(0).randbytes(len(data))),
    Case("trailing garbage", weights=lambda data: data + b"garbage."),
    Case("header length", weights=lambda data: struct.pack("<Q", 1 << 40) + data[8:]),
    Case("offsets outside", weights=_moved(lambda place: [n + 4096 for n in place])),
    Case("offsets overlapping", weights=_moved(lambda place: [n - 4 for n in place])),
    Case("wrong shape", weights=_first(lambda tensor: tensor[..., :-1].contiguous())),
    Case("r changed", config=_set("rank", lambda r: r + 1)),
    Case("r negative", config=_set("rank", lambda r: -r)),
    Case("target not found", config=_set("targets", lambda targets: ["nowhere"])),
    Case("config missing", gone="config"),
    Case("wider base", base="wider"),
    Case("pickle payload", weights=_pickled),
    Case("r as string", config=_set("rank", str)),
    Case("bad type", config=_bad_type),
    Case("broken JSON", text=lambda data: data.rstrip()[:-1]),
    Case("weights missing", gone="weights"),
    Case("one key missing", weights=_tensors(lambda found: {n: v for n, v in found.items() if n != min(found)})),
    Case("half of the keys missing", weights=_tensors(_half)),
    Case("all keys renamed", weights=_tensors(lambda found: {f"renamed.{n}": v for n, v in found.items()})),
    Case("typo in the config", config=_typo),
    Case("one flipped bit", weights=_first(_flipped), legal=True),
    Case("NaN weight", weights=_first(_poked(float("nan")))),
    Case("inf weight", weights=_first(_poked(float("inf")))),
    Case("int8 weight", weights=_first(lambda tensor: (100 * tensor).to(torch.int8))),
    Case("alpha NaN", config=_set("alpha", lambda alpha: float("nan"))),
    Case("alpha x100", config=_set("alpha", lambda alpha: 100 * alpha), legal=True),
    Case("extra key", weights=_tensors(lambda found: found | {"extra.weight": torch.zeros(2, 2)})),
    Case("other base of the same shape", base="other"),
    Case("base with half the depth", base="shallow"),
)


def edited_text(config: dict[str, Any], indent: int) -> bytes:
    """JSON with NaN in it where the case puts one."""
    return (json.dumps(config, indent=indent, sort_keys=True, ensure_ascii=False) + "\n").encode()
