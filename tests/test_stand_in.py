"""The stand-in for CLIP never saw what is reported on it, and its report is what the results say.

Names are compared by their words, images by their hashes. What the alignment shows: the ViT's classifier (names and rows), and the
lessons of scripts/stand_in/sources.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))  # as for the scripts themselves

import ablation_report
from stand_in import scores, sentences, sources
from stand_in.sources import REPORTED, SEEN, allowed, digests, lesson, says_the_same

Shown = tuple[list[str], set[bytes]]


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    return shared / "data"


def reported(data: Path, source: str) -> tuple[list[str], set[bytes]]:
    """Names and hashes of what is reported: a whole set, or its novel half where the other half is seen."""
    known = sources.read(source, data)
    kept = np.flatnonzero(~known.base) if source in SEEN else np.arange(len(known.names))
    images = [x[np.isin(y, kept)] for x, y in known.parts.values()]
    return [known.names[c] for c in kept], set().union(*map(digests, images))


@pytest.fixture(scope="module")
def shown(data: Path) -> tuple[list[str], set[bytes]]:
    """Names and hashes of all that the alignment sees."""
    lessons = [lesson(source, data) for source in SEEN]
    names = [*sources.classifier_names(data).values(), *(name for names, _, _ in lessons for name in names)]
    return names, set().union(*(digests(images) for _, images, _ in lessons))


def alike(names: list[str], others: list[str]) -> dict[str, str]:
    return {name: other for name in names for other in others if says_the_same(name, other)}


@pytest.mark.real
@pytest.mark.parametrize("source", REPORTED)
def test_no_image_that_is_reported_was_shown(data: Path, shown: Shown, source: str) -> None:
    _, images = reported(data, source)
    assert len(images) > 400 and shown[1].isdisjoint(images)


@pytest.mark.real
@pytest.mark.parametrize("source", ["fruits71", "eurosat10"])
def test_no_name_that_is_reported_was_shown(data: Path, shown: Shown, source: str) -> None:
    names, _ = reported(data, source)
    assert alike(shown[0], names) == {}


@pytest.mark.real
def test_novel_emoji_were_shown_by_no_name_but_the_known_ones(data: Path, shown: Shown) -> None:
    """Two other sets have words in common with four of them; the report says so, and nothing else may join them."""
    names, _ = reported(data, "emoji3")
    seen = shown[0]
    assert not {*seen} & {*names}
    assert alike(seen, names) == sentences.BORROWED


@pytest.mark.real
def test_the_images_that_test_base_emoji_were_not_shown(data: Path, shown: Shown) -> None:
    """Its base half is called unadapted: names and two vendors were seen, the third was not."""
    known = sources.read("emoji3", data)
    test, train = (digests(known.parts[part][0]) for part in ("test", "train"))
    assert shown[1].isdisjoint(test) and not shown[1].isdisjoint(train)


@pytest.mark.real
def test_the_record_counts_the_names_that_were_shown(data: Path, shown: Shown) -> None:
    """A tenth of the classifier's names only measured: they are not among those of the record."""
    names, own = shown[0], len(sources.classifier_names(data))
    assert ablation_report.study_here().stand_in["seen"] == [*SEEN, f"{len(names) - own // 10} names"]


@pytest.mark.parametrize("a, b, same", [
    ("lemon", "lemon meyer", True), ("Lemon Meyer", "meyer lemon", True), ("highway", "highway or road", True),
    ("lemonade", "lemon", False),
    ("apple red", "apple golden", False), ("river", "sea or lake", False), ("123", "lemon", False), ("", "", False),
])  # fmt: skip
def test_names_say_the_same_by_their_words(a: str, b: str, same: bool) -> None:
    assert says_the_same(a, b) is says_the_same(b, a) is same


def test_what_says_something_forbidden_is_left_out() -> None:
    assert allowed(["lemon", "granny smith apple", "desk", "lemonade"], ["lemon meyer", "apple"]) == [2, 3]
    assert allowed(["desk"], []) == [0]


def test_a_reported_set_teaches_its_base_half_alone(tmp_path: Path) -> None:
    """Six emoji, of which the last three are novel; "red hat" says what the novel "hat" says, so it teaches nothing."""
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 64, 64, 3), dtype=np.uint8)
    names = np.array(["cat", "red hat", "cow", "hat", "owl", "fox"])
    np.savez(tmp_path / "emoji3.npz", images=images, names=names, is_base=np.arange(6) < 3)
    few = {f"{axis}_{part}": values for part in ("train", "val", "test")
           for axis, values in (("x", images[0, :2]), ("y", np.arange(2)))}
    for source, classes in {"fruits71": ["Apple Red 1", "Lime 2"], "eurosat10": ["River", "SeaLake"]}.items():
        np.savez(tmp_path / f"{source}.npz", classes=np.array(classes), **few)
    found, shown_images, labels = lesson("emoji3", tmp_path)
    assert found == ["cat", "cow"]
    assert labels.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(shown_images, images[[0, 0, 1, 1], [0, 2, 0, 2]])
    assert {"apple red", "lime", "river", "sea or lake", "hat"} <= {*sources.held_back(tmp_path)}


def score(entry: str, seed: int, base: float, novel: float) -> scores.Score:
    return scores.Score(entry, "eurosat10", seed, base, novel, 2 * base * novel / (base + novel), (500, 500), 10, 1e-3, "cpu")


def study(*runs: scores.Score) -> scores.Study:
    guess = {f"eurosat10 {half}": {"chance": 20.0} for half in ("base", "novel")}
    return scores.Study(runs, {}, {}, {"zero-shot": guess})


@pytest.mark.parametrize("left, right, word", [
    ((80.0, 82.0), (60.0, 62.0), "ahead"), ((60.0, 62.0), (80.0, 82.0), "behind"), ((80.0, 82.0), (81.0, 85.0), "level"),
    ((80.0, 80.5), (79.0, 79.5), "ahead?"), ((80.0,), (60.0,), "one seed"), ((), (60.0,), "no run"),
])  # fmt: skip
def test_what_lies_within_the_seeds_is_a_tie(left: tuple[float, ...], right: tuple[float, ...], word: str) -> None:
    runs = [score(name, seed, base, 50.0) for name, bases in (("a", left), ("b", right)) for seed, base in enumerate(bases)]
    assert study(*runs).difference("a", "b", "eurosat10", "base").word == word


def test_novel_names_at_chance_have_no_verdict() -> None:
    runs = [score("a", 1, 80, 22), score("a", 2, 80, 23), score("b", 1, 80, 18), score("b", 2, 80, 19)]
    assert study(*runs).difference("a", "b", "eurosat10", "novel").word == "chance"
    assert study(*runs).difference("a", "b", "eurosat10", "base").word == "level"


def test_worse_than_guessing_on_what_was_learned_is_a_collapse() -> None:
    assert study().collapsed(score("a", 1, 19.0, 50.0)) and not study().collapsed(score("a", 1, 21.0, 50.0))


def test_the_report_is_what_the_results_say() -> None:
    assert not ablation_report.stale(), "run python scripts/ablation_report.py"
