"""``inarch compare RUNS…``: one table of many runs, mean and range over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    runs: Annotated[list[str], typer.Argument(help="Run folders, result.json files, or folders that hold them.")],
    matrix: Annotated[bool, typer.Option("--matrix", help="Methods down, data sets across (Markdown).")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """One table of RUNS: method, data, test score over seeds, trained numbers with and without the head, file size, time.

    [bold]Examples[/bold]

    inarch compare runs/

    inarch compare results/ --matrix
    """
    from inarch.compare import compare

    found = compare([Path(run) for run in runs])
    if json:
        from json import dumps

        print(dumps(found.to_json(), indent=1))
    elif matrix or markdown:
        print(found.matrix_markdown() if matrix else found.markdown(), end="")
    else:
        from rich.console import Console

        Console().print(found.table())
