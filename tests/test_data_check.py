"""``check`` lists all that is wrong and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from inarch.cli import main
from inarch.data import check
from inarch.errors import DataError
from tests.pictures import encoded, pixels, png_bytes, raw_png, three_parts


@pytest.fixture
def data(tmp_path):
    return three_parts(tmp_path / "data")


def test_good_data(data):
    report = check(data)
    assert report.problems == [] and report.warnings == []
    assert report.counts == {"train": 10, "val": 3, "test": 4, "classes": 2, "bad": 0}


@pytest.mark.row("C1", "empty, text as .jpg, truncated JPEG, PNG and WebP, other formats, bombs, a dangling link")
def test_every_bad_file_is_listed_with_its_reason(data, tried, capsys):
    """`inarch check-data` lists all bad files with the reason (exit 3) and changes nothing."""
    jpeg, webp = (encoded(Image.fromarray(pixels(0, 64, 64)), kind) for kind in ("JPEG", "WEBP"))
    bad = {
        "empty.jpg": (b"", "empty (0 bytes)"),
        "text.jpg": (b"just words", "not an image"),
        "cut.jpg": (jpeg[:-500], "truncated"),
        "cut.png": (png_bytes()[:60], "truncated"),
        "cut.webp": (webp[:200], "a WEBP file that cannot be decoded"),
        "gif.png": (encoded(Image.fromarray(pixels()), "GIF"), "a GIF file"),
        "scan.tiff": (encoded(Image.fromarray(pixels()), "TIFF"), "a TIFF file"),
        "huge.png": (raw_png(7_200, 7_200, 1, 0, b""), "7200 x 7200 pixels"),
        "bomb.png": (raw_png(20_000, 20_000, 1, 0, b""), "400000000 pixels"),
    }
    for i, (name, (content, _)) in enumerate(bad.items()):
        (data / ("train", "val", "test")[i % 3] / "cat" / name).write_bytes(content)
    (data / "test" / "dog" / "gone.jpg").symlink_to(data / "nowhere.jpg")
    before = sorted(file.stat().st_mtime_ns for file in data.rglob("*.png"))
    report = check(data)
    found = {problem.file.rsplit("/", 1)[1]: problem.reason for problem in report.problems}
    assert len(report.problems) == len(bad) + 1 == report.counts["bad"]
    for name, (_, reason) in bad.items():
        assert reason in found[name], found[name]
    assert found["gone.jpg"].startswith("dangling link")
    assert main(["check-data", str(data)]) == 3
    said = capsys.readouterr()
    assert all(f"/{name}: " in said.out and reason in said.out for name, (_, reason) in bad.items())
    assert f"{len(bad) + 1} problem(s), listed above" in said.err and f"bad {len(bad) + 1}" in said.out
    tried(len(bad) + 1)
    assert sorted(file.stat().st_mtime_ns for file in data.rglob("*.png")) == before


@pytest.mark.row("C12", "copies of training images in val and test, equal in bytes or in pixels only")
def test_pictures_shared_between_parts_are_counted(data):
    """A warning counts them, per pair of parts."""
    for i in (0, 1):
        image = Image.open(data / "train" / "cat" / f"{i}.png")
        image.save(data / "test" / "cat" / f"again {i}.bmp")  # other bytes, equal pixels
    (data / "train" / "dog" / "again.png").write_bytes((data / "train" / "dog" / "0.png").read_bytes())
    (data / "val" / "dog" / "again.png").write_bytes((data / "train" / "dog" / "0.png").read_bytes())
    assert check(data).warnings == [
        "2 images (equal pixels) are in train and in test; the score on test is too good",
        "1 images (equal pixels) are in train and in val; the score on val is too good",
        "1 images of train repeat another one of train, pixel for pixel",
    ]


@pytest.mark.row("C12", "equal rows of x_train and x_test")
def test_shared_rows_of_arrays_are_counted(tmp_path):
    """A warning counts them."""
    x = np.stack([pixels(seed) for seed in range(6)])
    np.savez(tmp_path / "a.npz", x_train=x, y_train=[0, 1] * 3, x_test=x[2:4], y_test=[0, 1], classes=["n", "y"])
    assert check(tmp_path / "a.npz").warnings[0].startswith("2 images (equal pixels) are in train and in test")


@pytest.mark.row("C1", "a good PNG called .jpg")
def test_suffix_that_lies_is_a_warning(data):
    """Read by its content, with a note that names it."""
    (data / "train" / "cat" / "really a png.jpg").write_bytes(png_bytes(55))
    report = check(data)
    assert report.problems == []
    assert report.warnings == [
        "1 images are of another format than their suffix says (first: train/cat/really a png.jpg)",
    ]


def test_file_limit_is_a_choice(data):
    assert check(data, max_pixels=63).counts["bad"] == 17


def test_stored_classes_are_compared(data):
    assert ["emu" in problem.reason for problem in check(data, classes=("cat", "dog", "emu")).problems] == [True]


def test_progress_reaches_the_total(data):
    seen = []
    check(data, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 17) for i in range(1, 18)]


def test_nothing_to_check_is_an_error(tmp_path):
    with pytest.raises(DataError, match="accepted are"):
        check(tmp_path / "nothing here")
    assert [problem.reason for problem in check(tmp_path).problems] == ["no training images found"]
