"""What mini-vit sees: the training parts of eight image sets, as ``uint8[N, views, 64, 64, 3]`` with one label per image.

View 0 is the plain image; the others are seeded random crops and flips, drawn only where they leave the label true. An
image whose pixels also occur in a validation or test part of *any* of the sets is left out of training (the two NLVR sets
share scenes).
Files whose sha256 is not the recorded one are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inarch.errors import Corrupt, Incomplete

SIDE = 64
TEACHER = "vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors"
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Source:
    """One image set: what may be done to its images without changing the label, and the credit it is owed."""

    name: str
    flip: bool  # left-right
    crop: bool  # random resized crop
    shift: tuple[int, int]  # largest translation in pixels, (down, right)
    licence: str
    credit: str


NLVR = "Cornell NLVR v1, Suhr, Lewis, Yeh, Artzi 2017, github.com/lil-lab/nlvr; boxes cropped and resized"
EMOJI = (
    "Noto Emoji images, Google, Apache-2.0, github.com/googlefonts/noto-emoji; EmojiTwo artwork, CC BY 4.0, "
    "github.com/EmojiTwo/emojitwo; FxEmojis visual design, Mozilla, CC BY 4.0, github.com/mozilla/fxemoji; rendered and resized"
)
SOURCES = (
    Source("clothing10", True, True, (4, 4), "CC0-1.0",
           "Clothing dataset (small), Alexey Grigorev, github.com/alexeygrigorev/clothing-dataset-small"),
    Source("fruits71", True, True, (4, 4), "MIT",
           "Fruits-360 (2018), (c) 2017 Mihai Oltean, Horea Muresan, github.com/aparande/Fruit-Classification"),
    Source("eurosat10", True, True, (4, 4), "MIT",
           "EuroSAT RGB, Helber et al., github.com/phelber/EuroSAT; contains Copernicus Sentinel data"),
    Source("nlvr_count7", True, False, (2, 2), "CC BY 4.0", NLVR),
    Source("nlvr_xtop8", False, False, (2, 0), "CC BY 4.0", NLVR),
    Source("omniglot8", False, True, (3, 3), "MIT", "Omniglot, (c) 2015 Brenden Lake, github.com/brendenlake/omniglot"),
    Source("emoji3", True, True, (3, 3), "Apache-2.0, CC BY 4.0", EMOJI),
    Source("easy_vqa", True, False, (4, 4), "MIT", "easy-VQA, (c) 2019 Victor Zhou, github.com/vzhou842/easy-VQA"),
)

SHA256 = {
    "clothing10.npz": "db0d685df81294e0cc32158fce75bea83e3813734f87787568984e26e23afe33",
    "fruits71.npz": "cd51b4232ef2e95099dada6e1def6a6700f8c748844ebe4e11f141e66338654b",
    "eurosat10.npz": "ea0c3c08946dc1c0fef837f23da3be8a631a4687902d5a68e2eaa71762ea35bd",
    "nlvr_count7.npz": "9a7a0edc980313bb394b2d8a8d948e8c0eeb00ddadf8490085812770e45b5625",
    "nlvr_xtop8.npz": "420863230ca380dd14d239a67544c6f132bf005aa718a820229642f9f4dbdf7d",
    "omniglot8.npz": "4b1a4408226aa8de4b646b38037383703bde4bc603f5ac4177e3d22515619cf7",
    "emoji3.npz": "cc7b6b539752faa928a48e38dac876808fb9da95b23a66d6f17dfdc9277f6d9f",
    "easy_vqa.npz": "b9d2f647cf442a020836dd7489c20b52fe8455540dd86f172e612f7db0413205",
    TEACHER: "6aeefe0c40c515c96736468fcc4199e962095131c3e6e84d5e7b9f99b0bba2f4",
}


@dataclass(frozen=True)
class Part:
    """One set: ``train`` is learned from, ``val`` only measured; ``held`` are fingerprints of what must not be learned from."""

    source: Source
    classes: int
    x_train: Array
    y_train: Array
    x_val: Array
    y_val: Array
    held: frozenset[bytes]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path, names: Sequence[str] = tuple(SHA256)) -> None:
    """Every file is there and is byte for byte the one this script was written for."""
    for name in names:
        path, expected = folder / name, SHA256[name]
        if not path.is_file():
            raise Incomplete(f"{path}: not found; --data must hold {', '.join(names)}")
        if (found := sha256(path)) != expected:
            raise Corrupt(f"{path}: sha256 {found}, expected {expected}; fetch the recorded file again")


def fingerprints(images: Array) -> list[bytes]:
    return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in images]


def read(source: Source, folder: Path, seed: int) -> Part:
    """The reader of one set, by the layout of its file."""
    with np.load(folder / f"{source.name}.npz", allow_pickle=False) as file:
        if source.name == "emoji3":
            return read_emoji(source, file, seed)
        if source.name == "easy_vqa":
            return read_easy_vqa(source, file)
        held = frozenset(fingerprints(file["x_val"]) + fingerprints(file["x_test"]))
        return Part(source, len(file["classes"]), file["x_train"], file["y_train"], file["x_val"], file["y_val"], held)


def read_emoji(source: Source, file: Any, seed: int) -> Part:
    """All three vendors; label = category. Nine tenths of the *base* emoji train, one measures; the *novel* ones stay unseen."""
    category, images = np.unique(file["category"], return_inverse=True)[1], file["images"]
    train, val, novel = emoji_rows(file["is_base"], seed)
    x_train, x_val, x_novel = (images[:, chosen].reshape(-1, SIDE, SIDE, 3) for chosen in (train, val, novel))
    y_train, y_val = (np.tile(category[chosen], len(images)) for chosen in (train, val))
    held = frozenset(fingerprints(x_val) + fingerprints(x_novel))
    return Part(source, int(category.max()) + 1, x_train, y_train, x_val, y_val, held)


def emoji_rows(is_base: Array, seed: int) -> tuple[Array, Array, Array]:
    """Emoji that train, that measure, and that stay unseen."""
    order = np.random.default_rng([seed, 3]).permutation(np.flatnonzero(is_base))
    val, train = np.split(order, [len(order) // 10])
    return train, val, np.flatnonzero(is_base == 0)


def read_easy_vqa(source: Source, file: Any) -> Part:
    """Label = shape x colour, as far as the questions asked about an image give them away (-1: distilled only)."""
    words = list(COLOURS), list(SHAPES)
    told = np.full((2, len(file["images"])), -1)
    split = np.full(len(file["images"]), -1)
    split[file["image_id"]] = file["split"]
    asked, answers = file["questions"][file["question_id"]], file["answers"][file["answer_id"]]
    for image, question, answer in zip(file["image_id"], asked, answers, strict=True):
        told_by = affirmed(str(question), str(answer))
        for axis, known in enumerate(words):
            for word in told_by & set(known):
                told[axis, image] = known.index(word)
    label = np.where((told >= 0).all(0), told[0] * len(SHAPES) + told[1], -1)
    train, val = split == 0, (split == 1) & (label >= 0)
    held = frozenset(fingerprints(file["images"][split != 0]))
    return Part(source, len(COLOURS) * len(SHAPES), file["images"][train], label[train], file["images"][val], label[val], held)


def affirmed(question: str, answer: str) -> set[str]:
    """The words that a question and its answer say are true of the image; a negated or denied question says nothing."""
    asked = set(question.rstrip("?").split())
    return set() if answer == "no" or asked & {"no", "not"} else asked | {answer}


def load_parts(folder: Path, seed: int) -> list[Part]:
    """All sets; training images that occur in any set's validation or test part are dropped."""
    parts = [read(source, folder, seed) for source in SOURCES]
    held = frozenset().union(*(part.held for part in parts))
    return [without(part, held) for part in parts]


