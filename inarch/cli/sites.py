"""``inarch sites BACKBONE``: the places a method can be put, one line for all layers that agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer


def run(
    backbone: Annotated[str, typer.Argument(help="Address of a backbone, or a run folder.")],
    all: Annotated[bool, typer.Option("--all", help="One line per layer.")] = False,
) -> None:
    """Every span and matrix of BACKBONE: where it begins and ends, who reads it, whether it folds, what sits there.

    [bold]Examples[/bold]

    inarch sites mini-vit

    inarch sites runs/pets --all
    """
    import inarch

    table = inarch.sites(_model(backbone))
    print(table if all else show(table))


def _model(address: str) -> Any:
    """Shapes are enough for an address; a run is rebuilt, so that its adapter shows."""
    if (Path(address) / "run.json").is_file():
        from inarch.predict import Predictor

        return Predictor(address).model
    from inarch import backbones

    return backbones.load(address, device="meta", pretrained=False).model


def show(table: Any) -> str:
    """The table with equal lines of several layers joined: ``0-11`` for the layer, ``*`` for its number in a path."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row in table:
        paths = [re.sub(r"\.\d+(?=\.)", ".*", path).replace(".:", ":") for path in (row.enter, row.leave, row.readers)]
        key = (row.tower, row.span, row.width, *paths, "yes" if row.folds else "no", row.adapters)
        groups.setdefault(key, []).append(row.layer)
    lines = [("tower", "layers", "span", "width", "enter", "leave", "readers", "folds", "adapters")]
    lines += [(tower, ranges(layers), *rest) for (tower, *rest), layers in groups.items()]  # type: ignore[misc]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def ranges(numbers: list[int]) -> str:
    """``[0, 1, 2, 5]`` as ``0-2 5``."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
