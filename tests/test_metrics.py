"""metrics.py against scikit-learn, against a naive loop, and at the edges: ties, absent classes, huge logits."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inarch.errors import ConfigError, DataError
from inarch.metrics import average_precision, classification, multilabel, probabilities, ranks

FAST = settings(max_examples=25, deadline=None)
LOGITS = st.floats(-15, 15, width=32)  # sklearn clips probabilities at 2e-16, we do not
COARSE = st.integers(-2, 2).map(float)  # makes ties


def names(n: int) -> list[str]:
    return [f"class {k}" for k in range(n)]


@st.composite
def single(draw, elements=LOGITS):
    n, c = draw(st.integers(1, 25)), draw(st.integers(1, 8))
    logits = draw(arrays.arrays(np.float32, (n, c), elements=elements))
    return logits, draw(arrays.arrays(np.int64, n, elements=st.integers(0, c - 1)))


@st.composite
def many(draw, elements=LOGITS):
    n, c = draw(st.integers(1, 25)), draw(st.integers(1, 5))
    logits = draw(arrays.arrays(np.float32, (n, c), elements=elements))
    return logits, draw(arrays.arrays(np.float32, (n, c), elements=st.sampled_from([0.0, 1.0])))


def same(ours: float | None, theirs: float) -> bool:
    """sklearn says nan where we say None."""
    return math.isnan(theirs) if ours is None else ours == pytest.approx(theirs, abs=1e-9)


def check(rows: list[dict], **columns) -> None:
    for key, values in columns.items():
        assert all(same(row[key], value) for row, value in zip(rows, values, strict=True)), (key, rows, values)


@FAST
@given(single())
def test_one_label_numbers_equal_sklearns(case):
    logits, labels = case
    predicted, every = logits.argmax(1), range(logits.shape[1])
    got = classification(logits, labels, names(logits.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn warns of undefined values, and of predicted classes without an image
        columns = oracle.precision_recall_fscore_support(labels, predicted, labels=every, zero_division=np.nan)
        balanced = oracle.balanced_accuracy_score(labels, predicted)
        macro = oracle.f1_score(labels, predicted, average="macro", zero_division=np.nan)
        table = oracle.confusion_matrix(labels, predicted, labels=every)
    assert got["n"] == len(labels)
    assert got["accuracy"] == pytest.approx(oracle.accuracy_score(labels, predicted))
    assert got["balanced_accuracy"] == pytest.approx(balanced)
    assert got["macro_f1"] == pytest.approx(macro)
    assert got["confusion"] == table.tolist()
    check(got["per_class"], **dict(zip(("precision", "recall", "f1", "support"), columns, strict=True)))


@FAST
@given(single())
def test_loss_equals_sklearns_log_loss(case):
    logits, labels = case
    got = classification(logits, labels, names(logits.shape[1]))
    if logits.shape[1] == 1:
        assert got["loss"] == 0
    else:
        expected = oracle.log_loss(labels, probabilities(logits.astype(np.float64)), labels=range(logits.shape[1]))
        assert got["loss"] == pytest.approx(expected, abs=1e-9)


@FAST
@given(many())
def test_many_label_numbers_equal_sklearns(case):
    logits, labels = case
    c = logits.shape[1]
    got = multilabel(logits, labels, names(c))
    said = probabilities(logits.astype(np.float64), multilabel=True) >= 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        two = np.c_[labels, labels], np.c_[said, said]  # sklearn takes a lone column for a one-label task
        columns = oracle.precision_recall_fscore_support(*two, average=None, zero_division=np.nan)
        micro = oracle.f1_score(labels.reshape(-1, 1), said.reshape(-1, 1), average="binary", zero_division=np.nan)
    assert same(got["micro_f1"], micro)
    check(got["per_class"], precision=columns[0][:c], recall=columns[1][:c], f1=columns[2][:c])
    there = [oracle.average_precision_score(labels[:, k], logits[:, k]) for k in range(c) if labels[:, k].any()]
    assert [row["ap"] for row in got["per_class"] if row["ap"] is not None] == pytest.approx(there)
    assert got["mAP"] == (pytest.approx(np.mean(there)) if there else None)
    assert got["absent"] == [name for name, column in zip(names(c), labels.T, strict=True) if not column.any()]


@FAST
@given(many(COARSE))
def test_average_precision_lets_equal_scores_enter_together(case):
    logits, labels = case
    for scores, truth in zip(logits.T, labels.T.astype(bool), strict=True):
        expected = oracle.average_precision_score(truth, scores) if truth.any() else None
        assert average_precision(scores, truth) == (None if expected is None else pytest.approx(expected))


@FAST
@given(single(COARSE))
def test_ranks_and_confusion_equal_a_naive_loop_also_between_equal_logits(case):
    logits, labels = case
    classes = logits.shape[1]
    table, places = [[0] * classes for _ in range(classes)], []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        order = sorted(range(classes), key=lambda k: -row[k])  # stable: the earlier class first
        table[label][order[0]] += 1
        places.append(order.index(label))
    assert ranks(logits, labels).tolist() == places
    got = classification(logits, labels, names(classes))
    assert got["confusion"] == table
    assert got["accuracy"] == pytest.approx(sum(p == 0 for p in places) / len(places))
    assert got.get("top5") == (pytest.approx(sum(p < 5 for p in places) / len(places)) if classes > 5 else None)


def test_numbers_worked_out_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2]]))
    got = classification(logits, np.array([0, 1, 1, 0]), ["cat", "dog", "eel"])
    assert got["confusion"] == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert got["accuracy"] == 0.75 and got["balanced_accuracy"] == 0.75
    assert got["loss"] == pytest.approx(-math.log(0.7 * 0.3 * 0.8 * 0.6) / 4)
    assert got["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert got["absent"] == ["eel"]
    assert got["per_class"][2] == {"name": "eel", "precision": None, "recall": None, "f1": None, "support": 0}


def test_results_are_strict_json_even_where_nothing_is_defined():
    one = classification(np.zeros((1, 2)), np.array([1]), ["a", "b"])
    nothing = multilabel(np.full((3, 2), -9.0), np.zeros((3, 2)), ["a", "b"])
    assert json.loads(json.dumps([one, nothing], allow_nan=False)) == [one, nothing]
    assert nothing["mAP"] is None and nothing["micro_f1"] is None and nothing["absent"] == ["a", "b"] and nothing["exact"] == 1


def test_huge_logits_do_not_overflow():
    huge = np.array([[1e4, -1e4], [-1e4, 1e4]])
    assert classification(huge, np.array([0, 0]), ["a", "b"])["loss"] == pytest.approx(1e4)
    assert multilabel(huge, np.array([[0, 0], [0, 1]]), ["a", "b"])["loss"] == pytest.approx(1e4 / 4)
    assert probabilities(huge, multilabel=True).tolist() == [[1, 0], [0, 1]]


def test_the_threshold_decides_what_is_predicted():
    logits, labels = np.array([[-1.0], [1.0]]), np.array([[1.0], [1.0]])
    assert [multilabel(logits, labels, ["a"], t)["per_class"][0]["recall"] for t in (0.2, 0.5, 0.9)] == [1, 0.5, 0]
    assert multilabel(np.zeros((1, 1)), np.ones((1, 1)), ["a"])["exact"] == 1  # exactly at the threshold counts


@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (np.zeros((2, 3)), np.array([0, 1]), r"\[2, 3\].*expected \[images, 2\]"),
        (np.zeros((0, 2)), np.zeros(0, int), r"\[0, 2\]"),
        (np.array([[0, 1], [np.nan, 0]]), np.array([0, 1]), "first: row 1"),
        (np.zeros((2, 2)), np.array([0]), "each of 2 images"),
        (np.zeros((2, 2)), np.array([0.0, 1.0]), "whole number"),
        (np.zeros((2, 2)), np.array([0, 2]), "0 to 2; expected 0 to 1"),
        (np.zeros((2, 2)), np.array([-1, 0]), "-1 to 0"),
    ],
)
def test_wrong_input_is_refused_with_what_was_expected(logits, labels, words):
    with pytest.raises(DataError, match=words):
        classification(logits, labels, ["a", "b"])


@pytest.mark.parametrize(
    ("labels", "threshold", "error", "words"),
    [
        (np.zeros((2, 1)), 0.5, DataError, r"expected \[2, 2\]"),
        (np.full((2, 2), 0.5), 0.5, DataError, "0.5; expected 0 or 1"),
        (np.zeros((2, 2)), 1.0, ConfigError, "threshold=1.0"),
    ],
)
def test_wrong_multilabel_input_is_refused(labels, threshold, error, words):
    with pytest.raises(error, match=words):
        multilabel(np.zeros((2, 2)), labels, ["a", "b"], threshold)