def without(part: Part, held: frozenset[bytes]) -> Part:
    keep = np.array([mark not in held for mark in fingerprints(part.x_train)])
    return Part(part.source, part.classes, part.x_train[keep], part.y_train[keep], part.x_val, part.y_val, part.held)


def plain(image: Array) -> Array:
    """RGB, both sides squashed to 64: what ``preprocess.json`` says, before the normalisation."""
    return np.asarray(Image.fromarray(image).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def crop_box(size: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A random rectangle of 55-100 % of the area and aspect 3/4 to 4/3."""
    area, ratio = rng.uniform(0.55, 1.0) * size * size, np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    width, height = min(size, np.sqrt(area * ratio)), min(size, np.sqrt(area / ratio))
    left, top = rng.uniform(0, size - width), rng.uniform(0, size - height)
    return left, top, left + width, top + height


def varied(image: Array, source: Source, rng: np.random.Generator) -> Array:
    """One random crop and flip of an image, where its set allows them."""
    picture = Image.fromarray(image).convert("RGB")
    box = crop_box(picture.width, rng) if source.crop else None
    picture = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(picture)
    return pixels[:, ::-1] if source.flip and rng.random() < 0.5 else pixels


def views(part: Part, count: int, seed: int) -> Array:
    """``uint8[N, count, 64, 64, 3]``: the plain image and ``count - 1`` seeded variations."""
    rng = np.random.default_rng([seed, SOURCES.index(part.source)])
    return np.stack([np.stack(list(variants(image, part.source, count, rng))) for image in part.x_train])


def variants(image: Array, source: Source, count: int, rng: np.random.Generator) -> Iterator[Array]:
    yield plain(image)
    for _ in range(count - 1):
        yield varied(image, source, rng)
