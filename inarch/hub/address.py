"""Addresses of adapters and runs on the hub: ``hf:USER/NAME``, ``hf:USER/NAME/FOLDER``, each with ``@REVISION`` behind it.

    >>> parse("hf:ada/pets/adapter@v2")
    Address(repo='ada/pets', inside='adapter', revision='v2')
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from inarch.errors import ConfigError
from inarch.files import outside

_REPO = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?/[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?")
_LONGEST = 96  # of USER/NAME, as the hub has it


@dataclass(frozen=True)
class Address:
    """``repo``: ``USER/NAME``; ``inside``: a folder of it, or ""; ``revision``: a branch, tag or commit, None for the main branch."""

    repo: str
    inside: str = ""
    revision: str | None = None

    @property
    def name(self) -> str:
        return self.repo.partition("/")[2]

    def __str__(self) -> str:
        return "hf:" + "/".join(filter(None, (self.repo, self.inside))) + (f"@{self.revision}" if self.revision else "")


def parse(text: str) -> Address:
    """``ConfigError`` for what names no repository of the hub."""
    path, at, revision = text.removeprefix("hf:").partition("@")
    user, _, rest = path.partition("/")
    name, slash, inside = rest.partition("/")
    repo = f"{user}/{name}"
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo or len(repo) > _LONGEST:
        raise ConfigError(f"{text!r} names no repository of the hub; expected hf:USER/NAME, of letters, digits and single . - _")
    if (slash and outside(inside)) or (at and (not revision or outside(revision))):
        raise ConfigError(f"{text!r}: expected hf:USER/NAME, hf:USER/NAME/FOLDER, and @REVISION (a branch, tag or commit) behind either")
    return Address(repo, inside, revision or None)


__all__ = ["Address", "parse"]
