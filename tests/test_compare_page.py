"""compare: failures in their place, trials, seals, provenance; the page, on which no word is obeyed."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from finished import put, result

from inarch.compare import Comparison, compare
from inarch.errors import DataError
from inarch.methods import METHODS
from inarch.methods.registry import SETTINGS
from inarch.recipe import Recipe
from inarch.reporting import honesty
from inarch.seal import sealed

LORA = {"method": "lora", "config": {"rank": 8}, "count": {"head": 300, "trainable": 20_300}}
LINEAR = {"method": "linear", "config": {}, "count": {"head": 300, "trainable": 300}}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def of(folder: Path, *results: dict, **options) -> Comparison:
    for i, fields in enumerate(results):
        put(folder, f"{i}.json", fields)
    return compare([folder], **options)


def failure(method: str = "ARC(rank=50, dropout=0.1)", data: str = "pets", seed: int = 2, reason: str = "out of memory", **more) -> dict:
    return {"format": 1, "failed": {"method": method, "data": data, "backbone": "timm:vit_tiny", "seed": seed, "reason": reason,
                                    "trained": 5000} | more}


def trial(lr: float, val: float, **how) -> dict:
    fields = result(lr=lr, seed=42, test=None, metrics={"val": {"accuracy": val}}, **how)
    fields["recipe"]["test"] = False
    return fields


def row_of(markdown: str, *words: str) -> list[str]:
    (line,) = [line for line in markdown.splitlines() if line.startswith("|") and all(word in line for word in words)]
    return [cell.strip() for cell in line.strip("|").split("|")]


# failures


def test_a_failed_seed_takes_the_mean_with_it_and_stands_in_the_table(tmp_path: Path) -> None:
    found = of(tmp_path, result(seed=0), result(seed=1), failure())
    (row,) = found.rows
    assert row.mean is None and row.score_text() == "– (1 of 3 failed)" and found.problems == ()
    assert "failed (seed 2): out of memory" in row_of(found.markdown(), "out of memory")
    assert any("seed 2 failed (out of memory); the mean over the others would be another number" in note for note in found.notes)
    assert not any("no run with seed 2" in note for note in found.notes)
    assert "– (1 of 3 failed)" in found.matrix_markdown() and "failed (seed 2): out of memory" in found.html(plots=False)
    told = found.to_json()
    assert told["rows"][0]["mean"] is None and told["rows"][0]["failed"] == [2] and told["failures"][0]["reason"] == "out of memory"


def test_a_method_that_always_fails_has_its_line_and_no_mean_over_sets(tmp_path: Path) -> None:
    lost = [failure("VeRA(rank=4)", seed=seed, trained=None) for seed in (0, 1)]
    found = of(tmp_path, result(), result(data="cars"), *lost, failure("LoRA(rank=8)", "cars", 0, "loss is nan"), result(**LORA))
    assert row_of(found.markdown(), "VeRA") == ["VeRA(rank=4)", "pets", "0", "failed (seeds 0, 1): out of memory", "–", "", "", ""]
    assert row_of(found.matrix_markdown(), "VeRA") == ["VeRA(rank=4)", "–", "–", "– (2 failed)", "– (2 of 2 missing)"]
    assert row_of(found.matrix_markdown(), "LoRA")[2:] == ["– (1 failed)", "75.0", "– (1 of 2 missing)"]


def test_only_failures_are_a_table_too(tmp_path: Path) -> None:
    found = of(tmp_path, failure())
    assert "out of memory" in found.markdown() and "no run has finished" in found.markdown() and "none finished" in found.html()
    assert "failed" in found.csv() and "5,000" in found.latex()


def test_a_failure_that_was_run_again_is_said_and_counts_no_more(tmp_path: Path) -> None:
    found = of(tmp_path, result(seed=0), failure(seed=0))
    assert found.failures == () and found.rows[0].mean == 0.75
    assert any("seed 0, failed (out of memory) and was run again" in note for note in found.notes)


def test_a_failure_that_says_too_little_is_named_with_the_reason(tmp_path: Path) -> None:
    found = of(tmp_path, result(), {"format": 1, "failed": {"method": "ARC", "data": "pets", "backbone": "b", "seed": "0", "reason": "x"}},
               {"format": 2, "failed": {}})
    assert len(found.problems) == 2 and "seed is '0'" in found.problems[0] and "format 2" in found.problems[1]


# trials


def test_trials_are_no_rows_and_say_how_often_each_was_tried(tmp_path: Path) -> None:
    tries = [trial(0.1, 0.5), trial(0.01, 0.7), trial(0.001, 0.6), trial(0.1, 0.4, **LORA), trial(0.01, 0.6, **LORA)]
    found = of(tmp_path, result(), result(**LORA), *tries)
    assert len(found.rows) == 2 and not any("no test accuracy" in note for note in found.notes)
    arc, lora = found.tried
    assert (arc.method, arc.words, arc.used) == ("ARC(rank=50, dropout=0.1)", "lr=0.01: 70.0; lr=0.001: 60.0; lr=0.1: 50.0", ("lr=0.01",))
    assert any("different numbers of trials (ARC(rank=50, dropout=0.1) 3, LoRA(rank=8) 2)" in note for note in found.notes)
    assert lora.words in html.unescape(found.html(plots=False)) and found.to_json()["trials"][1]["used"] == ["lr=0.01"]


def test_a_trial_never_takes_the_place_of_a_finished_run(tmp_path: Path) -> None:
    late = trial(0.01, 0.9) | {"finished": "2026-01-01T00:00:00+00:00", "seed": 0}
    found = of(tmp_path, result(), late)
    assert found.rows[0].mean == 0.75 and found.notes == ()


def test_trials_alone_are_what_is_compared(tmp_path: Path) -> None:
    found = of(tmp_path, trial(0.1, 0.5), trial(0.01, 0.7))
    assert len(found.rows) == 2 and found.trials == () and "| 70.0 |" in found.markdown()


def test_a_failed_trial_fails_no_row(tmp_path: Path) -> None:
    found = of(tmp_path, result(), trial(0.1, 0.5), failure(seed=42, reason="loss is nan", trial=True))
    assert found.rows[0].mean == 0.75 and found.tried[0].words == "lr=0.1: 50.0; seed 42: failed" and len(found.failures) == 1
    assert "loss is nan" not in found.markdown() and "loss is nan" in found.html(plots=False) and "loss is nan" in found.csv()
    alone = of(tmp_path / "alone", trial(0.1, 0.5), failure(seed=43, reason="loss is nan", trial=True))
    assert "loss is nan" in alone.markdown()


# what may be trusted


def test_a_result_that_was_changed_after_its_run_is_not_used(tmp_path: Path) -> None:
    good, bad = sealed(result(seed=0)), sealed(result(seed=1)) | {"metrics": {"test": {"accuracy": 0.99}}}
    found = of(tmp_path, good, bad)
    assert len(found.rows[0].results) == 1 and "was changed after the run wrote it" in found.problems[0]
    page = found.html(plots=False)
    assert "Not used" in page and "was changed after the run wrote it" in page and "1 results carry the seal" in page
    assert "1 of 1 results were written before" in of(tmp_path / "old", result()).html(plots=False)


@pytest.mark.parametrize("count", [{"head": 300, "trainable": 5300, "without_head": 5300}, {"head": 400, "trainable": 300}])
def test_a_count_by_another_convention_is_refused(tmp_path: Path, count: dict) -> None:
    found = of(tmp_path, result(), result(seed=1, count=count))
    assert len(found.problems) == 1 and "another convention" in found.problems[0]
    none = of(tmp_path / "none", result(), result(seed=1, count={"trainable": 5300}))
    assert "'head'" in none.problems[0]


def test_every_method_says_what_it_was_held_against() -> None:
    assert set(honesty.ORIGINS) == set(METHODS)
    kinds = {honesty.GOLDEN, honesty.FORMULA, honesty.DEFINITION, honesty.RECONSTRUCTION}
    assert {origin.kind for origin in honesty.ORIGINS.values()} == kinds and all(origin.words for origin in honesty.ORIGINS.values())
    assert honesty.ORIGINS["adaring"].kind == honesty.RECONSTRUCTION and honesty.ORIGINS["arc"].kind == honesty.GOLDEN
    assert all(honesty.origin(name).kind == honesty.FORMULA for name in {*SETTINGS} - {"dora"})
    assert honesty.origin("dora") == honesty.PEFT
    assert honesty.origin("peft:vera") == honesty.PEFT and honesty.origin("pkg.mod:Class") == honesty.ANOTHER


def test_every_table_says_where_its_methods_come_from(tmp_path: Path) -> None:
    found = of(tmp_path, result(), result(**LINEAR), result(method="adaring", config={"ranks": [4]}), result(method="peft:oft", config={}))
    line = "provenance: by definition: Linear; reconstruction: AdaRing; golden against released code or peft: ARC; peft itself: peft:oft"
    assert sorted(line[12:].split("; ")) == sorted(found.provenance[0][12:].split("; "))
    for text in (found.markdown(), found.matrix_markdown(), found.latex()):
        assert "golden against released code or peft: ARC" in text


# the page


HOSTILE = "<script>alert(1)<b onload=x>&\"'$x$"


class Tables(HTMLParser):
    """Every table's lines of cells, and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.tables: list[list[list[str]]] = []
        self.open = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self.open = self.open or tag in ("td", "th")

    def handle_endtag(self, tag):
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data):
        if self.open:
            self.tables[-1][-1][-1] += data


