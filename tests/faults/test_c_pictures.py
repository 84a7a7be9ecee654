"""Golden hashes: every accepted kind of picture has one value, release after release."""

from __future__ import annotations

import hashlib
import io
import struct

import numpy as np
import pytest
from PIL import Image

from inarch.data import open_image
from tests.pictures import chunk, encoded, pixels, raw_png


def palette(**options: object) -> bytes:
    image = Image.fromarray(pixels(1)[:, :, 0] % 4, mode=None)
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    return encoded(image, "PNG", **options)


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(pixels(2, 4, 6)), "PNG", exif=exif)


def rows(bits: int) -> bytes:
    return b"".join(b"\0" + pixels(3, 8, bits)[i, :, 0].tobytes() for i in range(8))


RGBA = Image.fromarray(np.random.default_rng(4).integers(0, 256, (8, 8, 4), dtype=np.uint8))
PICTURES = {
    "rgb png": encoded(Image.fromarray(pixels()), "PNG"), "rgb bmp": encoded(Image.fromarray(pixels()), "BMP"),
    "rgb webp, lossless": encoded(Image.fromarray(pixels()), "WEBP", lossless=True),
    "grey": encoded(Image.fromarray(pixels()[:, :, 0]), "PNG"), "1 bit": raw_png(8, 8, 1, 0, rows(1)),
    "2 bit grey": raw_png(8, 8, 2, 0, rows(2)), "4 bit grey": raw_png(8, 8, 4, 0, rows(4)),
    "16 bit grey": raw_png(8, 8, 16, 0, rows(16)), "16 bit rgb": raw_png(8, 8, 16, 2, rows(48)),
    "16 bit rgba": raw_png(8, 8, 16, 6, rows(64)),
    "grey and alpha": encoded(RGBA.convert("LA"), "PNG"), "rgba": encoded(RGBA, "PNG"),
    "palette": palette(), "palette and alpha": palette(transparency=bytes([0, 90, 180, 255])),
    "palette, one clear": palette(transparency=2),
    "rgb, one clear": raw_png(8, 8, 8, 2, rows(24), extra=chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3))),
    **{f"EXIF {n}": turned(n) for n in range(1, 9)},
}
GOLDEN = {
    "rgb png": "9ffa466f52c3bd02", "rgb bmp": "9ffa466f52c3bd02",
    "rgb webp, lossless": "9ffa466f52c3bd02", "grey": "6df2f756163630fa",
    "1 bit": "6b84c9e56b7450d8", "2 bit grey": "ce69503997b23539",
    "4 bit grey": "d4de52ab8f2155e1", "16 bit grey": "b65da961ebc197af",
    "16 bit rgb": "28415995ab1514f2", "16 bit rgba": "d20b36146cf194f9",
    "grey and alpha": "df71b6a6f9bdefd0", "rgba": "9628fec2d7fa123c",
    "palette": "684ebcdadb40f5e1", "palette and alpha": "ef83727e9af3dec4",
    "palette, one clear": "d6ddde5c5a12462d", "rgb, one clear": "255763f14ae92705",
    "EXIF 1": "a0e0f1e304e91da8", "EXIF 2": "354bceaa9ee8ace6",
    "EXIF 3": "c72cc55f308ef246", "EXIF 4": "e92c62b5fa814f70",
    "EXIF 5": "6576fe21b4f9005f", "EXIF 6": "daa62204cb2a148b",
    "EXIF 7": "aa4f078a8af83a8d", "EXIF 8": "22d8cc2f6b6e0b58",
}


@pytest.mark.row("C6", "palette with and without alpha, 1 to 16 bits of grey, 16 bits of colour, grey with alpha, EXIF 1 to 8")
@pytest.mark.parametrize("kind", PICTURES)
def test_one_value(kind: str) -> None:
    """Decoded to one RGB image, by its hash."""
    image = open_image(PICTURES[kind])
    found = hashlib.sha256(str(image.size).encode() + image.tobytes()).hexdigest()[:16]
    assert image.mode == "RGB" and found == GOLDEN[kind]


def test_the_pictures_are_what_they_are_called() -> None:
    modes = {kind: Image.open(io.BytesIO(data)).mode for kind, data in PICTURES.items()}
    kinds = {"1 bit": "1", "16 bit grey": "I;16", "palette": "P", "grey and alpha": "LA", "rgba": "RGBA"}
    assert {kind: modes[kind] for kind in kinds} == kinds
