"""VQA accuracy, exact match and the one door ``score``: against the official rules worked out by hand, and at the edges."""

from __future__ import annotations

import doctest
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inarch import scoring
from inarch.errors import ConfigError, DataError
from inarch.scoring import headline, per_example, points, score
from inarch.scoring import vqa as vqa_module
from inarch.scoring.vqa import CONTRACTIONS, normal, vqa_accuracy

FAST = settings(max_examples=100, deadline=None)
ANSWERS = st.sampled_from(["yes", "Yes", "no", "2", "two", "a dog", "dog!", "dont", "don't", " red\n", "red", ""])


@dataclass(frozen=True)
class Example:
    """The fields of inarch.data.pairs.Example that a score reads."""

    key: str
    references: tuple[str, ...] = ()
    targets: tuple[tuple[str, float], ...] = ()
    group: str = ""


def asked(*references: tuple[str, ...], groups: str = "") -> list[Example]:
    return [Example(f"q{i}", answers, group=groups[i : i + 1]) for i, answers in enumerate(references)]


# ---- normalisation


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Yes!", "yes"),
        ("two dogs", "2 dogs"),
        ("the 1,000", "1000"),
        ("1,000 men/women", "1000 menwomen"),  # with a comma between digits, every mark vanishes
        ("men/women", "men women"),
        ("men / women", "men women"),
        ("men/women / boys", "menwomen boys"),  # one slash beside a space decides for all slashes
        ("a;-b-c", "b c"),  # the space that ";" leaves is not beside "-" in the text as it was
        ("a-;b-c", "b c"),
        ("dont", "don't"),
        ("DONT", "don't"),
        ("Im", "im"),  # the table's "Im" can never be met: the text is in lower case by then
        ("somebody'd", "somebodyd"),  # the one entry of the official table that goes backwards
        ("couldntve couldnt've couldn'tve", "couldntve couldn't've couldn't've"),
        ("it's 5:30 pm.", "it's 5:30 pm"),
        ("3.5", "3.5"),
        ("5.", "5"),
        ("u.s.", "us"),
        ("a.5", "a.5"),
        ("black-and-white", "black and white"),
        ("t-shirt - red", "tshirt red"),
        ("a", ""),
        ("The An A", ""),
        ("none", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("dogs'", "dogs'"),
        ("  red   car ", "red car"),
        ("Café 日本!", "café 日本"),
        ("50%", "50%"),
        ("", ""),
        ("." * 40, "." * 8),  # the official call removes 32 at most
    ],
)
def test_normal_form(text: str, want: str) -> None:
    assert normal(text) == want


def test_the_contractions_are_the_official_table_whole() -> None:
    """120 entries; the digest is that of the table in GT-Vision-Lab/VQA (vqaEval.py of VQA v2)."""
    table = json.dumps(CONTRACTIONS, sort_keys=True).encode()
    assert len(CONTRACTIONS) == 120
    assert hashlib.sha256(table).hexdigest() == "52771f672b95913f862aae058e42219f9e1e4d7af64475a5cdf394301acf67a9"


# ---- VQA accuracy


@pytest.mark.parametrize(
    ("matches", "want"),
    [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (9, 1), (10, 1)],  # of 10; e.g. 3: (3 x 2/3 + 7 x 1) / 10
)
def test_ten_people(matches: int, want: float) -> None:
    answers = ["red"] * matches + ["blue"] * (10 - matches)
    assert vqa_accuracy(["red"], [answers]) == [pytest.approx(want, abs=1e-12)]


def naive(said: str, answers: list[str]) -> float:
    """The definition: mean over the subsets that leave one person out."""
    subsets = list(combinations(answers, len(answers) - 1))
    return sum(min(sum(a == said for a in subset) / 3, 1) for subset in subsets) / len(subsets)


@FAST
@given(ANSWERS, st.lists(ANSWERS, min_size=2, max_size=10))
def test_the_closed_form_equals_the_mean_over_subsets(said: str, answers: list[str]) -> None:
    tidy = [" ".join(a.split()) for a in answers]
    plain = " ".join(said.split())
    if len(set(tidy)) > 1:
        tidy, plain = [normal(a) for a in tidy], normal(plain)
    assert vqa_accuracy([said], [answers]) == [pytest.approx(naive(plain, tidy), abs=1e-12)]


@FAST
@given(ANSWERS, st.lists(ANSWERS, min_size=1, max_size=10), st.randoms())
def test_order_of_people_does_not_matter_and_scores_are_fractions(said: str, answers: list[str], random) -> None:
    mixed = random.sample(answers, len(answers))
    for form in ("official", "released"):
        [got], [again] = vqa_accuracy([said], [answers], form), vqa_accuracy([said], [mixed], form)
        assert got == again and 0 <= got <= 1


def test_where_all_people_agree_nothing_is_made_normal() -> None:
    assert vqa_accuracy(["yes", "Yes", "two"], [["Yes"] * 10, ["Yes"] * 10, ["2"] * 10]) == [0, 1, 0]
    assert vqa_accuracy([" Yes\n"], [["Yes\t"] * 10]) == [1]  # but for the outer space
    assert vqa_accuracy(["yes"], [["Yes"] * 9 + ["no"]]) == [1]  # one who differs is enough


