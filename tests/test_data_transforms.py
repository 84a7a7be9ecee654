"""Transforms against a naive computation: resize, crop, mirror with Pillow, then (x / 255 - mean) / std in fp64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from inarch.data import Transform
from inarch.errors import ConfigError
from inarch.preprocess import INTERPOLATIONS, Preprocess
from tests.pictures import pixels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILTERS = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}


def normalised(image: Image.Image, mean=MEAN, std=STD) -> np.ndarray:
    x = np.asarray(image).astype(np.float64) / 255
    return np.stack([(x[:, :, c] - mean[c]) / std[c] for c in range(3)])


def close(found: torch.Tensor, expected: np.ndarray) -> None:
    assert found.dtype == torch.float32 and found.is_contiguous()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("shape", [(37, 53), (20, 20), (1, 9), (200, 31)])
def test_squash(interpolation, shape):
    image = Image.fromarray(pixels(1, *shape))
    transform = Transform(Preprocess(size=24, mean=MEAN, std=STD, interpolation=interpolation))
    close(transform(image), normalised(image.resize((24, 24), FILTERS[interpolation])))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("height", "width"), [(37, 53), (53, 37), (28, 28), (24, 100), (300, 299), (31, 28), (28, 31)])
def test_crop(interpolation, height, width):
    image = Image.fromarray(pixels(2, height, width))
    transform = Transform(Preprocess(size=24, resize=28, fit="crop", mean=MEAN, std=STD, interpolation=interpolation))
    if width <= height:
        resized = image.resize((28, int(28 * height / width)), FILTERS[interpolation])
    else:
        resized = image.resize((int(28 * width / height), 28), FILTERS[interpolation])
    left, top = round((resized.width - 24) / 2.0), round((resized.height - 24) / 2.0)
    close(transform(image), normalised(resized.crop((left, top, left + 24, top + 24))))


def test_crop_without_margin():
    image = Image.fromarray(pixels(3, 40, 60))
    transform = Transform(Preprocess(size=20, fit="crop"))
    half = (0.5,) * 3
    close(transform(image), normalised(image.resize((30, 20), Image.BICUBIC).crop((5, 0, 25, 20)), half, half))


def test_values_of_black_and_white():
    transform = Transform(Preprocess(size=2))
    assert transform(Image.new("RGB", (5, 5), "black")).unique().tolist() == [-1]
    assert transform(Image.new("RGB", (5, 5), "white")).unique().tolist() == [1]


def test_channels_stay_in_order():
    x = Transform(Preprocess(size=2))(Image.new("RGB", (2, 2), (255, 0, 127)))
    assert x.shape == (3, 2, 2) and x[0].min() == 1 and x[1].max() == -1 and abs(float(x[2, 0, 0])) < 0.01


@pytest.mark.parametrize("key", [(0, 0, 0), (0, 1, 5), (7, 3, 2), (123456789, 99, 10**6)])
def test_fgvc(key):
    image = Image.fromarray(pixels(4, 90, 60))
    rng = np.random.default_rng(key)
    resized = image.resize((64, 96), Image.BICUBIC)  # 56 * 256 / 224 = 64
    left, top = int(rng.integers(0, 9)), int(rng.integers(0, 41))
    expected = normalised(resized.crop((left, top, left + 56, top + 56)))
    expected = expected[:, :, ::-1] if rng.random() < 0.5 else expected
    close(Transform(Preprocess(size=56, mean=MEAN, std=STD), "fgvc")(image, key=key), expected)


def test_flip_is_none_or_its_mirror():
    image = Image.fromarray(pixels(5, 30, 30))
    plain, flip = Transform(Preprocess(size=24)), Transform(Preprocess(size=24), "flip")
    mirrored = 0
    for index in range(200):
        x = flip(image, key=(0, 0, index))
        is_mirror = torch.equal(x, plain(image).flip(2))
        assert is_mirror or torch.equal(x, plain(image))
        mirrored += is_mirror
    assert 75 <= mirrored <= 125


def test_fgvc_reaches_every_crop():
    """The corners are as likely as the middle: each of the 9 x 9 crops of a square image, and both mirrors."""
    image = Image.fromarray(pixels(6, 64, 64))
    transform = Transform(Preprocess(size=56), "fgvc")
    seen = {transform(image, key=(0, 0, i)).numpy().tobytes() for i in range(1500)}
    assert len(seen) == 162


def test_same_key_same_view():
    image, transform = Image.fromarray(pixels(7, 50, 50)), Transform(Preprocess(size=32), "fgvc")
    views = {key: transform(image, key=key) for key in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 2)]}
    for key, view in views.items():
        assert torch.equal(view, transform(image, key=key))
    assert len({view.numpy().tobytes() for view in views.values()}) == 4


def test_none_ignores_the_key():
    image, transform = Image.fromarray(pixels(8, 50, 50)), Transform(Preprocess(size=32))
    assert torch.equal(transform(image), transform(image, key=(3, 2, 1)))


@pytest.mark.row("C7", "1 x 5000 and 5000 x 1 images through resize and crop")
@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1)])
@pytest.mark.parametrize("augment", ["none", "fgvc"])
def test_strips_need_no_memory(shape, augment):
    """The window alone is computed.

    Resized whole, a 1 x 5000 strip would have 327 million pixels; the window alone is what a slice of it gives.
    """
    strip = pixels(9, *shape)
    transform = Transform(Preprocess(size=224, resize=256, fit="crop", interpolation="nearest"), augment)
    assert transform(Image.fromarray(strip), key=(0, 0, 0)).shape == (3, 224, 224)
    if augment == "none":
        middle = strip[2499:2501] if shape[0] > 1 else strip[:, 2499:2501]
        found = transform.pixels(Image.fromarray(strip))
        np.testing.assert_array_equal(np.unique(found.reshape(-1, 3), axis=0), np.unique(middle.reshape(-1, 3), axis=0))


def test_bad_choices_are_refused():
    with pytest.raises(ConfigError, match="augment 'fgcv'; did you mean 'fgvc'"):
        Transform(Preprocess(), "fgcv")
    with pytest.raises(ConfigError, match=r"pass key=\(seed, epoch, index\)"):
        Transform(Preprocess(), "flip")(Image.new("RGB", (4, 4)))
