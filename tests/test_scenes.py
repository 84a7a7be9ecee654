"""Scenes: what is asked and said about them is true by a second, naive reading; questions alone give little away."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import numpy as np
import pytest

from inarch.scenes.balance import Ledger, question_only
from inarch.scenes.captions import captions, comparisons
from inarch.scenes.questions import CLEAR, questions
from inarch.scenes.world import COLORS, DIGITS, SHAPES, SIDE, SIZES, Scene, Thing, imagine

SCENES = [imagine(np.random.default_rng([11, number])) for number in range(300)]
ONE_NAME = {"crosses": "cross"} | {f"{shape}s": shape for shape in SHAPES}


def called(scene: Scene, name: str) -> list[Thing]:
    return [t for t in scene.things if name in (t.kind, t.color) or (name == "digit" and t.kind in DIGITS)]


def side(one: Thing, where: str, other: Thing) -> bool:
    if where in ("left of", "right of"):
        return one.x < other.x if where == "left of" else one.x > other.x
    return one.y < other.y if where == "above" else one.y > other.y


def answer(scene: Scene, text: str) -> set[str]:
    """Every answer that could be defended, read off the scene by the question's words alone."""
    if found := re.fullmatch(r"what color is the (\w+)\?", text):
        return {t.color for t in called(scene, found[1])}
    if found := re.fullmatch(r"what size is the (\w+)\?", text):
        return {t.size for t in called(scene, found[1])}
    if found := re.fullmatch(r"what shape is (\w+)\?", text):
        return {t.kind for t in scene.things if found[1] in (t.color, t.size)}
    if found := re.fullmatch(r"what digit is (\w+)\?", text):
        return {t.kind for t in called(scene, "digit") if found[1] in ("there", t.color)}
    if found := re.fullmatch(r"how many (\w+?)( things)? are there\?", text):
        name = ONE_NAME.get(found[1], found[1].removesuffix("s"))
        return {str(len(scene.things if found[1] == "things" else called(scene, name)))}
    if found := re.fullmatch(r"is there an? (\w+) (\w+)\?", text):
        return {"yes" if any(t.color == found[1] and found[2] in (t.kind, "thing") for t in scene.things) else "no"}
    if found := re.fullmatch(r"is there an? (\w+)\?", text):
        return {"yes" if called(scene, found[1]) else "no"}
    if found := re.fullmatch(r"what is (left of|right of|above|below) the (\w+)\?", text):
        return {t.kind for o in called(scene, found[2]) for t in scene.things if t is not o and side(t, found[1], o)}
    if found := re.fullmatch(r"is the (\w+) (left of|right of|above|below) the (\w+)\?", text):
        pairs = itertools.product(called(scene, found[1]), called(scene, found[3]))
        return {"yes" if side(one, found[2], other) else "no" for one, other in pairs}
    raise AssertionError(f"no reading of {text!r}")


def test_things_lie_inside_and_apart_and_every_kind_occurs() -> None:
    for scene in SCENES:
        assert 1 <= len(scene.things) <= 4
        for t in scene.things:
            assert t.radius < t.x < SIDE - t.radius and t.radius < t.y < SIDE - t.radius
            assert (t.size in SIZES) != (t.kind in DIGITS)
        for one, other in itertools.combinations(scene.things, 2):
            assert np.hypot(one.x - other.x, one.y - other.y) > one.radius + other.radius + 1
    everything = [t for scene in SCENES for t in scene.things]
    assert {t.kind for t in everything} == {*SHAPES, *DIGITS} and {t.color for t in everything} == {*COLORS}


def test_every_question_has_one_answer_and_a_naive_reading_gives_it() -> None:
    seen: Counter[str] = Counter()
    for scene in SCENES:
        for group, found in questions(scene).items():
            for asked in found:
                assert asked.group == group
                assert answer(scene, asked.text) == {asked.answer}, (asked, scene)
                seen[group] += 1
    assert set(seen) == {"color", "shape", "digit", "count", "size", "exists", "relation", "place"}
    assert min(seen.values()) > 100


