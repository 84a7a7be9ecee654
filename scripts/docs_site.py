"""MkDocs hook: the repository as one site. docs/*.md are written for the repository; what they link to outside of docs/ becomes pages here.

    docs/x.md              x.md
    notebooks/x.ipynb      notebooks/x.md, as executed
    bench/README.md        source/bench.md        CONTRIBUTING.md    source/CONTRIBUTING.md, and any other Markdown alike
    tests/x.py             source/tests/x.py.md, a page with its text; a folder: a page with its names
    results/x.json, .png   source/results/x.json, the file itself
Equations become MathML, which browsers draw without any script.
"""

from __future__ import annotations

import html
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import docs_notebook  # noqa: E402  the hook is loaded by its path

CODE = re.compile(r"(^```.*?^```[^\n]*$|`[^`\n]+`)", re.M | re.S)
LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?(\))")
FOR_TESTS = re.compile(r"^(```\w+) (?:run|needs=\w+)$", re.M)  # what a fence says to tests/test_readme.py
MATH = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.S)
ORIGINS: dict[str, str] = {}  # page of the site that was added -> path in the repository
CELL = re.compile(r"<td\b.*?</td>", re.S)
LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "bash", ".yml": "yaml"}


def on_files(files: Files, *, config: Any) -> Files:
    """Add every file of the repository that a page, or a page so added, links to."""
    todo = [f"docs/{file.src_uri}" for file in files if file.is_documentation_page()]
    while todo:
        here = todo.pop()
        if not here.endswith(".md"):
            continue
        for target in linked((ROOT / here).read_text("utf-8"), here):
            uri = place(target)
            if files.get_file_from_path(uri) is None and not target.startswith("docs/"):
                for file in made(target, uri, config):
                    files.append(file)
                ORIGINS[uri] = target
                todo.append(target)
    return files


def linked(markdown: str, here: str) -> Iterator[str]:
    """Paths in the repository that a document at ``here`` links to and that exist; fences and inline code are passed over."""
    for text in CODE.split(markdown)[::2]:
        for match in LINK.finditer(text):
            target = resolved(match[2], here)
            if target is not None and (ROOT / target).exists():
                yield target


def resolved(link: str, here: str) -> str | None:
    """Where a relative link leads, as a path in the repository; None where it leaves it."""
    target = os.path.normpath(PurePosixPath(here).parent / link).replace(os.sep, "/")
    return None if target.startswith("..") else target


def place(target: str) -> str:
    """Where the site has a path of the repository."""
    path = PurePosixPath(target)
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if path.suffix == ".ipynb":
        return str(path.with_suffix(".md"))
    if path.name == "README.md" and len(path.parts) > 1:
        return f"source/{path.parent}.md"
    if (ROOT / target).is_dir():
        return f"source/{target}/index.md"
    return f"source/{target}.md" if path.suffix in LANGUAGES or not path.suffix else f"source/{target}"


def made(target: str, uri: str, config: Any) -> list[File]:
    """The files of the site for one path of the repository."""
    path = ROOT / target
    if path.suffix == ".ipynb":
        text, pictures = docs_notebook.page(path)
        beside = [File.generated(config, f"notebooks/{name}", content=data) for name, data in pictures.items()]
        return [File.generated(config, uri, content=text), *beside]
    if path.is_dir():
        return [File.generated(config, uri, content=listing(path, target))]
    if path.suffix in LANGUAGES or not path.suffix:
        body = f"# {target}\n\n````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text('utf-8')}````\n"
        return [File.generated(config, uri, content=body)]
    return [File.generated(config, uri, abs_src_path=str(path))]


def listing(folder: Path, target: str) -> str:
    names = sorted(child.name + "/" * child.is_dir() for child in folder.iterdir())
    return "\n".join([f"# {target}", "", "In the repository:", "", *(f"- `{name}`" for name in names), ""])


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Links of the repository become links of the site, fences lose what they say to the tests."""
    here = ORIGINS.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    parts = CODE.split(FOR_TESTS.sub(r"\1", markdown))
    parts[::2] = [LINK.sub(lambda match: match[1] + moved(match[2], here, page.file.src_uri) + (match[3] or "") + match[4], text)
                  for text in parts[::2]]
    return "".join(parts)


def moved(link: str, here: str, uri: str) -> str:
    target = resolved(link, here)
    if target is None or not (ROOT / target).exists():
        return link  # strict mode says what is broken
    return os.path.relpath(place(target), PurePosixPath(uri).parent).replace(os.sep, "/")


def on_page_content(content: str, *, page: Any, config: Any, files: Files) -> str:
    """What arithmatex marked as an equation becomes MathML; a bar that a table had to escape in code is a bar, as in the repository."""
    content = CELL.sub(lambda cell: cell[0].replace("\\|", "|"), content)
    return MATH.sub(lambda found: convert(html.unescape(found[3]).strip(), display="block" if found[2] == "[" else "inline"), content)