def whole(folder: Path) -> Comparison:
    return of(folder, *(result(data=data, seed=seed, test=0.5 + seed / 10) for data in ("pets", "cars") for seed in (0, 1, 2)),
              *(result(**LORA, data=data, seed=seed, test=0.45 + seed / 9) for data in ("pets", "cars") for seed in (0, 1, 2)),
              result(**LINEAR, data=HOSTILE), trial(0.1, 0.5), failure("LoRA(rank=8)", "cars", 7, HOSTILE), "{",
              groups={"natural": ["pets", "cars"], "odd": [HOSTILE]})


def test_the_page_holds_everything_in_order_and_obeys_nothing(tmp_path: Path) -> None:
    found = whole(tmp_path)
    page = found.html("A title", plots=False)
    assert re.findall("<h2>(.*?)</h2>", page) == ["Methods and data sets", "Before comparing", "Runs", "Are they different?", "Failed",
                                                  "Not used", "Where the methods come from", "Trials", "Every run"]
    seen = Tables(page)
    assert not {tag for tag, _ in seen.tags} & {"script", "link", "iframe", "object", "embed", "form", "a", "base"}
    assert seen.tables[0] == [found.matrix.header, *found.matrix.texts] and seen.tables[1] == [found.listing.titles, *found.listing.lines]
    assert found.matrix.columns[-2:] == ("mean (3 sets)", "mean (2 groups)")
    assert any(line[1].startswith("golden: outputs and gradients of the released") for table in seen.tables for line in table)
    assert "lr = 0.01" in page and "<title>A title</title>" in page and page.count("<details>") > 3
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


