"""What must stand beside every number of a method whose paper could not be followed to the letter."""

from __future__ import annotations

SAID = {"adaring": "our AdaRing: a reconstruction from the abstract"}  # the paper's equations, settings and tables were not at hand


def of(method: str) -> str:
    """By a method's name or its recipe line; nothing where there is nothing to say.

    >>> of("AdaRing(ranks=(1, 2))"), of("mma")
    ('our AdaRing: a reconstruction from the abstract', '')
    """
    return SAID.get(method.partition("(")[0].lower(), "")
