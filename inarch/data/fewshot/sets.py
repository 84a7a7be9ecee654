"""The eleven data sets of CoOp's benchmark and four shifted ImageNets: where CoOp's code expects them, and what was published.

    ROOT/folder/images      the image root: paths of the split file, or class folders, begin here
    split                   the split file in ROOT/folder; sets without one have a layout of their own (``layouts.py``)
    sizes                   published numbers of train, val and test images
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inarch.errors import ConfigError, nearest

Layout = Literal["split", "imagenet", "aircraft", "numbered", "wnids"]
PLAIN = "a photo of a {}."


@dataclass(frozen=True)
class Published:
    """One row of the table."""

    name: str
    folder: str
    images: str
    layout: Layout
    template: str  # CoOp's, for zero-shot CLIP
    classes: int
    sizes: tuple[int, int, int]
    split: str = ""


def _split(name: str, folder: str, images: str, template: str, classes: int, sizes: tuple[int, int, int]) -> Published:
    return Published(name, folder, images, "split", template, classes, sizes, f"split_zhou_{name}.json")


SETS = {
    published.name: published
    for published in (
        Published("ImageNet", "imagenet", "images", "imagenet", PLAIN, 1000, (1_281_167, 0, 50_000)),
        _split("Caltech101", "caltech-101", "101_ObjectCategories", PLAIN, 100, (4_128, 1_649, 2_465)),
        _split("OxfordPets", "oxford_pets", "images", "a photo of a {}, a type of pet.", 37, (2_944, 736, 3_669)),
        _split("StanfordCars", "stanford_cars", ".", PLAIN, 196, (6_509, 1_635, 8_041)),
        _split("OxfordFlowers", "oxford_flowers", "jpg", "a photo of a {}, a type of flower.", 102, (4_093, 1_633, 2_463)),
        _split("Food101", "food-101", "images", "a photo of {}, a type of food.", 101, (50_500, 20_200, 30_300)),
        Published("FGVCAircraft", "fgvc_aircraft", "images", "aircraft", "a photo of a {}, a type of aircraft.", 100, (3334, 3333, 3333)),
        _split("SUN397", "sun397", "SUN397", PLAIN, 397, (15_880, 3_970, 19_850)),
        _split("DescribableTextures", "dtd", "images", "{} texture.", 47, (2_820, 1_128, 1_692)),
        _split("EuroSAT", "eurosat", "2750", "a centered satellite photo of {}.", 10, (13_500, 5_400, 8_100)),
        _split("UCF101", "ucf101", "UCF-101-midframes", "a photo of a person doing {}.", 101, (7_639, 1_898, 3_783)),
        Published("ImageNetV2", "imagenetv2", "imagenetv2-matched-frequency-format-val", "numbered", PLAIN, 1000, (0, 0, 10_000)),
        Published("ImageNetSketch", "imagenet-sketch", "images", "wnids", PLAIN, 1000, (0, 0, 50_889)),
        Published("ImageNetA", "imagenet-adversarial", "imagenet-a", "wnids", PLAIN, 200, (0, 0, 7_500)),
        Published("ImageNetR", "imagenet-rendition", "imagenet-r", "wnids", PLAIN, 200, (0, 0, 30_000)),
    )
}
ALSO = {"dtd": "DescribableTextures", "flowers102": "OxfordFlowers", "pets": "OxfordPets", "cars": "StanfordCars",
        "aircraft": "FGVCAircraft"}  # fmt: skip
WORDS = {name.lower(): name for name in SETS} | ALSO


def published(name: str) -> Published:
    """The row of ``name``, in any case and with or without hyphens.

    >>> published("imagenet-a").folder
    'imagenet-adversarial'
    """
    found = WORDS.get(name.lower().replace("-", "").replace("_", ""))
    if found is None:
        raise ConfigError(f"data set {name!r}; {nearest(name, SETS)}")
    return SETS[found]
