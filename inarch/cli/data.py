"""``inarch data get NAME`` and ``inarch data list``: data sets of the suites, fetched where a public library can, else explained."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

BY_HAND = 7  # exit code: nothing is wrong, and nothing was fetched


def run(
    action: Annotated[Literal["get", "list"], typer.Argument(help="get a set, or list all that is known.")],
    name: Annotated[str | None, typer.Argument(help="A set, a suite, or datasets:NAME of the hub.")] = None,
    root: Annotated[str, typer.Option(help="Folder below which the set is written.")] = ".",
) -> None:
    """Fetch a data set into the layout that training reads; say how to get it by hand where no library can.

    [bold]Examples[/bold]

    inarch data list

    inarch data get torchvision:OxfordIIITPet --root data/

    inarch data get datasets:uoft-cs/cifar100 --root data/

    inarch data get vtab-1k

    Exit code 0 where the data are there, 7 where the lines printed say how to get them by hand.
    """
    from inarch.errors import ConfigError
    from inarch.suites.getting import fetch, instructions, listing

    if action == "list":
        for row in listing():
            print(f"{row[0]:22} {row[1]:14} {row[2]}".rstrip())
        return
    if name is None:
        raise ConfigError("inarch data get needs the name of a set; inarch data list shows them")
    place = fetch(name, root)
    if place is None:
        print("\n".join(instructions(name)))
        raise typer.Exit(BY_HAND)
    print(f"{name}: {place}")
