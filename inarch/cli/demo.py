"""``inarch demo classify``: everything once, with what the package brings."""

from __future__ import annotations

from typing import Annotated, Literal

import typer


def run(
    what: Annotated[Literal["classify"], typer.Argument(help="Which demo.")] = "classify",
    out: Annotated[str | None, typer.Option(metavar="FOLDER", show_default=False, help="Default: inarch-demo.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One epoch each: does everything work here?")] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads of torch; 0: as it chooses.")] = 1,
) -> None:
    """Adapt the embedded mini-vit to handwritten digits by linear probe, LoRA and ARC; save, load, fold, compare, plot.

    [bold]Examples[/bold]

    inarch demo classify

    inarch demo classify --quick --out try-out
    """
    from rich.console import Console

    from inarch.demo import classify

    classify(out, quick=quick, console=Console(), threads=threads)
