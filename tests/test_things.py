"""``things:STYLE@SEED``: the same pictures for the same address, names in two fair halves, parts that share nothing."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from inarch.data import load_splits
from inarch.data.draft import Options
from inarch.data.readers import read
from inarch.errors import ConfigError
from inarch.scenes import things
from inarch.scenes.styles import PALETTES, PLAIN, STYLES, style_of
from inarch.scenes.world import COLORS, SHAPES


@pytest.fixture(scope="module")
def blackboard():
    return load_splits("things:blackboard@7")


@pytest.mark.long
def test_a_whole_data_set_with_readable_names(blackboard) -> None:
    assert blackboard.classes == things.names() and len(blackboard.classes) == 36 and "red circle" in blackboard.classes
    assert blackboard.source == "things:blackboard@7" and blackboard.notes == ()
    for part, table in (("train", blackboard.train), ("val", blackboard.val), ("test", blackboard.test)):
        assert Counter(table.labels.tolist()) == Counter({c: things.PER_CLASS[part] for c in range(36)})
    assert blackboard.train.image(0).size == (64, 64)
    assert min(things.PER_CLASS["train"], things.PER_CLASS["test"]) >= 16  # shots


def test_each_half_holds_every_colour_and_every_shape_thrice() -> None:
    names = things.names()
    assert len(set(names)) == 36 and [things.is_base(name) for name in names] == [True] * 18 + [False] * 18
    for half in (names[:18], names[18:]):
        assert Counter(word for name in half for word in name.split()) == Counter(dict.fromkeys((*COLORS, *SHAPES), 3))
    assert list(names) != sorted(names) and names[:3] == ("purple triangle", "green cross", "yellow cross")


@pytest.mark.long
def test_same_address_same_pictures_and_another_seed_others(blackboard) -> None:
    again = load_splits("things:blackboard@7", seed=3)
    assert again.sha256 == blackboard.sha256
    rows = [read(address, Options()).parts["val"].sources for address in ("things:plain", "things:plain@0", "things:plain@1")]
    assert np.array_equal(rows[0], rows[1]) and not np.array_equal(rows[0], rows[2])


@pytest.mark.long
def test_no_picture_of_a_part_is_in_another(blackboard) -> None:
    tables = (blackboard.train, blackboard.val, blackboard.test)
    pictures = [{np.asarray(table.image(i)).tobytes() for i in range(len(table))} for table in tables]
    assert [len(found) for found in pictures] == [len(table) for table in tables]
    assert all(not one & other for one, other in itertools.combinations(pictures, 2))


@pytest.mark.long
def test_any_picture_can_be_drawn_without_the_others(blackboard) -> None:
    number = things.PER_CLASS["val"] * 5 + 3
    alone = things.picture(style_of("blackboard"), 7, "val", things.names()[5], 3)
    assert np.array_equal(alone, blackboard.val.image(number))


def test_styles_differ_and_one_without_shapes_of_its_own_is_refused() -> None:
    drawn = {style.name: things.picture(style, 7, "val", "red star", 0) for style in STYLES if style.name != "handwriting"}
    for one, other in itertools.combinations(drawn, 2):
        assert np.abs(drawn[one].astype(int) - drawn[other]).max() > 40, (one, other)
    with pytest.raises(ConfigError, match=r"no digits.*'handwriting'"):
        load_splits("things:handwriting@7")


def test_things_lie_wholly_inside_and_are_small_and_large() -> None:
    found = [things.imagine("blue moon", np.random.default_rng(k)).things[0] for k in range(200)]
    assert all(thing.radius <= min(thing.x, thing.y, 64 - thing.x, 64 - thing.y) for thing in found)
    assert min(thing.radius for thing in found) < 10 and max(thing.radius for thing in found) > 20


def test_the_colour_is_on_the_thing() -> None:
    """The middle of a plain square has its colour: the nearest one of the palette, nearly always."""
    palette, hits = np.array(list(PALETTES["paint"].values())), 0
    for number, color in itertools.product(range(10), COLORS):
        scene = things.imagine(f"{color} square", np.random.default_rng(number))
        drawn = things.render(scene, PLAIN, np.random.default_rng(number), side=64).astype(float)
        x, y = int(scene.things[0].x), int(scene.things[0].y)
        middle = drawn[y - 2 : y + 3, x - 2 : x + 3].mean((0, 1))
        hits += int(np.abs(palette - middle).sum(1).argmin()) == COLORS.index(color)
    assert hits >= 54


@pytest.mark.parametrize("address, message", [
    ("things:blackbord", "'blackbord'.*blackboard"), ("things:plain@x", "seed is 'x'.*things:plain@7"), ("things:", "no drawing style ''")])
def test_a_wrong_address_says_so(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_splits(address)


def test_an_option_without_meaning_is_refused() -> None:
    with pytest.raises(ConfigError, match="multilabel means nothing for things"):
        load_splits("things:plain", multilabel=True)
