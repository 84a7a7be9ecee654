"""Caption metrics: words against Stanford's tokenizer, CIDEr against pycocoevalcap and a naive loop, BLEU-4, METEOR, and absences."""

from __future__ import annotations

import math
import random
import shutil
import sys
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider
from test_scoring import Example, asked

from inarch.errors import MissingExtra
from inarch.scoring import meteor as meteor_module
from inarch.scoring import per_example, score
from inarch.scoring.caption import bleu4, cider
from inarch.scoring.meteor import meteor
from inarch.scoring.words import words

# ---- words: what Stanford's PTBTokenizer 3.4.1 with coco-caption's punctuation list gives, recorded from its run
STANFORD = {
    "A man's dog doesn't run, it walks.": "a man 's dog does n't run it walks",
    "Two dogs (brown) play in the U.S. flag park...": "two dogs -lrb- brown -rrb- play in the u.s. flag park",
    "black-and-white cat - on a mat": "black-and-white cat on a mat",
    'He said "hello" to the cat': "he said hello to the cat",
    "5:30 pm, 1,000 people at 50% off for $5!": "5:30 pm 1,000 people at 50 % off for $ 5",
    "I can't; they've gone / left & right": "i ca n't they 've gone / left & right",
    "Mr. Smith's St. Bernard at 10 o'clock": "mr. smith 's st. bernard at 10 o'clock",
    "cannot gonna wanna gimme": "can not gon na wan na gim me",
    "a t-shirt w/ 3/4 sleeves": "a t-shirt w / 3/4 sleeves",
    "naïve café ’s “quoted” text": "naïve café 's quoted text",
    "the dogs' bowl 'quoted' word": "the dogs bowl quoted word",
    "": "",
    "   ": "",
    "A cat.A dog": "a cat.a dog",
    "A cat .": "a cat",
    "hello!!! what?!": "hello !!! what ?!",
    "rock 'n' roll": "rock 'n' roll",
    "the [bracket] {brace}": "the -lsb- bracket -rsb- -lcb- brace -rcb-",
    "and/or": "and/or",
    "a--b": "a b",
    "a—b c–d": "a b c d",
    "No. 5 on the left": "no. 5 on the left",
    "the 1980's and 80s": "the 1980 's and 80s",
    "dont cant": "dont cant",
    "a.m. p.m.": "a.m. p.m.",
    "half eaten...sandwich": "half eaten sandwich",
    "0.5 .5 5.": "0.5 .5 5",
    "on 10-29-2011 at 5:54pm": "on 10-29-2011 at 5:54 pm",
    "a 4-wheeler and 4x4, 3-4 people": "a 4-wheeler and 4x4 3-4 people",
    "at&t store and A & M": "at & t store and a & m",
    "hors d'oeuvre, O'Neil and ma'am": "hors d'oeuvre o'neil and ma'am",
    "it's its' it 's": "it 's its it 's",
    "'tis 'twas y'all": "'t is 't was y' all",
    "cat,dog cat;dog:bird": "cat dog cat dog bird",
    "日本 語": "日本 語",
    "under_score ___ #1 <unk>": "under_score ___ # 1 <unk>",
    "5 ft. 3 in. tall": "5 ft. 3 in tall",
}


@pytest.mark.parametrize(("text", "want"), STANFORD.items())
def test_words_are_those_of_stanfords_tokenizer(text: str, want: str) -> None:
    assert words(text) == want.split()


@pytest.mark.parametrize("text", ["1" * 20_000 + "a", "a.b" * 5_000, "'" * 20_000, "_" * 20_000, "x@" * 10_000])
@pytest.mark.timeout(20)
def test_long_nonsense_takes_no_time(text: str) -> None:
    assert words(text) is not None


# ---- CIDEr

SUBJECTS = ["A man", "Two dogs", "The woman's cat", "A group of people", "A red double-decker bus", "a child", "Someone (left)"]
VERBS = ["is riding", "rides", "sits on", "doesn't look at", "stands next to", "is standing in front of"]
OBJECTS = ["a horse.", "the beach", "a surf board on a wave .", "the U.S. flag", "a table, with food", "a sign", "1,000 birds!"]


def captions(seed: int, images: int) -> tuple[list[str], list[tuple[str, ...]]]:
    """Captions of the length and the repetition of real ones; some predictions are empty, one word, or a reference."""
    draw = random.Random(seed)
    one = lambda: f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(OBJECTS)}"  # noqa: E731
    references = [tuple(one() for _ in range(draw.randint(1, 6))) for _ in range(images)]
    said = [draw.choice([one(), one(), draw.choice(refs), "", "dog", ". ."]) for refs in references]
    return said, references


