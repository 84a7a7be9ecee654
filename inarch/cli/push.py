"""``inarch push RUN hf:USER/NAME``: an adapter or a run on the hub, with its card, in one commit."""

from __future__ import annotations

from typing import Annotated

import typer


def run(
    run: Annotated[str, typer.Argument(metavar="RUN|ADAPTER", help="A finished run folder, or one that inarch.save wrote.")],
    to: Annotated[str, typer.Argument(help="hf:USER/NAME, or a folder to write what would be sent.")],
    private: Annotated[bool, typer.Option("--private", help="A new repository is seen by you alone; a public one is refused.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to write to, made where there is none.", show_default="main")] = None,
    message: Annotated[str | None, typer.Option(help="Of the commit.", show_default=False)] = None,
    license: Annotated[str | None, typer.Option(help="Of the adapter, as the hub abbreviates it: apache-2.0.", show_default=False)] = None,
    also: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A file or folder of RUN that is left out otherwise "
                                                                        "(repeatable).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the folder holds.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
) -> None:
    """Send RUN with a model card to the hub, where inarch loads it by its address: inarch predict hf:USER/NAME IMAGES.

    [bold]Examples[/bold]

    inarch push runs/digits-mini-vit-arc-42 hf:ada/digits-arc --dry-run

    inarch push runs/digits-mini-vit-arc-42 hf:ada/digits-arc --private --license apache-2.0

    inarch push runs/digits-mini-vit-arc-42 digits-to-look-at

    The run is loaded before it is sent. Checkpoints, predictions and reports stay here unless --also names them.
    """
    from inarch.hub.pushing import push

    print(push(run, to, private=private, revision=revision, message=message, licence=license, also=also or (), overwrite=overwrite,
               dry_run=dry_run))
