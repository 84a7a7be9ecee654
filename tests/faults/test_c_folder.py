"""A dirty folder, twenty-one ways: what is trained on is the user's own samples under the user's own classes, or nothing at all."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inarch.data import Splits, load_splits
from inarch.data.images import UPRIGHT
from inarch.errors import DataError
from tests.pictures import class_folders, encoded, pixels, png_bytes, raw_png, three_parts

CLASSES = ("cat", "dog")
Change = Callable[[Path], object]


def put(name: str, data: bytes) -> Change:
    def change(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)

    return change


def cut(kind: str) -> bytes:
    return encoded(Image.fromarray(pixels(7, 64, 64)), kind)[:-900]


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(pixels(8, 4, 6)), "PNG", exif=exif)


def link(name: str, target: str) -> Change:
    return lambda root: (root / name).symlink_to(target)


def one_class_less(root: Path) -> None:
    shutil.rmtree(root / "val" / "cat")


REFUSED: dict[str, tuple[Change, str]] = {
    "an empty file": (put("train/cat/x.jpg", b""), r"x\.jpg: the file is empty"),
    "text": (put("train/cat/x.jpg", b"words"), r"x\.jpg: not an image"),
    "half a JPEG": (put("train/cat/x.jpg", cut("JPEG")), r"x\.jpg: a JPEG file that cannot be decoded"),
    "half a PNG": (put("train/cat/x.png", cut("PNG")), r"x\.png: a PNG file that cannot be decoded"),
    "half a WebP": (put("val/cat/x.webp", cut("WEBP")), r"x\.webp: a WEBP file that cannot be decoded"),
    "a dangling link": (link("train/dog/x.png", "nowhere.png"), r"x\.png: dangling link"),
    "a link that leaves the folder": (link("train/dog/x.png", "/etc/hostname"), r"x\.png: a link that leaves"),
    "400 megapixels": (put("test/cat/x.png", raw_png(20_000, 20_000, 1, 0, b"")), r"x\.png: .*400000000 pixels"),
    "100 megapixels": (put("test/cat/x.png", raw_png(10_000, 10_000, 1, 0, b"")), r"x\.png: .*10000.* pixels"),
    "a GIF called .jpg": (put("train/dog/x.jpg", encoded(Image.fromarray(pixels()), "GIF")), r"x\.jpg: a GIF file; accepted"),
    "an empty class in train": (lambda root: (root / "train" / "emu").mkdir(), "emu: a class folder without images"),
    "a class that only val has": (put("val/emu/x.png", png_bytes(70)), "class 'emu' of val is not among the training data"),
    "an image in the root": (put("x.png", png_bytes(71)), r"1 images lie beside the class folders"),
    "classes that differ in case": (put("train/Cat/x.png", png_bytes(72)), "'Cat' and 'cat' differ only in case"),
    "classes in two Unicode forms": (
        lambda root: [put(f"train/{unicodedata.normalize(form, 'é')}/x.png", png_bytes(seed))(root)
                      for seed, form in ((73, "NFC"), (74, "NFD"))],
        "differ only in case or Unicode form"),
    "a blank after a class": (put("train/dog /x.png", png_bytes(75)), "begins or ends with a blank"),
}
KEPT: dict[str, tuple[Change, dict[str, str]]] = {  # what is there besides the clean folder's samples, by file, with its class
    "a PNG called .jpg": (put("train/cat/x.jpg", png_bytes(76)), {"train/cat/x.jpg": "cat"}),
    "EXIF rotation": (put("train/dog/x.png", turned()), {"train/dog/x.png": "dog"}),
    "a class that val lacks": (one_class_less, {}),
    ".ipynb_checkpoints": (put("train/.ipynb_checkpoints/x.png", png_bytes(77)), {}),
    "equal names below two classes": (lambda root: [put(f"train/{c}/same/x.png", png_bytes(78 + i))(root) for i, c in enumerate(CLASSES)],
                                      {f"train/{c}/same/x.png": c for c in CLASSES}),
}


def samples(splits: Splits, root: Path) -> dict[str, str]:
    """Every sample's file with the class that its label stands for; each must be exactly what is in that file."""
    found = {}
    for table in (splits.train, splits.val, splits.test):
        for i, name in enumerate(table.names if table is not None else ()):
            np.testing.assert_array_equal(np.asarray(table.image(i)), seen(Path(name)))
            found[os.path.relpath(name, root)] = splits.classes[table.labels[i]]
    return found


def seen(file: Path) -> np.ndarray:
    """What a viewer shows of it."""
    with Image.open(file) as image:
        turn = UPRIGHT.get(image.getexif().get(0x0112))
        return np.asarray((image if turn is None else image.transpose(turn)).convert("RGB"))


@pytest.mark.row("C11", "a dirty data folder, 21 ways: another sample or another class list than the user's")
@pytest.mark.parametrize("case", [*REFUSED, *KEPT])
def test_a_dirty_folder_never_changes_what_is_learned(tmp_path: Path, case: str) -> None:
    """Never: 16 are refused by name, in 5 every sample and class is the user's own."""
    root = three_parts(tmp_path / "data")
    clean = {str(file.relative_to(root)): file.parent.name for file in root.rglob("*.png")}
    if case in REFUSED:
        change, reason = REFUSED[case]
        change(root)
        with pytest.raises(DataError, match=reason):
            load_splits(root)
        return
    change, more = KEPT[case]
    change(root)
    splits = load_splits(root)
    assert splits.classes == CLASSES
    assert samples(splits, root) == {file: label for file, label in clean.items() if (root / file).exists()} | more


def test_there_are_twenty_one() -> None:
    assert len(REFUSED) + len(KEPT) == 21


@pytest.mark.row("C13", "a loop of links through a part of the data")
def test_links_in_a_circle_are_walked_once(tmp_path: Path) -> None:
    """`DataError` names the link; the walk ends."""
    root = class_folders(tmp_path / "data", {"a": 2, "b": 2})
    (root / "a" / "one").mkdir()
    (root / "a" / "one" / "two").symlink_to(root / "a")
    (root / "b" / "here").symlink_to(".")
    with pytest.raises(DataError, match=r"two: a link to a folder that contains it.*\n.*here: a link to a folder that contains it"):
        load_splits(root)