def test_one_answer_is_always_compared_in_normal_form() -> None:
    assert vqa_accuracy(["The Heart.", "heart", "lung"], [["heart"], ["Heart!"], ["heart"]]) == [1, 1, 0]


def test_two_and_three_answers_cannot_reach_one() -> None:
    assert vqa_accuracy(["red"] * 3, [["red"] * 2, ["red"] * 3, ["red"] * 4]) == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1]


def test_the_released_form_leaves_the_peoples_words_as_they_are() -> None:
    people = ["two"] * 9 + ["3"]
    assert vqa_accuracy(["two"], [people]) == [1]
    assert vqa_accuracy(["two"], [people], "released") == [0]  # "2" is not "two"
    assert vqa_accuracy(["Red!"], [["red"] * 10], "released") == [1]  # made normal though all agree
    assert vqa_accuracy(["Red!"], [["red"] * 10]) == [0]


def test_an_empty_prediction_scores_where_the_people_said_an_article() -> None:
    assert vqa_accuracy(["", ""], [["red"] * 9 + ["blue"], ["a"] * 9 + ["b"]]) == [0, 1]


# ---- exact match and choices


def test_gqa_gives_the_weight_of_the_label_that_was_said() -> None:
    examples = [Example("1", ("red", "dark red"), (("red", 1.0), ("dark red", 0.3)))] * 4
    assert per_example("exact", ["red", "dark red", "Red", "red "], examples) == [1.0, 0.3, 0.0, 0.0]


def test_a_label_without_a_weight_counts_one() -> None:
    assert per_example("exact", ["a3", "a1"], [Example("1", ("a3",)), Example("2", (), (("a0", 1.0),))]) == [1.0, 0.0]


def test_choices_count_one_whatever_their_weight() -> None:
    examples = [Example("1", ("true",), (("true", 0.5),))] * 2
    assert score("accuracy", ["true", "false"], examples) == {"accuracy": 0.5, "n": 2, "empty": 0}


# ---- the door


@pytest.mark.parametrize("metric", ["vqa", "exact", "accuracy", "cider"])
def test_headline_first_plain_json_and_the_mean_of_its_examples(metric: str) -> None:
    said, examples = ["a dog", "two cats", ""], asked(("a dog", "dog"), ("a cat",), ("a bird flies",))
    found = score(metric, said, examples, quick=True)
    each = per_example(metric, said, examples)
    assert next(iter(found)) == headline(metric)
    assert json.loads(json.dumps(found)) == found
    assert found[headline(metric)] == pytest.approx(sum(each) / 3)
    assert (found["n"], found["empty"]) == (3, 1)
    assert "groups" not in found


def test_groups_have_their_own_headline() -> None:
    people = ("red",) * 9 + ("blue",)
    found = score("vqa", ["red", "blue", "green"], asked(people, people, people, groups="cco"))
    assert found["vqa_accuracy"] == pytest.approx(1.3 / 3)
    assert found["groups"] == {"c": {"vqa_accuracy": pytest.approx(0.65), "n": 2}, "o": {"vqa_accuracy": 0.0, "n": 1}}


def test_the_released_figure_stands_beside_the_official_one() -> None:
    found = score("vqa", ["two"], asked(("two",) * 9 + ("3",)))
    assert (found["vqa_accuracy"], found["vqa_accuracy_released"]) == (1.0, 0.0)


def test_points_are_the_papers_scale() -> None:
    assert [points(m, 0.5) for m in ("vqa", "exact", "accuracy", "cider")] == [50, 50, 50, 0.5]


@pytest.mark.parametrize(
    ("said", "examples", "message"),
    [
        (["a"], asked(("a",), ("b",)), "1 predictions for 2 examples"),
        ([], [], "no predictions to score"),
        (["a", "b"], asked(("a",), ()), r"example 'q1': no references, 1 of 2"),
        (["a", None], asked(("a",), ("b",)), "example 'q1': the prediction is None"),
    ],
)
@pytest.mark.parametrize("metric", ["vqa", "exact", "accuracy", "cider"])
def test_refusals(metric: str, said: list, examples: list[Example], message: str) -> None:
    with pytest.raises(DataError, match=message):
        score(metric, said, examples)


def test_targets_are_no_references_for_people_or_captions() -> None:
    with pytest.raises(DataError, match="no references"):
        score("vqa", ["a"], [Example("1", (), (("a", 1.0),))])


def test_an_unknown_metric() -> None:
    for ask in (lambda: score("cidre", ["a"], asked(("a",))), lambda: headline("cidre"), lambda: points("cidre", 1.0)):
        with pytest.raises(ConfigError, match="did you mean 'cider'"):
            ask()


def test_the_examples_in_the_docs() -> None:
    from inarch.scoring import exact, words

    for module in (scoring, vqa_module, exact, words):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed, module.__name__


def test_the_door_opens_without_numpy() -> None:
    code = "import sys, inarch.scoring as s; s.headline('cider'); print(any(m in sys.modules for m in ('numpy', 'torch', 'pycocoevalcap')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
