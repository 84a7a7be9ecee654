"""docs/reliability.md is what its results say, and every row of a built part has a test that was run."""

from scripts import reliability_table


def test_the_page_is_of_the_results_and_no_row_lacks_a_test():
    assert reliability_table.stale() == [], "run make reliability"


def test_a_row_without_a_test_and_a_test_that_is_gone_are_noticed(tmp_path, monkeypatch):
    lines = reliability_table.ROWS.read_text(encoding="utf-8")
    without = tmp_path / "rows.json"
    without.write_text(lines.replace('"row": "E8"', '"row": "E7"').replace("::test_any_truncation_is_refused", "::test_of_yesterday"))
    monkeypatch.setattr(reliability_table, "ROWS", without)
    said = " ".join(reliability_table.stale())
    assert "E8 has no test that was run" in said and "test_of_yesterday is gone" in said and "is old" in said