def noise(seed: int, images: int) -> tuple[list[str], list[tuple[str, ...]]]:
    """Random words from a small vocabulary, of any length from none on."""
    draw = random.Random(seed)
    one = lambda: " ".join(draw.choices("abcdefgh", k=draw.randint(0, 25)))  # noqa: E731
    return [one() for _ in range(images)], [tuple(one() for _ in range(draw.randint(1, 6))) for _ in range(images)]


def library(said: list[str], references: list[tuple[str, ...]]) -> tuple[float, list[float]]:
    plain = [[" ".join(words(text)) for text in texts] for texts in references]
    whole, each = Cider().compute_score(dict(enumerate(plain)), {i: [" ".join(words(text))] for i, text in enumerate(said)})
    return 100 * float(whole), (100 * each).tolist()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("images", [1, 2, 7, 60])
@pytest.mark.parametrize("kind", [captions, noise])
def test_cider_equals_pycocoevalcaps(kind, images: int, seed: int) -> None:
    said, references = kind(seed, images)
    whole, each = cider(said, references)
    want, want_each = library(said, references)
    assert whole == pytest.approx(want, abs=1e-9)
    assert np.abs(np.array(each) - want_each).max() < 1e-9


def naive(said: list[str], references: list[tuple[str, ...]]) -> list[float]:
    """The equation of the module docstring, one loop per symbol."""

    def grams(text: str, k: int) -> Counter:
        w = words(text)
        return Counter(tuple(w[i : i + k]) for i in range(len(w) - k + 1))

    def g(text: str, k: int) -> dict:
        found = {}
        for gram, count in grams(text, k).items():
            df = sum(any(gram in grams(r, k) for r in refs) for refs in references)
            found[gram] = count * (math.log(len(said)) - math.log(max(1, df)))
        return found

    def similar(c: str, s: str, k: int) -> float:
        a, b = g(c, k), g(s, k)
        size = math.sqrt(sum(v * v for v in a.values())) * math.sqrt(sum(v * v for v in b.values()))
        gap = sum(grams(c, 2).values()) - sum(grams(s, 2).values())
        return math.exp(-(gap**2) / 72) * sum(min(a[x], b[x]) * b[x] for x in a if x in b) / size if size else 0.0

    return [1000 * np.mean([similar(c, s, k) for s in refs for k in (1, 2, 3, 4)]) for c, refs in zip(said, references, strict=True)]


def test_cider_equals_its_equation() -> None:
    said, references = captions(11, 9)
    assert cider(said, references)[1] == pytest.approx(naive(said, references), abs=1e-9)


def test_a_caption_like_its_only_reference_has_1000_and_beats_a_wrong_one() -> None:
    references = [("a man rides a brown horse",), ("two dogs play in the snow",), ("a plate of food",)]
    right = [texts[0] for texts in references]
    assert cider(right, references)[1] == pytest.approx([1000.0] * 3)
    wrong = cider(right[1:] + right[:1], references)[1]
    assert max(wrong) < 10  # "a" alone is shared


def test_the_order_of_references_does_not_matter_that_of_images_only_moves() -> None:
    said, references = captions(3, 20)
    _, each = cider(said, references)
    assert cider(said, [texts[::-1] for texts in references])[1] == pytest.approx(each, abs=1e-9)
    assert cider(said[::-1], references[::-1])[1] == pytest.approx(each[::-1], abs=1e-9)


def test_only_empty_captions() -> None:
    assert cider(["", "."], [("",), ("", "a")]) == (0.0, [0.0, 0.0])


def test_one_image_has_no_cider_and_the_score_says_so() -> None:
    found = score("cider", ["a dog runs"], asked(("a dog runs",)), quick=True)
    assert found["cider"] == 0 and "one image" in found["notes"][0]
    assert "notes" not in score("cider", ["a", "b"], asked(("a",), ("b",)), quick=True)


# ---- BLEU-4


def test_bleu4_by_hand() -> None:
    """6 words of a 7-word reference: precisions 6/6, 5/5, 4/4, 3/3, brevity exp(1 - 7/6)."""
    whole, each = bleu4(["a man rides a brown horse"], [("a man rides a brown horse fast",)])
    assert whole == pytest.approx(100 * math.exp(1 - 7 / 6), abs=1e-6)
    assert each == [pytest.approx(whole, abs=1e-6)]


