"""Markdown that shows any text as itself: tables, and names that nobody has vetted."""

from __future__ import annotations

import re
from collections.abc import Sequence

# signs that begin markup; an underscore inside a word and a bracket that is no link begin none, and stay readable in the source
_MARKUP = re.compile(r"[\\`*|~$]|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(|(?<=\])\[|^[#>+=-]")
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")


def escaped(text: str) -> str:
    """``text`` on one line, without a sign that Markdown or HTML would act on.

    >>> escaped("a|b <b> nlvr_count7")
    'a\\\\|b &lt;b&gt; nlvr_count7'
    """
    one_line = " ".join(str(text).split())
    safe = _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", one_line))
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def table(header: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A table; every cell is escaped. ``right``: which columns are numbers."""
    rule = ["--:" if number else "---" for number in right]
    rows = [list(map(escaped, header)), rule, *(list(map(escaped, line)) for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
