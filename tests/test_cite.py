"""Citations: every method has its paper, what is printed is BibTeX, and CITATION.cff names the three papers."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

import inarch
from inarch.cli import main
from inarch.errors import ConfigError
from inarch.methods.registry import METHODS, SETTINGS
from inarch.suites.citing import FILE, cited, entries


def test_every_method_has_an_entry_and_no_entry_another() -> None:
    words = [word for _, words in entries().values() for word in words]
    assert {*words} == {*METHODS, *SETTINGS}
    assert len(entries()) == FILE.read_text("utf-8").count("\n@")  # none is lost in parsing


def test_each_entry_is_whole_bibtex() -> None:
    for key, (text, _) in entries().items():
        assert text.count("{") == text.count("}") and "keywords" not in text, key
        assert re.search(r"^\s+title\s+= \{", text, re.M) and not re.search(r",\s*,", text), key
        assert key == "inarch" or re.search(r"\byear\s+= \{\d{4}\}", text), key


def test_the_arxiv_numbers_are_those_of_the_method_files() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "inarch" / "methods").glob("*.py")).replace("\n", " ")
    ours = {number for text, _ in entries().values() for number in re.findall(r"eprint\s+= \{([\d.]+)\}", text)}
    unnumbered = {"2112.06825", "2106.10199", "2402.09353"}  # VL-Adapter and BitFit are named without, DoRA is PEFT's
    assert ours - set(re.findall(r"\d{4}\.\d{5}", sources)) <= unnumbered


def test_cite_prints_the_entries_of_the_methods_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cite", "arc", "fact-tk"]) == 0
    assert re.findall(r"^@\w+\{(.+),", capsys.readouterr().out, re.M) == ["inarch", "dong2023arc", "jie2023fact"]
    assert main(["cite", "ark"]) == 2
    assert "no paper is known of method 'ark'; did you mean 'arc'?" in capsys.readouterr().err


def test_no_method_cites_all_and_another_packages_method_is_not_ours() -> None:
    assert len(cited()) == len(entries())
    with pytest.raises(ConfigError, match="another package's method is cited as that package says"):
        cited(["pkg.mod:Mine"])


def test_citation_file_has_this_version_and_the_three_papers() -> None:
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(rf"^version: {re.escape(inarch.__version__)}$", text, re.M) and "cff-version: 1.2.0" in text
    for key in ("dong2023arc", "huang2025adaring", "hu2023vlpet"):
        entry = entries()[key][0]
        title, families = re.search(r"title\s+= \{(.+)\},", entry)[1], re.findall(r"(?:\{|and )([A-Z][\w-]+), ", entry)
        assert title in text and all(f"family-names: {name}," in text for name in families), key
