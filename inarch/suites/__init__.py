"""Suites as data: a TOML file says the tasks, their groups, the recipe and the rates; nothing of a suite stands in code.

    load_suite("vtab-1k")       a suite of the package            load_suite("mine.toml")     a file of one's own
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from inarch.errors import ConfigError, nearest
from inarch.suites.reading import read_suite
from inarch.suites.suite import Suite, SuiteTask

HERE = Path(__file__).parent


def names() -> list[str]:
    """The suites of the package."""
    return sorted(file.stem for file in HERE.glob("*.toml"))


def load_suite(name_or_path: str | Path) -> Suite:
    """The suite of a name, or in a TOML file; raises ``ConfigError`` with the nearest name, or with the file and key that is wrong.

    >>> load_suite("local").groups
    {'natural': ('clothing10',), 'specialised': ('eurosat10',), 'structured': ('nlvr_xtop8', 'omniglot8')}
    """
    if str(name_or_path) in names():
        return _packaged(str(name_or_path))
    file = Path(name_or_path).expanduser()
    if file.suffix == ".toml" and file.is_file():
        return read_suite(file)
    near = nearest(str(name_or_path), names())
    raise ConfigError(f"no suite {str(name_or_path)!r}; {near}; one of your own is the path of a .toml file")


@lru_cache
def _packaged(name: str) -> Suite:
    return read_suite(HERE / f"{name}.toml")


__all__ = ["Suite", "SuiteTask", "load_suite", "names"]
