"""``inarch cite [METHOD...]``: BibTeX of the papers behind methods, and of this library."""

from __future__ import annotations

from typing import Annotated

import typer


def run(
    methods: Annotated[list[str] | None, typer.Argument(help="Methods by name, such as arc or vpt-deep; none: all of them.")] = None,
) -> None:
    """Print BibTeX of the papers behind METHODs, after this library's own entry.

    [bold]Examples[/bold]

    inarch cite arc lora

    inarch cite > papers.bib
    """
    from inarch.suites.citing import cited

    print("\n\n".join(cited(methods or ())))
