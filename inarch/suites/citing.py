"""BibTeX of the papers behind methods, from ``papers.bib``: each entry names its methods in ``keywords``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from inarch.errors import ConfigError, nearest
from inarch.methods.registry import METHODS, SETTINGS

FILE = Path(__file__).parent / "papers.bib"
ENTRY = re.compile(r"^@\w+\{(.+?),\n.*?^\}$", re.M | re.S)
KEYWORDS = re.compile(r",?\n\s*keywords\s*=\s*\{([^}]*)\}")
SOFTWARE = "inarch"


def entries() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Key -> the entry as it is printed, and the methods that it stands behind."""
    found = {}
    for match in ENTRY.finditer(FILE.read_text("utf-8")):
        keywords = KEYWORDS.search(match[0])
        methods = tuple(word.strip() for word in keywords[1].split(",")) if keywords else ()
        found[match[1]] = (KEYWORDS.sub("", match[0]), methods)
    return found


def cited(methods: Iterable[str] = ()) -> list[str]:
    """The entries of ``methods``, each once, with this library's first; all methods' where none is named."""
    names = [name.lower() for name in methods] or [*METHODS, *SETTINGS]
    known = {word for _, words in entries().values() for word in words}
    for name in names:
        if name not in known:
            hint = "another package's method is cited as that package says" if ":" in name else nearest(name, known)
            raise ConfigError(f"no paper is known of method {name!r}; {hint}")
    return [text for key, (text, words) in entries().items() if key == SOFTWARE or {*words} & {*names}]
