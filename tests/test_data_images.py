"""Every accepted kind of picture has one defined RGB value; every other input is refused with its reason, fast."""

from __future__ import annotations

import io
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inarch.data import open_image
from inarch.errors import DataError
from tests.pictures import chunk, encoded, pixels, raw_png

WHITE = 255


@contextmanager
def extra_memory() -> Iterator[Callable[[], float]]:
    """How many bytes the process needed at most beyond what it had, from here to the end of the block."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest amount so far
    before, most = memory("VmRSS"), []
    yield lambda: most[0] - before
    most.append(memory("VmHWM"))


def memory(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def opened(image: Image.Image, kind: str = "PNG", **options) -> np.ndarray:
    return np.asarray(open_image(encoded(image, kind, **options)))


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return colour * (alpha / 255) + WHITE * (1 - alpha / 255)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_rgb_comes_back_exactly(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(opened(Image.fromarray(pixels()), kind, **options), pixels())


def test_jpeg_is_what_pillow_decodes():
    stored = encoded(Image.fromarray(pixels()), "JPEG")
    np.testing.assert_array_equal(open_image(stored), np.asarray(Image.open(io.BytesIO(stored))))


def test_sources_agree(tmp_path):
    file = tmp_path / "a b.png"
    file.write_bytes(encoded(Image.fromarray(pixels()), "PNG"))
    for source in (file, file.read_bytes(), Image.fromarray(pixels()), pixels()):
        image = open_image(source)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(image, pixels())


def test_grey_is_repeated():
    grey = pixels()[:, :, 0]
    np.testing.assert_array_equal(opened(Image.fromarray(grey)), np.repeat(grey[:, :, None], 3, axis=2))
    np.testing.assert_array_equal(open_image(grey[:, :, None]), open_image(grey))


def test_one_bit_is_black_and_white():
    bits = np.array([[True, False, True]])
    expected = np.array([[[255] * 3, [0] * 3, [255] * 3]])
    np.testing.assert_array_equal(opened(Image.fromarray(bits)), expected)
    np.testing.assert_array_equal(open_image(bits), expected)


@pytest.mark.row("C6", "16-bit grey")
def test_sixteen_bit_grey_is_scaled_by_its_full_range():
    """v * 255 / 65535, rounded."""
    values = np.array([[0, 1, 127, 128, 129, 385, 386, 32768, 65407, 65535]], dtype=np.uint16)
    expected = np.rint(values * (255 / 65535)).astype(np.uint8)
    file = raw_png(values.shape[1], 1, 16, 0, b"\0" + values.astype(">u2").tobytes())
    for image in (open_image(file), open_image(values), open_image(Image.fromarray(values.astype(np.int32)))):
        np.testing.assert_array_equal(np.asarray(image)[:, :, 0], expected)


def test_grey_outside_sixteen_bits_is_refused():
    with pytest.raises(DataError, match="70000; expected 0 to 65535"):
        open_image(Image.fromarray(np.array([[70_000]], dtype=np.int32)))


def test_rgba_lies_on_white():
    rgba = np.random.default_rng(1).integers(0, 256, (16, 16, 4), dtype=np.uint8)
    found = opened(Image.fromarray(rgba)).astype(float)
    assert np.abs(found - over_white(rgba[:, :, :3], rgba[:, :, 3:])).max() <= 1
    np.testing.assert_array_equal(found, open_image(rgba))


def test_grey_with_alpha_lies_on_white():
    la = Image.fromarray(np.array([[[0, 0], [0, 255], [100, 51]]], dtype=np.uint8), mode=None)
    assert la.mode == "LA"
    np.testing.assert_array_equal(opened(la)[0, :, 0], [255, 0, 224])


def test_palette_with_alpha_lies_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    np.testing.assert_array_equal(opened(image), [[[10, 20, 30], [40, 50, 60]]])
    np.testing.assert_array_equal(opened(image, transparency=bytes([0, 255])), [[[255] * 3, [40, 50, 60]]])


def test_transparent_colour_of_a_grey_png_is_white():
    file = raw_png(2, 1, 8, 0, b"\0\x07\x09", extra=chunk(b"tRNS", struct.pack(">H", 7)))
    np.testing.assert_array_equal(np.asarray(open_image(file))[0, :, 0], [255, 9])


@pytest.mark.row("C6", "CMYK")
def test_cmyk_is_converted():
    """Pillow's plain conversion to RGB."""
    cyan, black = Image.new("CMYK", (8, 8), (255, 0, 0, 0)), Image.new("CMYK", (8, 8), (0, 0, 0, 255))
    np.testing.assert_allclose(opened(cyan, "JPEG", quality=100)[4, 4], [0, 255, 255], atol=2)
    np.testing.assert_allclose(opened(black, "JPEG", quality=100)[4, 4], [0, 0, 0], atol=2)


