"""Tiny few-shot data sets, written in the formats in which the fifteen published ones come: same folders, files and keys.

    write_sets(root)                all fifteen below one root, a few coloured shapes each
    write_split(file, images)       one split file of CoOp's form with its images
    write_sample(root, name, k)     a sample of one of them as 2SFS publishes them

A class is a colour and a shape (``NAMES``); a picture shows it somewhere. No two pictures are equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw

from inarch.data.fewshot import SETS
from inarch.data.fewshot.sets import Published

COLOURS = {"red": (210, 40, 40), "green": (40, 160, 60), "blue": (50, 70, 210), "yellow": (225, 200, 40)}
SHAPES = ("square", "circle", "bar", "frame")
NAMES = tuple(f"{colour}_{shape}" for shape in SHAPES for colour in COLOURS)
SIZES = {"train": 6, "val": 5, "test": 3}  # images per class
SUFFIX = {"ImageNet": ".JPEG", "ImageNetSketch": ".JPEG", "ImageNetV2": ".jpeg"}

Row = tuple[str, int, str]


def picture(label: int, number: int, side: int = 32) -> Image.Image:
    """A shape of class ``label`` on grey; ``number`` moves it and marks a corner."""
    colour, shape = list(COLOURS.values())[label % 4], SHAPES[label // 4 % 4]
    image = Image.new("RGB", (side, side), (128, 128, 128))
    draw = ImageDraw.Draw(image)
    size = side // 2
    x, y = 1 + number % 7 * (side - size - 2) // 6, 1 + number // 7 % 7 * (side - size - 2) // 6
    box = (x, y, x + size, y + (size // 3 if shape == "bar" else size))
    if shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "frame":
        draw.rectangle(box, outline=colour, width=3)
    else:
        draw.rectangle(box, fill=colour)
    draw.rectangle((0, side - 1, side, side), fill=(number % 8 * 30, number // 8 % 8 * 30, label * 15))
    return image


def save(path: Path, label: int, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(label, number).save(path)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def rows_of(classes: int, sizes: dict[str, int], prefix: str = "") -> dict[str, list[Row]]:
    """Rows of a split file, classes interleaved as nobody may rely on their order."""
    return {
        part: [(f"{prefix}{NAMES[c]}/{part}_{i:03}.jpg", c, NAMES[c]) for i in range(count) for c in range(classes)]
        for part, count in sizes.items()
    }


def write_split(file: Path, images: Path, classes: int = 4, sizes: dict[str, int] = SIZES, prefix: str = "") -> dict[str, list[Row]]:
    """The split file and its images; returns its rows."""
    rows = rows_of(classes, sizes, prefix)
    for number, (path, label, _) in enumerate(row for part in rows.values() for row in part):
        save(images / path, label, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rows, indent=4))
    return rows


def wnid(label: int) -> str:
    return f"n{1_440_764 + 1_000 * label:08}"


def classnames(classes: int) -> list[str]:
    return [f"{wnid(c)} {NAMES[c].replace('_', ' ')}" for c in range(classes)]


def write_sets(root: Path, classes: int = 4, sizes: dict[str, int] = SIZES, names: Iterable[str] = SETS) -> Path:
    """The data sets ``names`` below ``root``, ``classes`` classes each (at most 16), ImageNet-A and -R with half of them."""
    for name in names:
        row = SETS[name]
        WRITERS[row.layout](root / row.folder, row, classes, sizes)
    return root


def _split(place: Path, row: Published, classes: int, sizes: dict[str, int]) -> None:
    write_split(place / row.split, place / row.images, classes, sizes, "cars_train/" if row.name == "StanfordCars" else "")


def _imagenet(place: Path, row: Published, classes: int, sizes: dict[str, int]) -> None:
    write_lines(place / "classnames.txt", classnames(classes))
    for part, count in (("train", sizes["train"]), ("val", sizes["test"])):
        for c in range(classes):
            for i in range(count):
                save(place / row.images / part / wnid(c) / f"{wnid(c)}_{i}{SUFFIX['ImageNet']}", c, 100 * (part == "val") + i)


def _aircraft(place: Path, row: Published, classes: int, sizes: dict[str, int]) -> None:
    variants = [NAMES[c].replace("_", "-") for c in range(classes - 1)] + ["DC 10"]  # a name may hold a blank
    write_lines(place / "variants.txt", variants)
    number = 0
    for part, count in sizes.items():
        lines = []
        for c in range(classes):
            for _ in range(count):
                save(place / row.images / f"{number:07}.jpg", c, number)
                lines.append(f"{number:07} {variants[c]}")
                number += 1
        write_lines(place / f"images_variant_{part}.txt", lines)


def _numbered(place: Path, row: Published, classes: int, sizes: dict[str, int]) -> None:
    write_lines(place / "classnames.txt", classnames(classes))
    for c in range(classes):
        for i in range(sizes["test"]):
            save(place / row.images / str(c) / f"{i:08x}{SUFFIX['ImageNetV2']}", c, 200 + i)


def _wnids(place: Path, row: Published, classes: int, sizes: dict[str, int]) -> None:
    """A and R hold every second class only, and a README beside the folders."""
    write_lines(place / "classnames.txt", classnames(classes))
    few = row.name != "ImageNetSketch"
    for c in range(1, classes, 2) if few else range(classes):
        for i in range(sizes["test"]):
            save(place / row.images / wnid(c) / f"{i}{SUFFIX.get(row.name, '.jpg')}", c, 300 + i)
    if few:
        write_lines(place / row.images / "README.txt", ["images of some classes"])


WRITERS = {"split": _split, "imagenet": _imagenet, "aircraft": _aircraft, "numbered": _numbered, "wnids": _wnids}


def write_sample(root: Path, name: str, shots: int, seed: int = 1) -> Path:
    """``shot_K-seed_S_{train,val}.jsonl`` of the split file of ``name``: the first images of each class."""
    row = SETS[name]
    rows = json.loads((root / row.folder / row.split).read_text())
    folder = root / row.folder / "split_fewshot"
    for part, k in (("train", shots), ("val", min(shots, 4))):
        taken: dict[int, list[str]] = {}
        for path, label, classname in rows[part]:
            item = {"_impath": f"{row.folder}/{row.images}/{path}", "_label": label, "_domain": 0, "_classname": classname}
            taken.setdefault(label, []).append(json.dumps(item))
        write_lines(folder / f"shot_{shots}-seed_{seed}_{part}.jsonl", [line for label in taken for line in taken[label][:k]])
    return folder / f"shot_{shots}-seed_{seed}_train.jsonl"
