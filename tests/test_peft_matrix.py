"""PEFT's own custom-model tests on our methods, with the installed PEFT and the lowest supported one (scripts/peft_matrix.py)."""

from __future__ import annotations

import importlib.metadata
import json
from collections import Counter

import pytest

from scripts import foreign_tests, peft_matrix


@pytest.mark.long
@pytest.mark.parametrize("version", sorted({peft_matrix.LOWEST, importlib.metadata.version("peft")}))
def test_what_fails_has_a_reason(version):
    """At least 264 of PEFT's tests pass for ARC; every failure of the three methods is one that we can explain."""
    try:
        lines = peft_matrix.run(version)
    except foreign_tests.NotFetched as problem:
        pytest.skip(f"PEFT's source distribution could not be fetched: {problem}")
    assert foreign_tests.unexplained(lines) == []
    passed = Counter(line["method"] for line in lines if line["outcome"] == "passed")
    failed = Counter(line["method"] for line in lines if line["outcome"] == "failed")
    assert passed["ARC"] >= 264 and failed["ARC"] <= 5, (passed, failed)
    assert min(passed.values()) > 100


def test_the_page_is_of_the_results():
    found = json.loads(peft_matrix.RESULT.read_text(encoding="utf-8"))
    assert peft_matrix.PAGE.read_text(encoding="utf-8") == peft_matrix.page(found), "run python scripts/peft_matrix.py"
