"""Image-text tasks as published: the table of protocols to the letter, sampled targets, and the real sets."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from inarch.data.pairs import PROTOCOLS, Example, Pairs, read_pairs, sampled_target
from inarch.errors import ConfigError

PROMPTS = {
    "vqa": "vqa: ", "gqa": "gpa: ", "nlvr": "nlvr: ", "caption": "caption: ", "tvqa": "tvqa: ", "how2qa": "how2qa: ", "tvc": "tvc: ",
    "yc2c": "yc2c: ", "qa": "vqa: ", "captions": "caption: ",
}  # fmt: skip
VIDEO = ("tvqa", "how2qa", "tvc", "yc2c")


def test_prompts_to_the_letter() -> None:
    assert {name: protocol.prompt for name, protocol in PROTOCOLS.items()} == PROMPTS
    assert {name for name, protocol in PROTOCOLS.items() if protocol.prompt_at == "end"} == set(VIDEO)
    assert PROTOCOLS["gqa"].frame("What?") == "gpa: What?" and PROTOCOLS["caption"].frame("") == "caption: "
    assert PROTOCOLS["yc2c"].frame("[Subs] hello") == "[Subs] hello yc2c: "


@pytest.mark.parametrize(("name", "text", "target", "loss", "beams", "length", "metric"), [
    ("vqa", 20, 10, "soft", 1, 20, "vqa"),
    ("gqa", 20, 20, "sample", 1, 20, "exact"),
    ("nlvr", None, 20, "sample", 1, 20, "accuracy"),
    ("caption", 20, 40, "token", 5, 40, "cider"),
    ("tvqa", 600, 20, "sample", 5, 20, "exact"),
    ("how2qa", 600, 20, "sample", 5, 20, "exact"),
    ("tvc", 600, 20, "sample", 5, 20, "cider"),
    ("yc2c", 600, 20, "sample", 5, 20, "cider"),
])  # fmt: skip
def test_published_rules(name: str, text: int | None, target: int, loss: str, beams: int, length: int, metric: str) -> None:
    p = PROTOCOLS[name]
    found = (p.text_tokens, p.target_tokens, p.loss, p.beams, p.max_length, p.metric)
    assert found == (text, target, loss, beams, length, metric)
    assert (p.decode, p.choices, p.images) == (("choice", ("true", "false"), 2) if name == "nlvr" else ("generate", (), 1))


@pytest.mark.parametrize(("base", "sizes"), [(500, (500, 833, 166, 416)), (300, (300, 500, 100, 250))])
def test_published_batches(base: int, sizes: tuple[int, ...]) -> None:
    shares = [PROTOCOLS[name].share for name in ("vqa", "gqa", "nlvr", "caption")]
    assert tuple(base * up // down for up, down in shares) == sizes
    assert {PROTOCOLS[name].share for name in VIDEO} == {(1, 1)}


# which answer an epoch trains on

ANNOTATED = tuple(Example(str(i), ("a.jpg",), "vqa: What?", (("cat", 0.9), ("dog", 0.6), ("cow", 0.3))) for i in range(6000))


def test_answers_are_drawn_in_proportion_to_their_scores() -> None:
    drawn = [sampled_target(example, seed=1, epoch=0) for example in ANNOTATED]
    counts = Counter(answer for answer, _ in drawn)
    for answer, share in (("cat", 1 / 2), ("dog", 1 / 3), ("cow", 1 / 6)):  # 4 standard errors of 6000 draws
        assert abs(counts[answer] / len(drawn) - share) < 4 * (share * (1 - share) / len(drawn)) ** 0.5
    assert {dict(ANNOTATED[0].targets)[answer] == weight for answer, weight in drawn} == {True}


def test_a_draw_belongs_to_seed_epoch_and_key() -> None:
    first = [sampled_target(example, 1, 0) for example in ANNOTATED]
    assert first == [sampled_target(example, 1, 0) for example in reversed(ANNOTATED)][::-1]
    for seed, epoch in ((1, 1), (2, 0)):
        other = [sampled_target(example, seed, epoch) for example in ANNOTATED]
        same = sum(a == b for a, b in zip(first, other, strict=True)) / len(first)
        assert abs(same - (1 / 4 + 1 / 9 + 1 / 36)) < 0.04  # as often as two independent draws agree
    copy = dataclasses.replace(ANNOTATED[5], images=("b.jpg",), text="another")
    assert sampled_target(copy, 1, 0) == first[5]


def test_one_answer_or_none() -> None:
    one = dataclasses.replace(ANNOTATED[0], targets=(("net", 0.3),))
    assert sampled_target(one, 0, 0) == ("net", 0.3)
    assert sampled_target(dataclasses.replace(one, targets=()), 0, 0) == ("", 0.0)


# what is read

def test_images_once_in_order_of_need() -> None:
    examples = tuple(Example(str(i), images, "nlvr: x", ()) for i, images in enumerate([("b", "a"), ("a", "c"), ("b", "d")]))
    pairs = Pairs(PROTOCOLS["nlvr"], {"train": examples, "val": (Example("9", ("e", "a"), "", ()),)}, "", "here")
    assert pairs.image_ids("train") == ("b", "a", "c", "d") and pairs.image_ids() == ("b", "a", "c", "d", "e")
    assert repr(pairs) == "Pairs(nlvr: train 3, val 1)"
    with pytest.raises(ConfigError, match="no part 'tran'; did you mean 'train'"):
        pairs.image_ids("tran")


@pytest.mark.real
@pytest.mark.parametrize(("name", "sizes", "task", "first"), [
    ("vqa_rad", (1597, 200, 451), "qa", "vqa: Are regions of the brain infarcted?"),
    ("easy_vqa", (34687, 3888, 9673), "qa", "vqa: what is the blue shape?"),
    ("nlvr_vqa", (1779, 200, 985), "nlvr", "nlvr: Each grey box contains atleast one yellow object touching the edge"),
])  # fmt: skip
def test_real_sets(shared, name: str, sizes: tuple[int, ...], task: str, first: str) -> None:
    pairs = read_pairs(shared / "data" / f"{name}.npz")
    assert tuple(map(len, pairs.parts.values())) == sizes and tuple(pairs.parts) == ("train", "val", "test")
    assert pairs.protocol.name == task and pairs.protocol.images == 1 and pairs.parts["train"][0].text == first
    for image in pairs.image_ids()[:3]:
        assert pairs.images[image].dtype == "uint8"
    answers = {example.targets[0][0] for part in pairs.parts.values() for example in part}
    assert len(answers) == {"vqa_rad": 517, "easy_vqa": 13, "nlvr_vqa": 2}[name]


@pytest.mark.real
def test_real_sets_in_detail(shared) -> None:
    rad = read_pairs(shared / "data/vqa_rad.npz", limit={"train": 100}, seed=3)
    assert Counter(example.group for example in rad.parts["test"]) == {"CLOSED": 272, "OPEN": 179}
    assert len(rad.parts["train"]) == 100 and "train: 100 of 1597 examples, drawn with seed 3" in rad.notes
    assert any("images (equal pixels) are in train and in test" in note for note in rad.notes)
    assert rad.images["synpic54610.jpg"].shape == (192, 192)
    nlvr = read_pairs(shared / "data/nlvr_vqa.npz")
    assert nlvr.protocol.decode == "choice" and {e.references for e in nlvr.parts["val"]} == {("true",), ("false",)}
