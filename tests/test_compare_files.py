"""compare as files: a line per run for pandas, a LaTeX table; no word in them is obeyed."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from finished import result
from test_compare_page import LINEAR, LORA, failure, of, trial

from inarch.reporting.latex import escaped


def test_csv_has_a_line_per_run_that_pandas_reads(tmp_path: Path) -> None:
    usual_run = result(seed=1, saved_bytes=80, saved_examples=4, train_loss=0.25)
    found = of(tmp_path, usual_run, result(seed=0, data="=1+1"), trial(0.1, 0.5), failure("VeRA"))
    lines = list(csv.DictReader(io.StringIO(found.csv())))
    assert [line["status"] for line in lines] == ["finished", "finished", "trial", "failed"]
    odd, usual, tried, lost = lines
    assert odd["data"] == "'=1+1" and usual["data"] == "pets"  # no spreadsheet computes a name
    assert (usual["seed"], usual["score"], usual["saved_bytes_per_example"], usual["lr"], usual["commit"], usual["data_sha256"]) == (
        "1", "0.75", "20.0", "0.01", "c" * 40, "a" * 64)  # fmt: skip
    assert (usual["train_loss"], odd["train_loss"]) == ("0.25", "")
    assert (tried["score"], tried["val"], lost["score"], lost["reason"], lost["seed"]) == ("", "0.5", "", "out of memory", "2")


def test_latex_is_a_booktabs_table_with_ranges(tmp_path: Path) -> None:
    text = of(tmp_path, *(result(seed=s, data="nlvr_count7", test=t) for s, t in enumerate((0.7, 0.8)))).latex()
    body = text[text.index(r"\begin{tabular}") : text.index(r"\end{tabular}")]
    assert body.splitlines() == [
        r"\begin{tabular}{lrrr}", r"\toprule", r"method & trained, no head & nlvr\_count7 & mean (1 sets) \\", r"\midrule",
        r"ARC(rank=50, dropout=0.1) & 5,000 & 75.0 {\scriptsize {[}70.0, 80.0{]}} & 75.0 \\", r"\bottomrule"]  # fmt: skip
    assert text.count(r"\begin{") == text.count(r"\end{") == 2 and "textbf" not in text and "usepackage{booktabs}" in text


def test_latex_marks_the_best_of_a_budget_only_where_asked(tmp_path: Path) -> None:
    found = of(tmp_path, result(test=0.7), result(**LINEAR, test=0.5), result(**LORA, test=0.9))
    assert "textbf" not in found.latex()
    text = found.latex([5000, 100_000])
    assert re.findall(r"\\textbf\{(.*?)\}", text) == ["70.0", "70.0"]  # LoRA is alone in its budget, and best of nothing
    assert text.count(r"\midrule") == 2
    assert re.findall(r"\\textbf\{(.*?)\}", found.latex([100_000])) == ["90.0", "90.0"]


@pytest.mark.parametrize("text", [r"\input{/etc/passwd}", "50% & more", "$x_1^2$", "a#b~c", "[x]", "two\nlines\x00", "<a|b>", "--",
                                  "`q'", "*"])
def test_latex_shows_every_sign_and_obeys_none(text: str) -> None:
    shown = escaped(text)
    bare = re.sub(r"\\(?:text[a-z]+\{\}|[{}$&#%_])|\{[\[\]*-]\}", "", shown)
    assert not set(bare) & set("\\{}$&#%_~^<>|\"'`-[]*\n\x00")


def test_latex_holds_its_footnotes(tmp_path: Path) -> None:
    ring = {"method": "adaring", "config": {"ranks": [4]}}
    text = of(tmp_path, result(**ring), result(**ring, seed=1, test=None), "{").latex()
    assert "a reconstruction from the abstract" in text and "not used: " in text and "no test accuracy for seed 1" in text
