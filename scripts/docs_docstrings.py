"""Griffe extension: docstrings are written to be read as text; here what is code in them becomes a fence."""

from __future__ import annotations

import re
from typing import Any

import griffe

SESSION = re.compile(r"(?:^>>> .*\n?)(?:^(?!\s*$).*\n?)*", re.M)  # from a prompt to the next blank line


class Fences(griffe.Extension):
    """``>>>`` sessions become ``pycon`` fences, so that ``x[0]`` in them is no link."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None and ">>> " in obj.docstring.value:
            obj.docstring.value = SESSION.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", obj.docstring.value)
