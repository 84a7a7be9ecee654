"""Pictures of scenes: lines against naive loops, styles that differ, the same pixels for the same seed."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from inarch.errors import ConfigError
from inarch.scenes import render as drawing
from inarch.scenes.ink import box_of, centres, distance, drawn, filled, inside
from inarch.scenes.outlines import DIGIT_LINES, SHAPE_LINES, fine, wobbled
from inarch.scenes.render import handwriting, render
from inarch.scenes.styles import PLAIN, STYLES, style_of
from inarch.scenes.world import DIGITS, SHAPES, SIDE, Scene, Thing, imagine

BOX = box_of(8, 8, 9, 16)


def to_segment(p: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """By trying many points of the segment."""
    return min(float(np.hypot(*(a + t * (b - a) - p))) for t in np.linspace(0, 1, 401))


@pytest.mark.parametrize("closed", [True, False])
def test_distance_is_that_to_the_nearest_segment(closed: bool) -> None:
    line = np.array([(2.0, 3.0), (12.5, 4.0), (9.0, 13.0)])
    pieces = [(line[0], line[1]), (line[1], line[2])] + ([(line[2], line[0])] if closed else [])
    found = distance(centres(BOX), line, closed)
    for row, column in itertools.product(range(0, 16, 3), repeat=2):
        naive = min(to_segment(np.array([column + 0.5, row + 0.5]), a, b) for a, b in pieces)
        assert found[row, column] == pytest.approx(naive, abs=2e-2)


def test_inside_by_winding_of_angles() -> None:
    line = SHAPE_LINES["star"] * 7 + 8.01
    found = inside(centres(BOX), line)
    for row, column in itertools.product(range(16), repeat=2):
        rays = line - (column + 0.5, row + 0.5)
        turns = np.angle(np.exp(1j * np.diff(np.arctan2(*np.concatenate([rays, rays[:1]]).T))))
        assert found[row, column] == (abs(turns.sum()) > np.pi), (row, column)


def test_cover_of_a_square_and_of_a_stroke() -> None:
    square = np.array([(3.0, 3.0), (11.0, 3.0), (11.0, 11.0), (3.0, 11.0)])
    cover = filled(centres(BOX), square, 1.0)
    assert cover[3:11, 3:11].min() == 1 and cover.sum() == 64  # edges on pixel borders: no pixel is half covered
    assert filled(centres(BOX), square, 4.0)[2, 7] == pytest.approx(0.5 - 0.5 / 4)
    stroke = drawn(centres(BOX), np.array([(4.0, 8.0), (12.0, 8.0)]), False, 2.0, 1.0)
    assert stroke[7, 7] == stroke[8, 7] == 1 and stroke[6, 7] == stroke[9, 7] == 0
    assert stroke[7, 2] < 0.1  # nothing beyond its ends


def test_every_kind_has_its_own_lines_within_the_unit_square() -> None:
    assert (*SHAPE_LINES,) == SHAPES and (*DIGIT_LINES,) == DIGITS
    for line in (*SHAPE_LINES.values(), *itertools.chain(*DIGIT_LINES.values())):
        assert np.abs(line).max() < 1.2 and not np.allclose(line[0], line[1])
    finer = fine(SHAPE_LINES["square"], True, 0.3)
    assert max(np.hypot(*(a - b)) for a, b in itertools.pairwise(finer)) <= 0.3
    assert np.array_equal(wobbled(finer, 0.0, np.random.default_rng(0)), finer)
    moved = np.hypot(*(wobbled(finer, 0.1, np.random.default_rng(0)) - finer).T)
    assert 0.02 < moved.mean() < 0.4


def pictures(name: str, count: int = 12) -> np.ndarray:
    rng = np.random.default_rng(4)
    scenes = [imagine(rng) for _ in range(count)]
    return np.stack([render(scene, style_of(name), np.random.default_rng([5, k])) for k, scene in enumerate(scenes)])


def test_styles_differ_from_plain_and_from_each_other_on_the_same_scenes() -> None:
    drawn = {style.name: pictures(style.name).astype(float) for style in STYLES}
    assert all(images.shape == (12, SIDE, SIDE, 3) for images in drawn.values())
    for one, other in itertools.combinations(drawn, 2):
        assert np.abs(drawn[one] - drawn[other]).max() > 40, (one, other)
    assert np.array_equal(pictures("blackboard"), drawn["blackboard"])


def test_a_thing_changes_the_picture_where_it_is_and_nowhere_else() -> None:
    for style in STYLES:
        for kind in (*SHAPES, *DIGITS):
            thing = Thing(kind, "red", "large" if kind in SHAPES else "", 14.0, 30.0, 8.0)
            with_it, without = (render(Scene(things), style, np.random.default_rng(1)).astype(float) for things in ((thing,), ()))
            changed = np.abs(with_it - without).max(-1)
            rows, columns = np.nonzero(changed > 60)
            assert len(rows) > 12, (style.name, kind)
            assert np.hypot(columns + 0.5 - 14, rows + 0.5 - 30).max() < 13, (style.name, kind)


def test_plain_pictures_hold_no_handwriting(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("a plain picture asked for handwriting")

    monkeypatch.setattr(drawing, "handwriting", refuse)
    pictures("plain", 40)
    with pytest.raises(AssertionError, match="asked for handwriting"):
        pictures("handwriting", 40)
    assert not PLAIN.written and "sklearn" not in Path(drawing.__file__).with_name("outlines.py").read_text()


def test_a_written_digit_is_one_of_those_allowed() -> None:
    """Drawn large on an even ground, the ink of the 8 x 8 picture can be read back."""
    images, labels = handwriting()
    row = int(np.flatnonzero(labels == 3)[5])
    thing = Thing("3", "yellow", "", 24.0, 24.0, 20.0)
    style = style_of("handwriting")
    empty, written = (render(Scene(t), style, np.random.default_rng(2), np.array([row])).astype(float) for t in ((), (thing,)))
    ink = np.abs(written - empty).mean(-1)[4:44, 4:44].reshape(8, 5, 8, 5).mean((1, 3))
    likeness = [np.corrcoef(ink.ravel(), image.ravel())[0, 1] for image in images]
    assert int(np.argmax(likeness)) == row


def test_an_unknown_style_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'blackbord'.*blackboard"):
        style_of("blackbord")