def test_bleu4_takes_the_closest_reference_and_an_empty_caption() -> None:
    same = "two dogs play in the snow"
    assert bleu4([same.title() + "."], [(same, "dogs " * 20)])[0] == pytest.approx(100, abs=1e-6)
    whole, each = bleu4(["", same], [("a cat",), (same,)])
    assert each == [pytest.approx(0, abs=1e-6), pytest.approx(100, abs=1e-6)] and 0 < whole < 100


# ---- METEOR, with a Java that is not there, breaks, or talks

TALKS = """
    if os.environ.get("LC_ALL") != "C":
        sys.exit("numbers with a comma")
    for line in sys.stdin:
        kind, *rest = line.rstrip("\\n").split(" ||| ")
        if kind == "SCORE":
            print(float(rest[-1] in rest[:-1]))
        else:
            print(*rest, sum(map(float, rest)) / len(rest), sep="\\n")
        sys.stdout.flush()
"""


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a program of the given lines on the PATH, named java, and nothing else."""

    def install(lines: str) -> None:
        program = tmp_path / "java"
        program.write_text(f"#!{sys.executable}\nimport os, sys, time\n{textwrap.dedent(lines)}")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return install


def test_meteor_asks_the_program_as_coco_caption_does(java) -> None:
    java(TALKS)
    whole, each = meteor(["A dog.", "a cat", ""], [("a dog", "a bird"), ("the dog",), ("a",)])
    assert each == [100.0, 0.0, 0.0] and whole == pytest.approx(100 / 3)


def test_without_java_meteor_is_none_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = score("cider", ["a dog", "a cat"], asked(("a dog",), ("a cat",)))
    assert next(iter(found)) == "cider" and found["bleu4"] is not None
    assert found["meteor"] is None and "no `java` on the PATH" in found["unavailable"]["meteor"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("sys.exit('out of memory')", "out of memory"),
        ("sys.stdin.readline(); print('no number', flush=True); sys.stdin.readline(); print('0,5', flush=True)", "no message"),
    ],
)
def test_a_java_that_breaks_is_a_reason_not_a_number(java, lines: str, said: str) -> None:
    java(lines)
    with pytest.raises(MissingExtra, match=said):
        meteor(["a dog " * 20_000], [("a dog",)])  # more than a pipe holds


def test_a_java_that_hangs_is_stopped(java, monkeypatch: pytest.MonkeyPatch) -> None:
    java("time.sleep(60)")
    monkeypatch.setattr(meteor_module, "PATIENCE", 0.3)
    with pytest.raises(MissingExtra, match="no number within"):
        meteor(["a dog"], [("a dog",)])


def test_without_pycocoevalcap_cider_stays_and_the_others_name_the_extra(java, monkeypatch: pytest.MonkeyPatch) -> None:
    java(TALKS)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pycocoevalcap"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu", None)
    monkeypatch.setattr(meteor_module, "find_spec", lambda name: None)
    found = score("cider", ["a dog", "a cat"], asked(("a dog",), ("a cat",)))
    assert found["cider"] > 0 and found["bleu4"] is None and found["meteor"] is None
    assert all("pip install 'inarch[captions]'" in reason for reason in found["unavailable"].values())


@pytest.mark.real
def test_real_meteor() -> None:
    """The Java program itself: equal captions have 100; these two have what pycocoevalcap's own driver gave."""
    if shutil.which("java") is None:
        pytest.skip("no java on the PATH")
    said = ["a man riding a horse", "the dog runs", "a cat", ""]
    references = [("a man rides a horse", "a man on a horse"), ("a cat sits",), ("A cat.",), ("a",)]
    assert meteor(said, references)[1] == pytest.approx([89.0909090909091, 16.377245555051162, 100.0, 0.0], abs=1e-9)


# ---- through the door


def test_caption_score_counts_and_groups() -> None:
    said, references = captions(5, 12)
    examples = [Example(f"c{i}", texts, group="even" if i % 2 == 0 else "odd") for i, texts in enumerate(references)]
    found, each = score("cider", said, examples, quick=True), per_example("cider", said, examples)
    assert found["references"] == sum(map(len, references)) and found["empty"] == said.count("")
    assert found["groups"]["odd"] == {"cider": pytest.approx(np.mean(each[1::2])), "n": 6}
    assert "bleu4" not in found and "meteor" not in found
