"""timm's own model tests on models with adapters (scripts/timm_matrix.py)."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from scripts import foreign_tests, timm_matrix


@pytest.mark.long
def test_what_fails_has_a_reason():
    """The smallest of timm's ViTs; the whole matrix is in results/timm-matrix.json."""
    try:
        lines = timm_matrix.run("ARC", "-k", "test_vit2 and not torchscript")
    except foreign_tests.NotFetched as problem:
        pytest.skip(f"timm's source distribution could not be fetched: {problem}")
    assert foreign_tests.unexplained(lines) == []
    counts = Counter(line["outcome"] for line in lines)
    assert counts["passed"] >= 6 and counts["failed"] <= 2, counts


def test_the_page_is_of_the_results():
    found = json.loads(timm_matrix.RESULT.read_text(encoding="utf-8"))
    assert timm_matrix.PAGE.read_text(encoding="utf-8") == timm_matrix.page(found), "run python scripts/timm_matrix.py"
    assert foreign_tests.unexplained(found["cases"]) == [] and {line["method"] for line in found["cases"]} == {*timm_matrix.METHODS}
