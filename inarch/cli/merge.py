"""``inarch merge RUN OUT``: the adapter folded away, a plain model folder left, agreement proved on the test images."""

from __future__ import annotations

from typing import Annotated

import typer


def run(
    run: Annotated[str, typer.Argument(help="A finished run folder.")],
    out: Annotated[str, typer.Argument(help="Folder for the plain model; must not hold anything.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what OUT holds.")] = False,
) -> None:
    """Fold RUN's adapter into its backbone and write OUT, which the model's own library loads without inarch.

    [bold]Examples[/bold]

    inarch merge runs/digits-mini-vit-arc-42 digits-plain

    Refuses before anything is written where the adapter is not foldable (exit code 2).
    """
    from inarch.cli.progress import counting
    from inarch.folding import fold_run

    with counting("test images") as progress:
        folded = fold_run(run, out, overwrite=overwrite, progress=progress)
    print(folded)
    print(f"how to load it without inarch: {folded.folder / 'README.md'}")
