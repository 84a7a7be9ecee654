"""Any accepted picture -> one defined RGB image, or a refusal with the reason; the header is judged before a pixel is decoded.

    grey, 1-bit, palette, YCbCr  repeated or looked up, 8 bit
    16-bit grey                  v * 255 / 65535, rounded (the full range, never a shift or a clip)
    alpha in any mode            composited on white
    CMYK                         Pillow's plain conversion, embedded colour profiles are not applied
    EXIF orientation 2..8        applied, so that the image is the one a viewer shows
    animation                    the first frame
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from inarch.errors import DataError

Source = Path | bytes | Image.Image | np.ndarray

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
MAX_PIXELS = 50_000_000
MAX_SIDE = 65_535  # a strip of 1 x 1,000,000 has few pixels, but resizing its short side would make billions

MAGIC = (  # (offset, bytes, format): enough to name a file that is refused, without calling its decoder
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WEBP"),
    (0, b"BM", "BMP"),
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "PSD"),
    (0, b"SIMPLE  =", "FITS"),
    (4, b"ftyp", "HEIC or AVIF"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
)

UPRIGHT = {  # EXIF orientation -> the operation that shows the picture as it was meant
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112


def shown(name: str | os.PathLike[str]) -> str:
    """A file name that any stream can print: bytes that are not UTF-8 and line breaks become escapes."""
    return os.fspath(name).encode("utf-8", "backslashreplace").decode().replace("\n", "\\n").replace("\r", "\\r")


def kind_of(head: bytes) -> str | None:
    """The image format that a file's first bytes announce, accepted or not."""
    return next((kind for at, magic, kind in MAGIC if head[at : at + len(magic)] == magic), None)


def open_image(source: Source, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Image.Image:
    """``source`` as an upright RGB image; raises ``DataError`` naming it (or ``name``) and the reason.

    >>> open_image(Path("cat.jpg")).mode
    'RGB'
    """
    called = name or (shown(source) if isinstance(source, str | os.PathLike) else f"<{type(source).__name__}>")
    try:
        return _rgb(source, max_pixels)
    except Exception as error:  # on hostile bytes a decoder may raise anything; all of it means: this picture is unusable
        raise DataError(f"{called}: {_reason(error)}") from error


def _rgb(source: Source, max_pixels: int) -> Image.Image:
    if isinstance(source, np.ndarray):
        _check_size(source.shape[1::-1], max_pixels)
        return to_rgb(_from_array(source))
    if isinstance(source, Image.Image):
        _check_size(source.size, max_pixels)
        return to_rgb(_upright(source))
    with io.BytesIO(source) if isinstance(source, bytes) else _regular(Path(source)).open("rb") as handle:
        return _decoded(handle, max_pixels)


def _decoded(handle: BinaryIO, max_pixels: int) -> Image.Image:
    try:
        with Image.open(handle, formats=FORMATS) as image:
            _check_size(image.size, max_pixels)
            image.load()
            return to_rgb(_upright(image))
    except (UnidentifiedImageError, OSError) as error:
        handle.seek(0)
        raise DataError(_damage(handle.read(32), error)) from error


def _regular(path: Path) -> Path:
    """``path``, unless opening it could block for ever (a pipe) or make no sense (a folder)."""
    if path.is_symlink() and not path.exists():
        raise DataError(f"dangling link to {shown(path.readlink())}")
    if not path.exists():
        raise DataError("no such file")
    if not path.is_file():
        raise DataError("not a regular file")
    return path


def _check_size(size: tuple[int, ...], max_pixels: int) -> None:
    if len(size) != 2 or min(size) < 1:
        raise DataError(f"image size {size}; expected a width and a height of at least 1")
    if size[0] * size[1] > max_pixels:
        raise DataError(f"{size[0]} x {size[1]} pixels; at most {max_pixels:,} are accepted: shrink it, or raise max_pixels")
    if max(size) > MAX_SIDE:
        raise DataError(f"{size[0]} x {size[1]} pixels; a side of at most {MAX_SIDE:,} is accepted: crop it")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF around a whole picture: viewers show it unrotated, and so do we
        return image
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """The conversions of the module's table."""
    if image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode.endswith(("A", "a")) or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    if image.mode == "F":
        raise DataError("an image of floating-point numbers has no defined range; convert it to 8 or 16 bits")
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image)
    return canvas.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 65_535:
        raise DataError(f"grey values from {values.min()} to {values.max()}; expected 0 to 65535")
    return ((values.astype(np.int64) * 255 + 32_767) // 65_535).astype(np.uint8)


def _from_array(pixels: np.ndarray) -> Image.Image:
    found = f"an array of {pixels.dtype} {pixels.shape}"
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype == np.uint16 and pixels.ndim == 2:
        pixels = _eight_bits(pixels)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise DataError(f"{found}; expected uint8 [height, width], [height, width, 3 or 4], or uint16 [height, width]")
    return Image.fromarray(pixels)


def _reason(error: Exception) -> str:
    if isinstance(error, DataError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return str(error).split(",")[0]  # the rest speaks of an attack; most often it is a scan
    return f"cannot be decoded: {error or type(error).__name__}"


def _damage(head: bytes, error: Exception) -> str:
    """Why a file that begins with ``head`` is no picture: empty, of another format, not an image, or damaged."""
    kind = kind_of(head)
    if not head:
        return "the file is empty (0 bytes)"
    if kind in FORMATS:
        found = "its header is damaged" if isinstance(error, UnidentifiedImageError) else str(error)
        return f"a {kind} file that cannot be decoded: {found}"
    found = f"a {kind} file" if kind else f"not an image (it begins with {head[:12]!r})"
    return f"{found}; accepted are {', '.join(FORMATS)}: convert it to PNG or JPEG"
