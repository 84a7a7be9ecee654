"""A reader of both formats, written from docs/format.md alone: json, hashlib, struct and numpy, nothing of inarch."""

import hashlib
import json
import re
import struct
from pathlib import Path

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}


def read_tensors(data):
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    header.pop("__metadata__", None)
    return {name: np.frombuffer(body[slice(*entry["data_offsets"])], DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in header.items()}


def read_adapter(folder):
    text = (Path(folder) / "adapter.json").read_bytes()
    card, line = json.loads(text), re.search(rb'\n "digest": "([0-9a-f]{64})",(?=\n)', text)
    assert hashlib.sha256(text[: line.start()] + text[line.end() :]).hexdigest() == card["digest"] and card["format"] in (1, 2)
    assert re.fullmatch(r"adapter-[0-9a-f]{12}\.safetensors", card["weights"])
    data = (Path(folder) / card["weights"]).read_bytes()
    assert len(data) == card["bytes"] and hashlib.sha256(data).hexdigest() == card["sha256"]
    return card, read_tensors(data)


def read_generation(folder):
    manifest = json.loads((Path(folder) / "manifest.json").read_bytes())
    assert manifest["format"] == 1
    contents = {name: (Path(folder) / name).read_bytes() for name in manifest["files"]}
    for name, entry in manifest["files"].items():
        assert entry == {"bytes": len(contents[name]), "sha256": hashlib.sha256(contents[name]).hexdigest()}
    state = json.loads(contents.pop("state.json"))
    return state, {name.removesuffix(".safetensors"): read_tensors(data) for name, data in contents.items()}
