"""``inarch auto``: one command from images to a tested adapter, with every decision in its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    data: Annotated[str, typer.Argument(help="Image folder, table, .npz, VTAB-1k folder, datasets:NAME or digits.")],
    backbone: Annotated[str | None, typer.Option(show_default=False, help="Its address (default: by the machine).")] = None,
    methods: Annotated[str | None, typer.Option(metavar="A,B,...", show_default=False, help="To choose from.")] = None,
    budget: Annotated[str | None, typer.Option(metavar="N", show_default=False, help="Trained numbers at most (default: 100k).")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="About how long it may take.")] = 30.0,
    image_size: Annotated[int | None, typer.Option(min=1, show_default=False, help="Pixels (default: what the time allows).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Draws the parts that the data does not bring, and the adapters.")] = 0,
    out: Annotated[str | None, typer.Option(metavar="FOLDER", show_default=False, help="Default: runs/auto-NAME.")] = None,
) -> None:
    """Check DATA, choose a backbone for this machine, try a ladder of methods on validation, train the best, test it once, report.

    [bold]Examples[/bold]

    inarch auto pets/

    inarch auto pets/ --minutes 5 --budget 20k

    inarch auto digits --backbone mini-vit --minutes 2

    Ctrl-C and the same command again: it goes on.
    """
    from rich.console import Console

    from inarch.auto import Ask, auto
    from inarch.auto.run import BUDGET, METHODS
    from inarch.study.wishing import budget_of, methods_of, words

    chosen = methods_of(methods) or METHODS
    folder = Path(out or f"runs/auto-{words([data])}")
    ask = Ask(data, folder, backbone, chosen, budget_of(budget) or BUDGET, minutes, image_size, device, seed)
    found = auto(ask, Console(stderr=True))
    print(folder / "report.html")
    print(f"inarch predict {found.run} IMAGES")
