"""``inarch compare RUNS…``: one table of many runs, mean and range over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    runs: Annotated[list[str], typer.Argument(help="Run folders, result.json files, or folders that hold them.")],
    matrix: Annotated[bool, typer.Option("--matrix", help="Methods down, data sets across (Markdown).")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    html: Annotated[str | None, typer.Option(metavar="FILE", show_default=False, help="Write the tables as one page.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """One table of RUNS: method, data, test score over seeds, trained numbers with and without the head, file size, time.

    Few-shot runs have base, novel and their harmonic mean.

    [bold]Examples[/bold]

    inarch compare runs/

    inarch compare results/ --matrix

    inarch compare results/fewshot --html fewshot.html
    """
    from inarch.compare import compare

    found = compare([Path(run) for run in runs])
    if html is not None:
        from inarch import files

        files.write(Path(html), found.html().encode())
    if json:
        from json import dumps

        print(dumps(found.to_json(), indent=1))
    elif matrix or markdown:
        print(found.matrix_markdown() if matrix else found.markdown(), end="")
    else:
        from rich.console import Console

        Console().print(found.table())
