"""Rows of frozen blocks in a folder: the same run, found again by the next one, and nothing that is not of this net is ever read."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from nursery import Nursery
from PIL import Image
from test_behind import calls, outcome

import inarch
from inarch import backbones
from inarch.data import Transform
from inarch.errors import ConfigError, Corrupt, StorageError
from inarch.features import open_store
from inarch.preprocess import Preprocess
from inarch.recipe import Recipe
from inarch.train import train
from inarch.training.features import lone_head
from inarch.training.shelf import frozen_numbers

UPPER = {"method": "arc", "set": {"rank": 2, "layers": "-1:"}, "epochs": 3}
SCORED = 7 + 9  # by the whole net, at the end


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


@dataclass(frozen=True)
class Made:
    """A run with a cache, and the losses of it."""

    cache: Path
    losses: list[float]

    def again(self, nursery: Nursery, folder: Path) -> tuple[Recipe, list[Path]]:
        """The same run to be, with a copy of the cache in ``folder``; and the stores in that."""
        shutil.copytree(self.cache, folder / "cache")
        return nursery.recipe(folder / "again", **UPPER, cache_folder=str(folder / "cache")), stores(folder / "cache")


@pytest.fixture(scope="module")
def made(nursery, tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    return Made(folder / "cache", outcome(train(nursery.recipe(folder / "run", **UPPER, cache_folder=str(folder / "cache"))))[0])


def stores(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


@pytest.mark.parametrize("settings", [{"method": "linear"}, pytest.param(UPPER | {"augment": "flip"}, marks=pytest.mark.long)])
def test_the_run_is_the_same_to_the_last_bit(nursery, tmp_path, settings):
    """Plainly, from memory, from a folder that is written, and from one that is found."""
    cache = str(tmp_path / "cache")
    ways = {"plain": {"cache_features": False}, "memory": {}, "written": {"cache_folder": cache}, "found": {"cache_folder": cache}}
    losses = {name: outcome(train(nursery.recipe(tmp_path / name, **settings, **way)))[0] for name, way in ways.items()}
    assert losses["plain"] == losses["memory"] == losses["written"] == losses["found"]
    assert len(stores(tmp_path / "cache")) == (3 if "augment" in settings else 2)  # of train in one view or two, and of val
    train(nursery.recipe(tmp_path / "still", **settings | {"augment": "none", "epochs": 1}, cache_folder=cache))
    assert len(stores(tmp_path / "cache")) == (3 if "augment" in settings else 2)  # the first of two views is the plain one


def test_a_later_run_asks_the_frozen_blocks_for_a_batch_alone(nursery, tmp_path, monkeypatch, made):
    """Another rank, rate and seed: what lies below is the same, so it is read, and proved by the first batch of each part."""
    _, places = made.again(nursery, tmp_path)
    other = {"set": {"rank": 3, "layers": "-1:"}, "lr": 0.01, "seed": 7, "cache_folder": str(tmp_path / "cache")}
    below, above = calls(monkeypatch, nursery.recipe(tmp_path / "second", **UPPER | other))
    first = 8 + (8 + 7)
    assert (below, above) == (first + SCORED, first + 8 + 3 * (22 + 7) + SCORED)
    assert stores(tmp_path / "cache") == places


@pytest.mark.long
def test_narrow_rows_take_half_and_give_about_the_same(nursery, tmp_path, made):
    for dtype in ("fp16", "bf16"):
        runs = [train(nursery.recipe(tmp_path / f"{dtype}{folder}", **UPPER, cache_dtype=dtype, cache_folder=folder))
                for folder in ("", str(tmp_path / "cache"))]
        losses = [outcome(run)[0] for run in runs]
        assert losses[0] == losses[1] != made.losses and losses[0] == pytest.approx(made.losses, rel=0.02)
    sizes = [(place / "features.npy").stat().st_size for place in stores(tmp_path / "cache") if len(open_store(place)) == 22]
    assert sizes == [128 + 22 * 5 * 16 * 2] * 2


@pytest.mark.parametrize(("settings", "said"), [
    ({"set": {"rank": 2}}, "the first block is adapted"),
    ({"augment": "fgvc"}, "in more ways than can be counted"),
    ({"backbone_noise": True}, "backbone_noise"),
    ({"cache_features": False}, "need cache_features"),
    ({"backbone": "mini-vl", "method": "lora", "thaw": (), "set": {}}, "of classification"),
])
def test_where_nothing_can_be_kept_the_reason_is_said(nursery, tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        train(nursery.recipe(tmp_path / "run", **UPPER | settings, cache_folder=str(tmp_path / "cache")))


@pytest.mark.long
def test_numbers_too_large_for_half_are_refused(nursery, tmp_path, monkeypatch):
    real = backbones.load

    def louder(*args, **kwargs):
        found = real(*args, **kwargs)
        found.model.vit.embeddings.cls_token.data += 1e6
        return found
    monkeypatch.setattr(backbones, "load", louder)
    with pytest.raises(ConfigError, match="no number in float16; use cache_dtype='bf16'"):
        train(nursery.recipe(tmp_path / "run", **UPPER, cache_folder=str(tmp_path / "cache"), cache_dtype="fp16"))
    assert stores(tmp_path / "cache") == []


def test_one_other_number_in_a_frozen_block_is_another_store(nursery):
    """Not a sample of the values, as a fingerprint takes: every one of them."""
    one, two = (inarch.graft(backbones.load(nursery.vit, classes=3).model, inarch.ARC(rank=2, layers="-1:"), thaw="head") for _ in range(2))
    assert lone_head(one) is None and frozen_numbers(one) == frozen_numbers(two)  # heads and adapters are drawn anew
    with torch.no_grad():
        two.vit.layers[0].mlp.fc1.weight[5, 3] += 1e-6
    assert frozen_numbers(one) != frozen_numbers(two)


@pytest.mark.long
def test_another_backbone_has_stores_of_its_own(nursery, tmp_path, monkeypatch, made):
    again, places = made.again(nursery, tmp_path)
    real = backbones.load

    def other(*args, **kwargs):
        found = real(*args, **kwargs)
        with torch.no_grad():
            found.model.vit.layers[0].mlp.fc1.weight[5, 3] += 1e-3
        return found
    monkeypatch.setattr(backbones, "load", other)
    losses = [outcome(train(again))[0], outcome(train(nursery.recipe(tmp_path / "plain", **UPPER, cache_features=False)))[0]]
    assert losses[0] == losses[1] and len(stores(tmp_path / "cache")) == 4 and set(places) < set(stores(tmp_path / "cache"))


@pytest.mark.long
@pytest.mark.parametrize("harm", [lambda place: (place / "index.json").unlink(), lambda place: (place / "rows.sha256").write_bytes(b"")])
def test_a_store_that_cannot_be_opened_is_made_again(nursery, tmp_path, made, harm):
    again, places = made.again(nursery, tmp_path)
    for place in places:
        harm(place)
    assert outcome(train(again))[0] == made.losses and stores(tmp_path / "cache") == places


@pytest.mark.long
@pytest.mark.parametrize(("part", "said"), [(-3, r"a cache: remove .*cache"), (None, "no such file|cut or missing")])
def test_changed_or_missing_rows_end_the_run_and_say_what_to_remove(nursery, tmp_path, made, part, said):
    again, places = made.again(nursery, tmp_path)
    for place in places:
        data = bytearray((place / "features.npy").read_bytes())
        if part is None:
            del data[200:]
        else:
            data[part] ^= 1
        (place / "features.npy").write_bytes(data)
    with pytest.raises(Corrupt, match=said):
        train(again)


def test_rows_of_another_net_under_this_key_are_refused(nursery, tmp_path, made):
    """As if two nets had one key: the rows of the first batch, which are computed anyway, tell."""
    again, _ = made.again(nursery, tmp_path)
    train(nursery.recipe(tmp_path / "other", **UPPER | {"normalise": "imagenet"}, cache_folder=str(tmp_path / "others")))
    mine, theirs = ({len(open_store(place)): place for place in stores(tmp_path / name)} for name in ("cache", "others"))
    for count in (22, 7):
        shutil.rmtree(mine[count])
        shutil.copytree(theirs[count], mine[count])
    with pytest.raises(Corrupt, match="does not hold what this net says"):
        train(again)


@pytest.mark.long
def test_what_a_killed_process_left_is_swept(nursery, tmp_path, made):
    again, places = made.again(nursery, tmp_path)
    left = tmp_path / "cache" / f".{'0' * 16}.12345678.tmp"
    left.mkdir()
    (left / "features.npy").write_bytes(bytes(1000))
    os.utime(left, (0, 0))
    young = left.with_name(f".{'0' * 16}.87654321.tmp")
    young.mkdir()
    train(again)
    assert stores(tmp_path / "cache") == [young, *places]


def test_a_full_disk_is_told_before_the_first_row(nursery, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(1000, 990, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="another cache_folder may have room"):
        train(nursery.recipe(tmp_path / "run", **UPPER, cache_folder=str(tmp_path / "cache")))
    assert stores(tmp_path / "cache") == []


def test_a_folder_that_cannot_be_made_is_told(nursery, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose a folder that can be written"):
        train(nursery.recipe(tmp_path / "run", **UPPER, cache_folder=str(tmp_path / "file")))


def test_the_store_says_where_it_comes_from(nursery, tmp_path, made):
    _, places = made.again(nursery, tmp_path)
    origins = [json.loads((place / "index.json").read_text())["origin"] for place in places]
    assert {origin["place"] for origin in origins} == {"block 1"} and all(origin["data"] for origin in origins)
    assert [origin["key"] for origin in origins] == [place.name for place in places]


def test_an_epoch_that_draws_mirrored_images_draws_the_same_ones_from_rows(nursery, tmp_path):
    """The view of image i in epoch e is the one that its pixels have: by (seed, epoch, image)."""
    flip = Transform(Preprocess(size=8), "flip")
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    image = Image.fromarray(picture)
    drawn = [flip.drawn((3, epoch, 5)) for epoch in range(20)]
    assert set(drawn) == {0, 1}
    for epoch, view in enumerate(drawn):
        pixels = flip.pixels(image, key=(3, epoch, 5))
        assert np.array_equal(pixels, Transform(flip.preprocess, "flip", only=view).pixels(image))
        assert np.array_equal(pixels, picture[:, ::-1] if view else picture)