SHOWN = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.row("C6", "EXIF orientation 2 to 8 in PNG, WebP and JPEG")
@pytest.mark.parametrize("orientation", SHOWN)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_exif_rotation_is_applied(kind, orientation):
    """The image that a viewer shows."""
    blocks = np.kron(pixels(3, 2, 3), np.ones((16, 16, 1), dtype=np.uint8))  # 16 x 16 blocks: JPEG keeps them nearly exact
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    found = opened(Image.fromarray(blocks), kind, exif=exif, quality=100, **options)
    expected = SHOWN[orientation](blocks).astype(int)
    assert found.shape == expected.shape
    assert np.abs(found[8::16, 8::16] - expected[8::16, 8::16]).max() <= 6


@pytest.mark.row("C4", "damaged EXIF around a whole picture")
def test_damaged_or_absurd_exif_means_unrotated():
    """The picture, unrotated."""
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"):
        file = encoded(Image.fromarray(pixels()), "PNG", exif=exif)
        np.testing.assert_array_equal(open_image(file), pixels())


@pytest.mark.row("C4", "animated PNG and WebP")
def test_animation_gives_its_first_frame():
    """The first frame."""
    frames = [Image.fromarray(pixels(seed)) for seed in range(3)]
    for kind in ("PNG", "WEBP"):
        file = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        np.testing.assert_array_equal(open_image(file), pixels(0))


@pytest.mark.row("C7", "1 x 1, 1 x 5000 and 5000 x 1 images")
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_thin_images_work(shape):
    """Read as they are."""
    assert opened(Image.fromarray(pixels(0, *shape))).shape == (*shape, 3)


@pytest.mark.row("C1", "JPEG, PNG, WebP and BMP cut at 2, 10, 50 and 90 %")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_truncated_is_refused(kind, share, tmp_path):
    """`DataError` names file and format."""
    whole = encoded(Image.fromarray(pixels(0, 64, 64)), kind)
    file = tmp_path / "cut.png"
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=rf"cut\.png: a {kind} file that cannot be decoded: .+"):
        open_image(file)


REFUSED = {
    "GIF": encoded(Image.fromarray(pixels()), "GIF"),
    "TIFF": encoded(Image.fromarray(pixels()), "TIFF"),
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "PDF": b"%PDF-1.7\n",
    "PSD": b"8BPS\0\1" + bytes(40),
    "FITS": b"SIMPLE  =                    T",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "HEIC or AVIF": b"\0\0\0\x18ftypheic" + bytes(40),
}


@pytest.mark.row("C5", "GIF, TIFF, EPS, PDF, PSD, FITS, SVG, HEIC called .jpg")
@pytest.mark.parametrize("kind", REFUSED)
def test_other_formats_are_refused_by_name_without_their_decoder(kind, tmp_path, monkeypatch):
    """`DataError` names the format; no decoder of it is called."""
    Image.init()
    called = []
    for name in set(Image.OPEN) - {"JPEG", "PNG", "WEBP", "BMP"}:
        monkeypatch.setitem(Image.OPEN, name, (lambda *args, name=name: called.append(name), lambda head: True))
    file = tmp_path / "picture.jpg"
    file.write_bytes(REFUSED[kind])
    with pytest.raises(DataError, match=rf"picture\.jpg: a .*{kind} file; accepted are JPEG, PNG, WEBP, BMP"):
        open_image(file)
    assert called == []


@pytest.mark.row("C1", "text, nothing, a folder, a pipe, a link in place of an image")
def test_text_empty_missing_and_folder_are_refused(tmp_path, tried):
    """`DataError` says which, without waiting."""
    (tmp_path / "text.jpg").write_text("hello world")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    reasons = {
        "text.jpg": "not an image .it begins with b'hello world'",
        "empty.jpg": "the file is empty .0 bytes",
        "missing.jpg": "no such file",
        "folder.jpg": "not a regular file",
        "link.jpg": "dangling link to nowhere.jpg",
        "loop.jpg": "dangling link to loop.jpg",
        "pipe.jpg": "not a regular file",  # reading it would wait for ever
        "x" * 300: "cannot be read: File name too long",
    }
    for name, reason in reasons.items():
        with pytest.raises(DataError, match=rf"{name}: {reason}"):
            open_image(tmp_path / name)
        tried(1)


def test_unreadable_file_is_refused(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.jpg").write_bytes(encoded(Image.fromarray(pixels()), "JPEG"))
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DataError, match=r"a\.jpg: cannot be read: Permission denied"):
        open_image(tmp_path / "a.jpg")


def big_jpeg() -> bytes:
    small = bytearray(encoded(Image.fromarray(pixels()), "JPEG"))
    at = small.index(b"\xff\xc0") + 5
    small[at : at + 4] = struct.pack(">HH", 20_000, 20_000)
    return bytes(small)


BOMBS = {
    "400 Mpx png": raw_png(20_000, 20_000, 1, 0, bytes(1000)),
    "100 Mpx png": raw_png(10_000, 10_000, 8, 2, bytes(1000)),
    "51 Mpx png": raw_png(51_000, 1_000, 8, 0, bytes(1000)),
    "400 Mpx jpeg": big_jpeg(),
    "400 Mpx bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 20_000, 20_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "strip": raw_png(1_000_000, 1, 1, 0, bytes(1000)),
}