def test_the_naive_reading_can_disagree() -> None:
    scene = Scene((Thing("star", "red", "small", 10, 10, 5), Thing("moon", "blue", "large", 30, 12, 8)))
    assert answer(scene, "what is left of the moon?") == {"star"} and answer(scene, "what color is the star?") == {"red"}
    asked = {a.text for found in questions(scene).values() for a in found}
    assert "is the star left of the moon?" in asked
    assert not any("above" in text for text in asked)  # 2 pixels are not clear enough


@pytest.mark.parametrize("where", ["left of", "right of", "above", "below"])
def test_places_are_only_asked_when_they_are_clear(where: str) -> None:
    axis = "x" if "of" in where else "y"
    for scene in SCENES:
        for asked in questions(scene).get("place", []):
            if found := re.fullmatch(rf"is the (\w+) {where} the (\w+)\?", asked.text):
                one, other = called(scene, found[1])[0], called(scene, found[2])[0]
                assert abs(getattr(one, axis) - getattr(other, axis)) >= CLEAR


def test_captions_name_exactly_what_is_there() -> None:
    related = 0
    for scene in SCENES:
        truth = sorted((t.color, t.kind) for t in scene.things)
        for said in captions(scene):
            phrases = [phrase.split() for phrase in re.split(r", | and | left of | right of | above | below ", said)]
            assert sorted((words[-2], words[-1]) for words in phrases) == truth, said
            assert all(words[0] == ("an" if words[1][0] in "aeiou" else "a") for words in phrases)
            if where := re.search(r" (left of|right of|above|below) ", said):
                one, other = (next(t for t in scene.things if said.split(where[0])[k].endswith(f"{t.color} {t.kind}")) for k in (0, 1))
                assert side(one, where[1], other) or one is other
                related += 1
        across = [t.kind for t in sorted(scene.things, key=lambda t: t.x)]
        assert [phrase.split()[-1] for phrase in re.split(r", | and ", captions(scene)[0])] == across
    assert related > 50


def test_comparisons_of_two_pictures_are_judged_rightly() -> None:
    judged: Counter[tuple[str, str]] = Counter()
    for left, right in itertools.pairwise(SCENES[:80]):
        for asked in comparisons(left, right):
            if " more " in asked.text:
                more = len(left.things) > len(right.things)
                truth = more == ("left" in asked.text) and len(left.things) != len(right.things)
            else:
                name = asked.text.split(" a ")[-1].split(" an ")[-1].removesuffix(" thing")
                has = [bool(called(scene, name)) for scene in (left, right)]
                truth = {"both": all(has), "only": sum(has) == 1, "no": not any(has)}.get(
                    asked.text.split()[0], has["right" in asked.text.split()])
            assert asked.answer == str(truth).lower(), asked
            judged[asked.template, asked.answer] += 1
    assert len(judged) == 12  # six templates, both ways


def test_a_question_alone_says_little() -> None:
    rng, ledger = np.random.default_rng(3), Ledger()
    asked = [a for _ in range(3) for scene in SCENES for a in ledger.choose(questions(scene), 4, rng)]
    by_group = {group: Counter(a.answer for a in asked if a.group == group) for group in {a.group for a in asked}}
    for group, chance in (("exists", 2), ("place", 2), ("size", 2), ("color", 6), ("shape", 6), ("digit", 10)):
        assert by_group[group].most_common(1)[0][1] < 1.35 / chance * by_group[group].total(), (group, by_group[group])
    pairs = [(a.text, a.answer) for a in asked]
    assert question_only(pairs[::2], pairs[1::2]) < 0.45
    unbalanced = [(a.text, a.answer) for scene in SCENES for a in questions(scene)["count"]]
    assert question_only(unbalanced, unbalanced) > 0.6  # what it would be without the ledger: most counts are 0


def test_question_only_is_the_commonest_answer() -> None:
    assert question_only([("a?", "1"), ("a?", "1"), ("a?", "2"), ("b?", "3")], [("a?", "1"), ("a?", "2"), ("b?", "3"), ("c?", "1")]) == 0.5
