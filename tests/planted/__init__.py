"""The faults that tests/planted_faults.py plants, by part of the house; each file lists ``FAULTS``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """Replace ``old`` by ``new`` in ``file``; ``tests`` (pytest words, ``-k`` last) must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str
