"""Pictures and damaged files for the data tests: made here, byte by byte where an encoder would refuse."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def pixels(seed: int = 0, height: int = 8, width: int = 8) -> np.ndarray:
    """Random RGB pixels: two seeds never make equal pictures."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_bytes(seed: int = 0) -> bytes:
    return encoded(Image.fromarray(pixels(seed)), "PNG")


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG with any header; ``rows`` are filter bytes and samples, ``extra`` stands before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def class_folders(root: Path, counts: dict[str, int], start: int = 0) -> Path:
    """``root/NAME/0.png ...``: ``counts[NAME]`` different pictures per folder."""
    seed = start
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / name / f"{i}.png").write_bytes(png_bytes(seed))
            seed += 1
    return root


def three_parts(root: Path) -> Path:
    """train with 6 + 4, val with 2 + 1, test with 2 + 2 pictures of the classes cat and dog."""
    class_folders(root / "train", {"cat": 6, "dog": 4})
    class_folders(root / "val", {"cat": 2, "dog": 1}, start=100)
    return class_folders(root / "test", {"cat": 2, "dog": 2}, start=200).parent