def test_a_recipe_on_the_page_makes_the_same_run_again(tmp_path: Path) -> None:
    """AdaRing on all layers: TOML has no word for None, and its default is the last eight."""
    recipe = Recipe.parse({"data": "digits", "backbone": "mini-vit", "method": "adaring", "set": {"layers": None}, "out": "runs/x"})
    taken = result(method="adaring", config={}, recipe=recipe.model_dump(mode="json"))
    strange = result(recipe=taken["recipe"] | {"of_another_version": 1})
    shown, as_it_is = (html.unescape(re.findall("<pre>(.*?)</pre>", of(tmp_path / name, fields).html(plots=False), re.DOTALL)[-1])
                       for name, fields in (("taken", taken), ("strange", strange)))
    assert Recipe.parse(tomllib.loads(shown)).method_config() == recipe.method_config()
    assert json.loads(as_it_is) == strange["recipe"]


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here; on Debian: apt-get install chromium")
def test_chromium_shows_the_tables_and_the_plots(tmp_path: Path) -> None:
    found = whole(tmp_path / "runs")
    page = put(tmp_path, "page.html", found.html())
    flags = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=3000")
    shown = subprocess.run([BROWSER, *flags, "--dump-dom", page.as_uri()], check=True, capture_output=True, timeout=120).stdout.decode()
    seen = Tables(shown)
    assert seen.tables[0] == [found.matrix.header, *found.matrix.texts] and seen.tables[1] == [found.listing.titles, *found.listing.lines]
    assert sum(tag == "img" for tag, _ in seen.tags) == 3 and "script" not in {tag for tag, _ in seen.tags}


def test_failures_alone_or_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to compare"):
        of(tmp_path, "{")
    assert json.dumps(of(tmp_path, "{", failure()).to_json(), allow_nan=False)
