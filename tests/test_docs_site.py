"""The documents as a site: strict, whole without a network, every public name in the reference, pictures drawn from what is there."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT

import inarch
import inarch.peft
from inarch import errors
from scripts.local_report import COSTS

DOCS = ROOT / "docs"
DRAWN = ("arc", "adaring", "vlpet", "bench-vision", "bench-vl", "bench-clip")
MADE = {"ARCConfig", "AdaRingConfig", "VLPETConfig", "ARCModel", "AdaRingModel", "VLPETModel"}  # of the methods: described in words


def reference() -> set[str]:
    text = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "api").glob("*.md")))
    return set(re.findall(r"^::: ([\w.]+)$", text, re.M))


def test_every_public_name_stands_in_the_reference() -> None:
    raised = {name for name in inarch.__all__ if hasattr(errors, name)}  # that page shows the whole module
    wanted = {f"inarch.{name}" for name in {*inarch.__all__} - raised} | {"inarch.errors"}
    wanted |= {f"inarch.peft.{name}" for name in {*inarch.peft.__all__} - MADE - {"CONFIGS", "peft"}}
    assert wanted - reference() == set()
    assert all(name in (DOCS / "api" / "peft.md").read_text(encoding="utf-8") for name in MADE)


def test_pictures_are_small() -> None:
    pictures = [*(DOCS / "pictures").iterdir()]
    compared = {f"{results.name}-{cost}" for results in (ROOT / "results").glob("local-*") for cost in COSTS.values()}
    assert {path.stem for path in pictures} == {*DRAWN, "report", *compared}
    assert [path.name for path in pictures if path.stat().st_size > 150_000] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="pip install -e '.[docs]', which make docs and make test-slow do")
    out = tmp_path_factory.mktemp("docs") / "site"
    built = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(out)], cwd=ROOT, capture_output=True,
                           text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return out


@pytest.mark.long
def test_the_site_is_whole(site: Path) -> None:
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert {"index.html", "methods.html", "source/bench.html", "source/tests/test_laws.py.html", "notebooks/few-shot-clip.html"} <= {*pages}
    shown = {name: re.sub(r"<(pre|code)\b.*?</\1>", "", text, flags=re.S) for name, text in pages.items()}
    assert [name for name, text in shown.items() if "```" in text] == []  # a fence that was not understood
    assert [name for name, text in pages.items() if re.search(r'<(?:script|img|iframe)[^>]+src="https?:', text)] == []
    assert [name for name, text in pages.items() if re.search(r'<link[^>]+rel="stylesheet"[^>]+href="https?:', text)] == []
    for name, text in pages.items():
        for source in re.findall(r'<img[^>]+src="([^":]+)"', text):
            assert (site / name).parent.joinpath(html.unescape(source)).exists(), f"{name}: {source}"


@pytest.mark.long
def test_equations_are_mathml(site: Path) -> None:
    methods = (site / "methods.html").read_text(encoding="utf-8")
    assert methods.count('display="block"') == 5 and methods.count("<math") > 20
    assert "arithmatex" not in methods and "\\left" not in methods


@pytest.mark.long
def test_tables_read_as_in_the_repository(site: Path) -> None:
    assert "<code>cat|dog</code>" in (site / "data.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_the_reference_has_signatures_and_docstrings(site: Path) -> None:
    core = (site / "api" / "core.html").read_text(encoding="utf-8")
    for name in ("graft", "ungraft", "merge", "unmerge", "save", "load", "count", "sites", "disabled", "use", "Predictor"):
        assert f'id="inarch.{name}"' in core
    assert "allow_base_mismatch" in core and "bit for bit" in core
    assert 'class="gp">&gt;&gt;&gt;' in (site / "api" / "running.html").read_text(encoding="utf-8")  # a session, highlighted as one


def as_committed(name: str, figure: Any, folder: Path) -> None:
    from docs_drawing import write

    drawn = write(figure, folder / f"{name}.svg").read_bytes()
    assert drawn == (DOCS / "pictures" / f"{name}.svg").read_bytes(), f"{name}: run scripts/docs_figures.py and scripts/docs_plots.py"


@pytest.mark.long
def test_drawings_are_what_the_script_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import docs_figures

    for name, draw in docs_figures.DRAWINGS.items():
        as_committed(name, draw(), tmp_path)


@pytest.mark.long
def test_plots_are_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import docs_plots

    for family, figure in docs_plots.plots().items():
        as_committed(f"bench-{family}", figure, tmp_path)


@pytest.mark.long
def test_links_of_the_repository_become_links_of_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mkdocs")
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import docs_site

    for link, here, page, there in (
        ("../bench/README.md", "docs/performance.md", "performance.md", "source/bench.md"),
        ("methods.md", "docs/api/methods.md", "api/methods.md", "methods.md"),  # is itself
        ("../methods.md", "docs/api/methods.md", "api/methods.md", "../methods.md"),
        ("../notebooks/few-shot-clip.ipynb", "docs/index.md", "index.md", "notebooks/few-shot-clip.md"),
        ("../docs/methods.md", "notebooks/few-shot-clip.ipynb", "notebooks/few-shot-clip.md", "../methods.md"),
        ("docs/methods.md", "README.md", "source/README.md", "../methods.md"),
        ("tests/test_laws.py", "README.md", "source/README.md", "tests/test_laws.py.md"),
        ("../recipes/ablations", "docs/protocols.md", "protocols.md", "source/recipes/ablations/index.md"),
        ("gone.md", "docs/index.md", "index.md", "gone.md"),  # strict mode says so
    ):
        assert docs_site.moved(link, here, page) == there
    text = "[a](../CONTRIBUTING.md#b) `[c](../CONTRIBUTING.md)`\n```bash run\n[d](../CONTRIBUTING.md)\n```\n"
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    said = docs_site.on_page_markdown(text, page=page, config=None, files=None)
    assert said == "[a](source/CONTRIBUTING.md#b) `[c](../CONTRIBUTING.md)`\n```bash\n[d](../CONTRIBUTING.md)\n```\n"
