"""``inarch export RUN --to lora|native|torch|onnx``: a run's model for people who do not have inarch."""

from __future__ import annotations

from typing import Annotated

import typer


def run(
    run: Annotated[str, typer.Argument(help="A finished run folder.")],
    to: Annotated[str, typer.Option("--to", help="lora (for peft), native (the backbone's own library), torch (.pt2) or onnx.")],
    out: Annotated[str | None, typer.Option(help="Folder to write; must not hold anything.", show_default="RUN-TO")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the folder holds.")] = False,
) -> None:
    """Write RUN's model so that it loads without inarch: loaded again and compared before the folder gets its name.

    [bold]Examples[/bold]

    inarch export runs/digits-mini-vit-arc-42 --to lora

    inarch export runs/digits-mini-vit-arc-42 --to onnx --out digits-onnx

    What would not be the same function is refused with the reason (exit code 2), and nothing is written.
    """
    from inarch.cli.progress import counting
    from inarch.exports import export_run

    with counting("test images") as progress:
        folder, said = export_run(run, to, out, overwrite=overwrite, progress=progress)
    print(said)
    print(f"how to load it without inarch: {folder / 'README.md'}")
