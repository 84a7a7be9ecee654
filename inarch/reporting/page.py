"""A page of text, tables and pictures, as one self-contained HTML file or as Markdown; every word is shown, none obeyed."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from inarch.reporting import markdown
from inarch.reporting.plots import Plot

STYLE = """
:root { color-scheme: light dark;
  --paper: #fff; --text: #1f2328; --quiet: #59636e; --line: #d8dee4; --card: #f6f8fa; --mark: #0b62c4; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15191f; --text: #e6edf3; --quiet: #9aa5b1; --line: #363c44; --card: #1d232b; --mark: #6cb0ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1.25rem 4rem; background: var(--paper); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 46rem; }
.lead { color: var(--quiet); margin: 0 0 1.25rem; max-width: none; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .75rem; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .75rem .9rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile:first-child b { color: var(--mark); }
.tile span { display: block; font-size: .88rem; font-weight: 600; }
.tile small { display: block; color: var(--quiet); font-size: .82rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; }
th, td { overflow-wrap: break-word; }
th[scope=row] { white-space: nowrap; }
thead + tbody th[scope=row] { white-space: normal; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.n { white-space: normal; }
.range { display: block; color: var(--quiet); font-size: .82rem; }
.plot { display: block; height: auto; margin: .5rem 0 1rem; }
.shrinks { max-width: 100%; min-width: 34rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .9rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .7rem; }
figure img { display: block; height: 128px; max-width: 100%; margin: 0 auto .5rem; object-fit: contain; }
figcaption { font-size: .82rem; line-height: 1.4; }
figcaption span { display: block; }
figcaption span:first-child { font-weight: 600; }
figcaption span:last-child { color: var(--quiet); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem; overflow-x: auto;
  font-size: .84rem; }
summary { cursor: pointer; color: var(--mark); }
"""

# nothing is fetched, whatever a name might smuggle in
SEALED = """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">"""


@dataclass(frozen=True)
class Table:
    """``right``: which columns hold numbers. Without a header, the first column names what the second says."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]


@dataclass(frozen=True)
class Gallery:
    """Pictures (PNG, or None where there is none), each with its lines of text."""

    pictures: tuple[tuple[bytes | None, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Code:
    """Verbatim text, folded away under ``summary``."""

    summary: str
    text: str


@dataclass(frozen=True)
class Folded:
    """Blocks folded away under ``summary``."""

    summary: str
    blocks: tuple[Block, ...]


Block = str | Table | Gallery | Code | Plot | Folded


@dataclass(frozen=True)
class Tile:
    """One number of the headline: what it is, its value, and what to know about it."""

    title: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    title: str
    lead: str
    tiles: tuple[Tile, ...]
    sections: tuple[tuple[str, tuple[Block, ...]], ...]


def to_html(page: Page) -> str:
    """One file without scripts and without anything to fetch."""
    tiles = "".join(f'<div class="tile"><b>{_e(t.value)}</b><span>{_e(t.title)}</span><small>{_e(t.note)}</small></div>'
                    for t in page.tiles)
    sections = "".join(f"<section>\n<h2>{_e(title)}</h2>\n" + "\n".join(map(_html, blocks)) + "\n</section>\n"
                       for title, blocks in page.sections)
    return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n{SEALED}\n<title>{_e(page.title)}</title>\n'
            f'<style>{STYLE}</style>\n</head>\n<body>\n<h1>{_e(page.title)}</h1>\n<p class="lead">{_e(page.lead)}</p>\n'
            f'<div class="tiles">{tiles}</div>\n{sections}</body>\n</html>\n')


def _html(block: Block) -> str:
    match block:
        case str():
            return f"<p>{_e(block)}</p>"
        case Table():
            return _html_table(block)
        case Gallery():
            return f'<div class="gallery">{"".join(_html_picture(png, lines) for png, lines in block.pictures)}</div>'
        case Code():
            return f"<details><summary>{_e(block.summary)}</summary><pre>{_e(block.text)}</pre></details>"
        case Plot():
            return _html_plot(block)
        case Folded():
            return f"<details><summary>{_e(block.summary)}</summary>{''.join(map(_html, block.blocks))}</details>"


def _html_plot(plot: Plot) -> str:
    """A figure full of small text keeps its size and scrolls; another shrinks with the window."""
    kind = "plot" if plot.scrolls else "plot shrinks"
    return (f'<div class="wide"><picture><source media="(prefers-color-scheme: dark)" srcset="{_data(plot.dark)}">'
            f'<img class="{kind}" width="{plot.width}" src="{_data(plot.light)}" alt="{_e(plot.alt)}"></picture></div>')


def _html_table(table: Table) -> str:
    head = "".join(f"<th{_n(number)}>{_e(cell)}</th>" for cell, number in zip(table.header, table.right, strict=False))
    rows = "".join(f"<tr>{_html_row(row, table.right)}</tr>\n" for row in table.rows)
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<div class="wide"><table>\n{top}\n<tbody>\n{rows}</tbody></table></div>'


def _html_row(row: Sequence[str], right: Sequence[bool]) -> str:
    cells = [f"<td{_n(number)}>{_number(cell) if number else _e(cell)}</td>" for cell, number in zip(row[1:], right[1:], strict=True)]
    return f'<th scope="row">{_e(row[0])}</th>{"".join(cells)}'


def _number(text: str) -> str:
    """A range stands under its mean: side by side a dozen of them would push the last columns out of the window."""
    return re.sub(r" (\[.+\])$", r' <span class="range">\1</span>', _e(text))


def _html_picture(png: bytes | None, lines: Sequence[str]) -> str:
    image = "" if png is None else f'<img src="{_data(png)}" alt="{_e(lines[0])}">'
    return f"<figure>{image}<figcaption>{''.join(f'<span>{_e(line)}</span>' for line in lines)}</figcaption></figure>"


def _n(number: bool) -> str:
    return ' class="n"' if number else ""


def _data(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _e(text: str) -> str:
    return html.escape(str(text).encode("utf-8", "replace").decode())  # a lone surrogate of an odd file name cannot be written


def to_markdown(page: Page) -> str:
    """The same text and tables; figures and pictures stand in the HTML file beside it."""
    tiles = markdown.table(("", "", ""), [(t.title, t.value, t.note) for t in page.tiles], (False, True, False))
    parts = [f"# {markdown.escaped(page.title)}", markdown.escaped(page.lead), tiles]
    for title, blocks in page.sections:
        parts += [f"## {markdown.escaped(title)}", *filter(None, map(_markdown, blocks))]
    return ("\n\n".join(parts) + "\n").encode("utf-8", "replace").decode()


def _markdown(block: Block) -> str:
    match block:
        case str():
            return markdown.escaped(block)
        case Table():
            return markdown.table(block.header or ("",) * len(block.right), block.rows, block.right)
        case Gallery():
            return "\n".join(f"{i}. {markdown.escaped('; '.join(lines))}" for i, (_, lines) in enumerate(block.pictures, 1))
        case Code():
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
            return f"{markdown.escaped(block.summary)}:\n\n{fence}\n{block.text.rstrip()}\n{fence}"
        case Plot():
            return f"*{markdown.escaped(block.alt)}: see report.html*"
        case Folded():
            return "\n\n".join([f"{markdown.escaped(block.summary)}:", *map(_markdown, block.blocks)])
