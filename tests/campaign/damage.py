"""Ways to damage a checkpoint: on bytes, and on the JSON and the safetensors header inside them. All chance comes from ``chance``."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "x", "../x", "/etc/passwd",
    "C:\\x", "x\0y", "%2e%2e/x", "é", "²", "٣", "1", "\ud800", "F32", [], [0], [-1, 4], [2**40, 2**40], ["x"], {}, {"x": 1}, [[]],
)


def flip(data: bytes, chance: Random) -> bytes:
    """One to eight bits."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 8) if data else 0):
        bit = chance.randrange(8 * len(found))
        found[bit // 8] ^= 1 << bit % 8
    return bytes(found)


def overwrite(data: bytes, chance: Random) -> bytes:
    at, length = _slice(data, chance)
    return data[:at] + chance.randbytes(length) + data[at + length:]


def zeros(data: bytes, chance: Random) -> bytes:
    at, length = _slice(data, chance)
    return data[:at] + bytes(length) + data[at + length:]


def cut(data: bytes, chance: Random) -> bytes:
    return data[:chance.randrange(len(data))] if data else data


def insert(data: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.randint(1, 64)) + data[at:]


def delete(data: bytes, chance: Random) -> bytes:
    at, length = _slice(data, chance)
    return data[:at] + data[at + length:]


def repeat(data: bytes, chance: Random) -> bytes:
    at, length = _slice(data, chance)
    return data[:at + length] + data[at:]


def length(data: bytes, chance: Random) -> bytes:
    """The eight bytes that say how long the header is."""
    true = struct.unpack("<Q", data[:8].ljust(8, b"\0"))[0]
    claimed = chance.choice([0, 1, 2, len(data), len(data) - 8, 1 << 20, 1 << 40, (1 << 64) - 1, true + chance.randint(-9, 9)])
    return struct.pack("<Q", max(claimed, 0)) + data[8:]


BYTES: dict[str, Callable[[bytes, Random], bytes]] = {
    "bits flipped": flip, "bytes overwritten": overwrite, "zeros": zeros, "cut": cut, "inserted": insert, "deleted": delete,
    "repeated": repeat,
}


def splice(data: bytes, other: bytes, chance: Random) -> bytes:
    """The start of one valid file and the end of another."""
    at = chance.randrange(len(data) + 1)
    return data[:at] + other[at:]


def respaced(data: bytes, chance: Random) -> bytes:
    """The same JSON in other bytes: indent, order of keys, escapes, a byte-order mark, line ends, white space around it."""
    fields = json.loads(data)
    text = json.dumps(fields, indent=chance.choice([None, 0, 2, "\t"]), sort_keys=chance.random() < 0.5,
                      ensure_ascii=chance.random() < 0.5)
    around = chance.choice(["{}", "\ufeff{}", "{}\r\n", " {}", "{}\n\n", "\n{}\0"])
    return around.replace("{}", text).encode()


def edited(fields: Any, chance: Random) -> Any:
    """A copy of a JSON value with one edit at a random place; the value may become text that stands for what JSON cannot hold."""
    copy = json.loads(json.dumps(fields))
    places = list(_places(copy))
    holder, key = chance.choice(places)
    if isinstance(holder, dict) and chance.random() < 0.5:
        return chance.choice([_drop, _rename, _add])(copy, holder, key, chance)
    holder[key] = _twisted(holder[key], chance)
    return copy


def edited_json(data: bytes, chance: Random) -> bytes:
    """The same, on text; duplicate keys and deep nesting too, which no value can hold."""
    fields = json.loads(data)
    kind = chance.random()
    if kind < 0.06:
        key = chance.choice(list(fields))
        return data.replace(f'"{key}"'.encode(), f'"{key}": 0, "{key}"'.encode(), 1)
    if kind < 0.1:
        deep = chance.choice([10**3, 10**5])
        return data.rstrip()[:-1] + b', "deep": ' + b"[" * deep + b"]" * deep + b"}\n"
    return text(edited(fields, chance))


def text(fields: Any) -> bytes:
    """As the library writes JSON, NaN and lone surrogates allowed."""
    return (json.dumps(fields, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and payload of safetensors."""
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + size]), data[8 + size:]


def joined(header: Any, payload: bytes) -> bytes:
    inner = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(inner)) + inner + payload


def edited_header(data: bytes, chance: Random) -> bytes:
    """One structural edit of a safetensors file: of its JSON, of a tensor's dtype, shape or place, or of the payload's length."""
    header, payload = parts(data)
    kind = chance.random()
    if kind < 0.5:
        return joined(edited_json(json.dumps(header).encode(), chance), payload)
    if kind < 0.6:
        return joined(header, payload + bytes(chance.randint(1, 64)) if chance.random() < 0.5 else payload[:-chance.randint(1, 64)])
    if kind < 0.65:
        return joined(header | {"__metadata__": chance.choice(JUNK)}, payload)
    entry = header[chance.choice([name for name in header if name != "__metadata__"])]
    if kind < 0.8:
        entry["dtype"] = chance.choice(["F64", "F16", "BF16", "I8", "I32", "U32", "BOOL", "C64", "F8_E4M3", "f32", "F32 ", ""])
    elif kind < 0.9:
        entry["shape"] = chance.choice([entry["shape"][::-1], [10**12], [2**32, 2**32], [*entry["shape"], 1], [-1, -1], [0], []])
    else:
        entry["data_offsets"] = [n + chance.choice([-4, 0, 4, 2**40]) for n in entry["data_offsets"]]
    return joined(header, payload)


def poisoned(data: bytes, chance: Random) -> bytes:
    """One value of the payload that is not a finite float32."""
    header, payload = parts(data)
    at = 4 * chance.randrange(len(payload) // 4)
    value = struct.pack("<f", chance.choice([float("nan"), float("inf"), float("-inf")]))
    return joined(header, payload[:at] + value + payload[at + 4:])


def _slice(data: bytes, chance: Random) -> tuple[int, int]:
    at = chance.randrange(max(len(data), 1))
    return at, min(chance.randint(1, 64), len(data) - at)


def _places(value: Any):
    """Every (holder, key) inside a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _twisted(value: Any, chance: Random) -> Any:
    near: list[Any] = []
    if isinstance(value, (int, float)):
        near = [value + 1, value - 1, -value, str(value), float(value), [value]]
    elif isinstance(value, str):
        near = [value + "x", value[:-1], value.upper(), value[::-1], [value], "../" + value, "\ud800"]
    elif isinstance(value, list):
        near = [value[:-1], value + value, value[::-1], dict.fromkeys(map(str, value))]
    elif isinstance(value, dict):
        near = [list(value), list(value.items())]
    return chance.choice(near) if near and chance.random() < 0.5 else chance.choice(JUNK)


def _drop(whole: Any, holder: dict, key: str, chance: Random) -> Any:
    del holder[key]
    return whole


def _rename(whole: Any, holder: dict, key: str, chance: Random) -> Any:
    holder[chance.choice([key + "x", key[1:], key.upper(), "../" + key, "", "\0"])] = holder.pop(key)
    return whole


def _add(whole: Any, holder: dict, key: str, chance: Random) -> Any:
    holder[chance.choice(["added", key + "_", "../added"])] = chance.choice(JUNK)
    return whole