@pytest.mark.row("C3", "400, 100 and 51 megapixels, a strip of 1,000,000, as PNG, JPEG and BMP")
@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_from_the_header(bomb, monkeypatch):
    """`DataError` from the header; no pixel is decoded, less than 100 MB are used, at once (asked for: 0.2 s)."""
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("a pixel was decoded"))
    start = time.perf_counter()
    with extra_memory() as extra, pytest.raises(DataError, match="pixels"):
        open_image(BOMBS[bomb])
    assert time.perf_counter() - start < 2 and extra() < 100e6


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bomb_below_pillows_own_limit_is_refused():
    with pytest.raises(DataError, match=r"10000 x 10000 pixels; at most 50,000,000 are accepted"):
        open_image(BOMBS["100 Mpx png"])


@pytest.mark.row("C3", "a PNG of width 0")
def test_zero_width_is_refused():
    """`DataError`."""
    with pytest.raises(DataError, match="PNG file that cannot be decoded"):
        open_image(raw_png(0, 5, 8, 0, b"\0"))


NINE, TIFF_HEAD = Image.fromarray(np.full((1, 1, 3), 9, np.uint8)), b"Exif\0\0II*\0\x08\0\0\0"
LOADED = {
    "iCCP": raw_png(1, 1, 8, 0, b"\0\x09", extra=chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(50_000_000)))),
    "zTXt": raw_png(1, 1, 8, 0, b"\0\x09", extra=chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(50_000_000)))),
    "iTXt": raw_png(1, 1, 8, 0, b"\0\x09", extra=chunk(b"iTXt", b"c\0\1\0\0\0" + zlib.compress(bytes(50_000_000)))),
    "a thousand zTXt": raw_png(1, 1, 8, 0, b"\0\x09", extra=chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(900_000))) * 1000),
    "EXIF in a circle": encoded(NINE, "PNG", exif=TIFF_HEAD + b"\1\0i\x87\4\0\1\0\0\0\x08\0\0\0\0\0\0\0"),
    "EXIF of a billion values": encoded(NINE, "PNG", exif=TIFF_HEAD + b"\1\0\x12\1\5\0\0\0\0\x40\0\0\0\0\0\0\0\0"),
}


@pytest.mark.row("C4", "50 MB behind an iCCP, zTXt or iTXt chunk, a thousand of them, EXIF that is a circle or claims a billion values")
@pytest.mark.parametrize("kind", LOADED)
def test_bomb_in_metadata_stays_small(kind):
    """Refused or left out, with less than 100 MB."""
    with extra_memory() as extra:
        try:
            assert open_image(LOADED[kind]).getpixel((0, 0)) == (9, 9, 9)
        except DataError as error:
            assert "large" in str(error) or "memory" in str(error)
    assert extra() < 100e6


@pytest.mark.row("C4", "a GIF of 100,000 frames, a TIFF of many pages, an animated PNG that claims 2 ** 31 - 1 frames")
def test_many_frames(tried):
    """GIF and TIFF are refused by name; of the PNG the first frame is read."""
    frame = b"\x21\xf9\4\0\0\0\0\0\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"
    gif = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 100_000 + b";"
    pages = [Image.fromarray(pixels(seed)) for seed in range(20)]
    tiff = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    with extra_memory() as extra:
        for data, kind in ((gif, "GIF"), (tiff, "TIFF")):
            with pytest.raises(DataError, match=f"a {kind} file; accepted are"):
                open_image(data)
            tried(1)
        claims = chunk(b"acTL", struct.pack(">II", (1 << 31) - 1, 0))
        assert open_image(raw_png(1, 1, 8, 0, b"\0\x09", extra=claims)).getpixel((0, 0)) == (9, 9, 9)
        tried(1)
    assert extra() < 100e6


def test_arrays_that_are_no_pictures_are_refused():
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(DataError, match="expected"):
            open_image(wrong)
    with pytest.raises(DataError, match="floating-point"):
        open_image(Image.new("F", (2, 2)))


@pytest.mark.row("C1", "random bytes of good files changed")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_mutated_files_are_decoded_or_refused(kind, tried):
    """An RGB image or `DataError`, nothing else.

    Nothing but DataError may come out of a decoder, whatever the bytes.
    """
    whole, rng = encoded(Image.fromarray(pixels(0, 16, 16)), kind), np.random.default_rng(0)
    refused = 0
    for _ in range(250):
        bytes_ = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 200), 3):
            bytes_[at] = rng.integers(0, 256)
        try:
            assert open_image(bytes(bytes_)).mode == "RGB"
        except DataError as error:
            refused += str(error).startswith("<bytes>: ")
    assert refused > 10
    tried(250)


def test_max_pixels_is_a_choice():
    with pytest.raises(DataError, match=r"8 x 8 pixels; at most 63"):
        open_image(pixels(), max_pixels=63)
    assert open_image(pixels(), max_pixels=64).size == (8, 8)


def test_name_is_printable():
    with pytest.raises(DataError, match=r"a\\udcff\\n\.jpg: no such file") as caught:
        open_image(Path(os.fsdecode(b"a\xff\n.jpg")))
    str(caught.value).encode()
