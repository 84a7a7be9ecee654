"""``inarch count METHOD BACKBONE``: trained numbers from the configuration alone."""

from __future__ import annotations

from typing import Annotated

import typer

from inarch.cli.flags import SET, method_of, roles_of


def run(
    method: Annotated[str, typer.Argument(help="arc, vlpet, lora, houlsby, vpt-deep, ssf, bitfit, full, ..., or package.module:Class.")],
    backbone: Annotated[str, typer.Argument(help="Address of a backbone, such as config:vit-b16 or mini-vit.")],
    set: SET = None,
    thaw: Annotated[str | None, typer.Option(help="Roles that train beside the method; the head where there is one.")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Outputs of the head; the backbone's own where left out.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How many numbers METHOD would train on BACKBONE, with and without the head; builds shapes only, reads no weights.

    [bold]Examples[/bold]

    inarch count arc config:vit-b16 --json

    inarch count arc config:vit-b16 --set rank=8 --set spans=attn --classes 37

    inarch count lora mini-vit --set targets=q,v

    inarch count peft:lora mini-vit --set r=8

    inarch count vlpet config:vl-bart-base --set gate=small --json

    inarch count bottleneck config:vl-bart-base --set spans=attn,mlp,cross --thaw norms
    """
    from inarch import backbones
    from inarch.planting import planting
    from inarch.roles import head_paths

    chosen = method_of(method, set)
    model = backbones.load(backbone, classes=classes, device="meta", pretrained=False).model
    roles = roles_of(thaw)
    ours = planting(chosen)
    ours.plant(model, (*roles, *(["head"] if head_paths(model) and "head" not in roles else [])), seed=0)
    count = ours.count(model)
    if json:
        show_json(method, chosen.fields(), backbone, count.to_json())
    else:
        show_table(f"{chosen} on {backbone}", count)


def show_json(method: str, config: dict, backbone: str, count: dict) -> None:
    import json

    print(json.dumps({"method": method, "config": config, "backbone": backbone, **count}, indent=1))


def show_table(title: str, count) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("numbers", justify="right")
    table.add_row("adapter", f"{count.adapter:,}")
    table.add_row("base parameters thawed, without head", f"{count.thawed - count.head:,}")
    table.add_row("head", f"{count.head:,}")
    table.add_row("trainable without head (convention 1)", f"{count.without_head:,}")
    table.add_row("trainable with head (convention 2)", f"{count.trainable:,}")
    table.add_row("total", f"{count.total:,}")
    table.add_row("trainable, percent of total", f"{count.percent:.3f}")
    Console().print(table)
