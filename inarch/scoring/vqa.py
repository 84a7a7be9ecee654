"""VQA accuracy, as the official evaluator computes it (VQA evaluation, Antol et al. 2015; its rules in the version for VQA v2).

    acc(p) = mean over the n answers j of min(|{i != j : a_i = p}| / 3, 1)      n = 10 people: the mean over the 10 subsets of 9
           = (m min(m - 1, 3) + (n - m) min(m, 3)) / 3n                         m answers equal p

    normal(t) = contractions(articles(number words(lower(punctuation(t)))))

- Both sides lose their line ends, tabs and outer spaces. Only where the people differ are both sides made normal: ten times "Yes"
  do not match "yes".
- Punctuation: a mark becomes a space; it vanishes without a trace if one of its kind touches a space, or if the text has a comma
  between digits. A full stop vanishes unless a digit follows. "-" is a mark, "'" and ":" are not.
- One answer (one's own data) has no others to be averaged over: 1 if it equals the prediction, both always made normal. Two answers
  can give 1/3 at most and three 2/3, as the formula has it; from four on, 1 is in reach.
- ``form="released"`` is the evaluator inside VL-T5, VL-Adapter and VL-PET, an earlier state of the official one: the prediction is
  always made normal, the people's answers lose their punctuation only (where they differ), so "two" no longer matches "two".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

Form = Literal["official", "released"]

MARKS = ';/[]"{}()=+\\_-><@`,?!'
COMMA_IN_NUMBER = re.compile(r"\d,\d")
FULL_STOP = re.compile(r"\.(?!\d)")
MOST_STOPS = 32  # the official call passes re.UNICODE, which is 32, where a count is expected
ARTICLES = {"a", "an", "the"}
NUMBERS = dict(zip("none zero one two three four five six seven eight nine ten".split(), "0 0 1 2 3 4 5 6 7 8 9 10".split(), strict=True))

# Spelled right. What people write instead: any of these with one apostrophe left out.
SPELLED = """ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's I'd've I'm I've isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll
they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've
who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
you've""".split()
# The last three are in the official table as they stand here; the I's can never be met, the text is in lower case by then.
CONTRACTIONS = {word[:i] + word[i + 1 :]: word for word in SPELLED for i, letter in enumerate(word) if letter == "'"} | {
    "let's": "let's",
    "she's": "she's",
    "somebody'd": "somebodyd",
}


def vqa_accuracy(predictions: Sequence[str], references: Sequence[Sequence[str]], form: Form = "official") -> list[float]:
    """Per question, 0 to 1: ``predictions [n]``, and ``references [n]`` with the people's answers to each.

    >>> vqa_accuracy(["Two dogs"], [["2 dogs"] * 2 + ["two dogs!"] + ["3"] * 7])
    [0.9]
    """
    return [_one(said, answers, form) for said, answers in zip(predictions, references, strict=True)]


def _one(said: str, answers: Sequence[str], form: Form) -> float:
    released = form == "released"
    said, answers = stripped(said), list(answers) if released else [stripped(answer) for answer in answers]
    single, differ = len(answers) == 1, len(set(answers)) > 1
    if single or differ or released:
        said = normal(said)
    if single or (differ and not released):
        answers = [normal(stripped(answer)) for answer in answers]
    elif differ:
        answers = [without_marks(answer) for answer in answers]
    return _left_one_out(answers.count(said), len(answers))


def _left_one_out(matches: int, n: int) -> float:
    if n == 1:
        return float(matches)
    return (matches * min(matches - 1, 3) + (n - matches) * min(matches, 3)) / (3 * n)


def stripped(text: str) -> str:
    """Without line ends, tabs and outer spaces."""
    return text.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(maxsize=2**16)  # a few thousand answers make up nearly all of a data set
def normal(text: str) -> str:
    """The form in which answers are compared.

    >>> normal("The 1,000 dogs' dont")
    "1000 dogs' don't"
    """
    numbers = (NUMBERS.get(word, word) for word in without_marks(text).lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in numbers if word not in ARTICLES)


def without_marks(text: str) -> str:
    """Without punctuation; case and articles stay."""
    number = COMMA_IN_NUMBER.search(text)
    out = text
    for mark in MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        out = out.replace(mark, "" if number or beside_space else " ")
    return FULL_STOP.sub("", out, count=MOST_STOPS)
