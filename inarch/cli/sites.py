"""``inarch sites BACKBONE``: the places a method can be put, one line for all layers that agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from inarch.cli.flags import SET, method_of, roles_of
from inarch.errors import ConfigError


def run(
    backbone: Annotated[str, typer.Argument(help="Address of a backbone, or a run folder.")],
    all: Annotated[bool, typer.Option("--all", help="One line per layer.")] = False,
    method: Annotated[str | None, typer.Option(help="Show where this method would sit and what it would train.")] = None,
    set: SET = None,
    thaw: Annotated[str | None, typer.Option(help="Roles that train beside the method.")] = None,
) -> None:
    """Every span and matrix of BACKBONE: where it begins and ends, who reads it, whether it folds, what sits there; what trains.

    [bold]Examples[/bold]

    inarch sites mini-vit

    inarch sites runs/pets --all

    inarch sites config:smolvlm-256m --method arc --set towers=text --thaw projector
    """
    import inarch

    model = _model(backbone)
    if method is not None:
        inarch.graft(model, method_of(method, set), thaw=roles_of(thaw))
    elif set or thaw:
        raise ConfigError("--set and --thaw belong to --method; name the method: --method arc")
    table = inarch.sites(model)
    print(table if all else show(table))


def _model(address: str) -> Any:
    """Shapes are enough for an address; a run is rebuilt, so that its adapter shows."""
    if (Path(address) / "run.json").is_file():
        from inarch.predict import Predictor

        return Predictor(address).model
    from inarch import backbones

    return backbones.load(address, device="meta", pretrained=False).model


def show(table: Any) -> str:
    """The table with equal lines of several layers joined: ``0-11`` for the layer, ``*`` for its number in a path; then the towers."""
    from inarch.counting import TowerRow, columns, table_of

    groups: dict[tuple[str, ...], list[int]] = {}
    for row in table:
        paths = [re.sub(r"\.\d+(?=[.:])", ".*", path) for path in (row.enter, row.leave, row.readers)]
        key = (row.tower, row.span, row.width, *paths, *("yes" if true else "no" for true in (row.folds, row.rebuilt)), row.adapters)
        groups.setdefault(key, []).append(row.layer)
    lines = [("tower", "layers", "span", "width", "enter", "leave", "readers", "folds", "rebuilt", "adapters")]
    lines += [(tower, ranges(layers), *rest) for (tower, *rest), layers in groups.items()]  # type: ignore[misc]
    return f"{columns(lines)}\n\n{table_of(TowerRow, table.towers)}"


def ranges(numbers: list[int]) -> str:
    """``[0, 1, 2, 5]`` as ``0-2 5``."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
