"""What the documents say works: Python fences are run, ``bash run`` fences too, and every ``inarch`` line must parse.

A fence that cannot run offline says so: ```` ```python needs=hub ```` is run by ``make test-hub`` alone. The fences of one
document share a folder and their names, in order; one with ``title="x.py"`` is also that file, for the later ones to import.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT

from inarch.cli import app, main
from scripts import make_tables

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
VERBS = sorted(app.VERBS)


@dataclass(frozen=True)
class Fence:
    """A fenced block: language, the words after it, its text, the line it begins on."""

    language: str
    words: tuple[str, ...]
    text: str
    line: int

    @property
    def runs(self) -> bool:
        return "needs=hub" not in self.words and (self.language == "python" or (self.language == "bash" and "run" in self.words))


def fences(document: Path) -> list[Fence]:
    text = document.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^```(\w*)([^\n]*)\n(.*?)^```$", text, re.M | re.S):
        found.append(Fence(match[1], tuple(match[2].split()), match[3], text.count("\n", 0, match.start()) + 2))
    return found


def commands(text: str) -> list[list[str]]:
    """The ``inarch`` lines of a shell fence, continued lines joined, comments and pipes cut off."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line.split(" | ")[0], comments=True)[1:] for line in lines if line.startswith("inarch ")]


def play(fence: Fence, names: dict[str, object], document: Path) -> None:
    if fence.language == "bash":
        for command in commands(fence.text):
            assert main(command) == 0, f"{document.name}:{fence.line}: inarch {shlex.join(command)}"
        return
    for title in re.findall(r'title="([\w.]+)"', " ".join(fence.words)):
        Path(title).write_text(fence.text, encoding="utf-8")
    code = "\n" * (fence.line - 1) + fence.text  # so that a traceback names the line of the document
    exec(compile(code, str(document), "exec"), names)


@pytest.mark.long
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_fences_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for fence in fences(document):
        if fence.runs:
            play(fence, names, document)


@pytest.mark.hub
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_fences_that_need_the_hub_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for fence in fences(document):
        if fence.language == "python" and "needs=hub" in fence.words:
            play(fence, {"__name__": "__main__"}, document)


def parse(command: list[str]) -> None:
    """Read a command line as the program would, without running it; raises what the program would say."""
    root = app.command(command)
    context = root.make_context("inarch", list(command))
    with context:
        name, verb, rest = root.resolve_command(context, [*context._protected_args, *context.args])
        verb.make_context(name, rest, parent=context)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_the_documents_parses(document: Path) -> None:
    for fence in fences(document):
        for command in commands(fence.text) if fence.language in ("bash", "sh", "") else []:
            parse(command)


@pytest.mark.parametrize("verb", VERBS)
def test_every_example_in_the_help_parses(verb: str) -> None:
    text = app._verb(verb).__doc__
    examples = [shlex.split(line.strip())[1:] for line in text.splitlines() if re.match(r"\s*inarch [a-z]", line)]
    assert examples and all(example[0] == verb for example in examples)
    for example in examples:
        parse(example)


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.name)
def test_recipes_are_valid_and_open_with_their_command(recipe: Path) -> None:
    from inarch.recipe import load_recipe

    load_recipe(recipe)
    first = recipe.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# inarch train ")
    parse(shlex.split(first.removeprefix("# "))[1:])


def test_the_readme_shows_all_verbs() -> None:
    said = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [verb for verb in VERBS if f"inarch {verb}" not in said] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)]
    assert [link for link in links if link and not (document.parent / link).exists()] == []


@pytest.mark.long
def test_the_tables_are_what_the_programs_print() -> None:
    assert make_tables.stale() == [], "run python scripts/make_tables.py"
