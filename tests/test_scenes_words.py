"""Words, the tokenizer, and ``scenes:STYLE@SEED`` as data: what is asked in any style was taught in the plain one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inarch.errors import ConfigError
from inarch.scenes import read
from inarch.scenes.read import is_scenes, read_scenes
from inarch.scenes.styles import STYLES, style_and_seed
from inarch.scenes.words import tokenizer, vocabulary, words


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "PICTURES", {"train": 24, "val": 6, "test": 12})


@pytest.fixture(scope="module")
def tok():
    return tokenizer()


def test_rows_are_where_bart_and_vl_t5_expect_them(tok) -> None:
    assert tok.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert (tok.bos_token_id, tok.pad_token_id, tok.eos_token_id, tok.unk_token_id) == (0, 1, 2, 3)
    size = len(tok)
    assert size == len(vocabulary())
    assert [tok.convert_ids_to_tokens(size - 1 - k) for k in range(100)] == [f"<vis_extra_id_{k}>" for k in range(100)]


def test_known_words_are_one_token_and_come_back(tok) -> None:
    for word in words():
        assert tok(word, add_special_tokens=False).input_ids == [vocabulary()[word]]
    for text in ("vqa: what is left of the star?", "a red star, an orange 7 and a small blue cross"):
        ids = tok(text).input_ids
        assert (ids[0], ids[-1]) == (0, 2)
        assert tok.decode(ids, skip_special_tokens=True).replace(" :", ":") == text


def test_any_other_printable_word_is_spelt(tok) -> None:
    ids = tok("zebra 42%", add_special_tokens=False).input_ids
    assert tok.unk_token_id not in ids and len(ids) > 5
    assert tok.decode(ids) == "zebra 42 %"
    assert tok("Red", add_special_tokens=False).input_ids == [vocabulary()["red"]]
    assert tok("é", add_special_tokens=False).input_ids == [3]


def test_the_saved_tokenizer_is_the_same(tok, tmp_path: Path) -> None:
    from inarch.backbones.vl import tokenizer_of

    tok.save_pretrained(tmp_path)
    again = tokenizer_of(tmp_path)
    assert len(again) == len(tok)
    text = "caption: both pictures have a moon zebra?"
    assert again(text).input_ids == tok(text).input_ids
    assert again.convert_tokens_to_ids("<vis_extra_id_0>") == len(tok) - 1


def test_the_same_address_gives_the_same_data(few) -> None:
    one = read_scenes("scenes:blackboard@7")
    read.draw.cache_clear()  # drawn again, not remembered
    two, other = (read_scenes(f"scenes:blackboard@{seed}") for seed in (7, 8))
    assert one.parts == two.parts and one.sha256 == two.sha256 != other.sha256
    assert all(np.array_equal(one.images[name], two.images[name]) for name in one.images)
    assert one.images["train-0"].dtype == np.uint8 and set(one.image_ids()) <= set(one.images)
    assert one.parts["train"] != other.parts["train"]
    assert len({image.tobytes() for image in one.images.values()}) == 42


def test_examples_are_those_of_the_protocols(few) -> None:
    asked, said, compared = (read_scenes("scenes:plain@1", task) for task in ("", "captions", "nlvr"))
    first = asked.parts["test"][0]
    assert asked.protocol.name == "qa" and first.text.startswith("vqa: ") and first.targets == ((first.references[0], 1.0),)
    assert all(e.text == "caption: " and e.targets[0][0] in e.references for e in said.parts["train"])
    assert all(len(e.images) == 2 and e.references[0] in ("true", "false") for e in compared.parts["train"])
    assert read_scenes("scenes:plain@1").parts == asked.parts  # asking twice changes nothing
    for pairs in (asked, said, compared):
        keys = [e.key for part in pairs.parts.values() for e in part]
        assert len(keys) == len(set(keys))


def test_limit_and_prompt(few) -> None:
    whole, cut = read_scenes("scenes:plain@1"), read_scenes("scenes:plain@1", prompt="ask: ", limit={"train": 9}, seed=3)
    assert len(cut.parts["train"]) == 9 and len(cut.parts["test"]) == len(whole.parts["test"])
    assert cut.notes == (f"train: 9 of {len(whole.parts['train'])} examples, drawn with seed 3",)
    assert all(e.text.startswith("ask: ") for e in cut.parts["train"]) and cut.sha256 != whole.sha256


def test_no_handwritten_digit_is_in_two_parts() -> None:
    rows = [read._hand(7, part) for part in ("train", "val", "test")]
    assert sorted(np.concatenate(rows)) == list(range(1797)) and len(rows[0]) == 1100


@pytest.mark.parametrize("style", [style.name for style in STYLES])
def test_what_is_asked_in_a_style_is_taught_in_the_plain_one(few, style: str, monkeypatch: pytest.MonkeyPatch, taught) -> None:
    words_of = {piece for texts in taught.values() for text in texts for piece in text}
    for task in ("qa", "captions", "nlvr"):
        for part in read_scenes(f"scenes:{style}@3", task).parts.values():
            for example in part:
                pieces = [*pieces_of(example.text), *pieces_of(example.references[0])]
                assert set(pieces) <= words_of, example
                if task != "captions":
                    assert (example.group, example.references[0]) in taught, example


def pieces_of(text: str) -> list[str]:
    return text.replace(":", " :").replace("?", " ?").replace(",", " ,").split()


@pytest.fixture(scope="module")
def taught() -> dict[tuple[str, str], list[list[str]]]:
    """(group, answer) -> texts of 120 lessons of the pre-training."""
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
    try:
        from mini_vl.lessons import spoken
    finally:
        sys.path.pop(0)
    found: dict[tuple[str, str], list[list[str]]] = {}
    for group, text, target in spoken(seed=0, lessons=120):
        found.setdefault((group, target if group != "caption" else ""), []).append(pieces_of(f"{text} {target}"))
    return found


def test_lessons_use_only_words_of_the_vocabulary(taught) -> None:
    said = {piece for texts in taught.values() for text in texts for piece in text}
    assert said <= set(words())
    assert {group for group, _ in taught} == {"color", "shape", "digit", "count", "size", "exists", "relation", "place", "caption", "nlvr"}


@pytest.mark.parametrize("address, message", [
    ("scenes:plane", "'plane'.*plain"), ("scenes:plain@x", "seed is 'x'.*scenes:plain@7"), ("scenes:plain@-1", "seed is '-1'")])
def test_a_wrong_address_says_so(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_scenes(address)


def test_a_wrong_task_says_so() -> None:
    with pytest.raises(ConfigError, match=r"no task 'caption'.*captions"):
        read_scenes("scenes:plain", "caption")
    assert is_scenes("scenes:plain") and not is_scenes("scenes/plain") and style_and_seed("scenes:pastel")[1] == 0
