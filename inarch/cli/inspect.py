"""``inarch inspect RUN``: what an adapter learned; ``inspect scaling`` and ``inspect variants``: the paper's counts."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def run(
    what: Annotated[str, typer.Argument(metavar="RUN|scaling|variants", help="A run or adapter folder, or a word.")],
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="Also draw it: .png, .pdf or .svg (not for variants).")] = None,
    gates: Annotated[bool, typer.Option("--gates", help="VL-PET: its gate per layer on validation examples of the run.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
    backbone: Annotated[str, typer.Option(help="For variants: the backbone to count on.")] = "config:vit-b16",
    rank: Annotated[int, typer.Option(min=1, help="For scaling and variants.")] = 50,
) -> None:
    """Singular values of every layer's adaptation and how much layers overlap, from the adapter's folder alone.

    Of AdaRing: gates per layer and tower, how alike the layers' slices and matrices are, effective ranks, and cores that grew too large.

    [bold]Examples[/bold]

    inarch inspect runs/digits-mini-vit-arc-42 --plot arc.png

    inarch inspect runs/pets-clip-adaring --plot rings.png

    inarch inspect runs/qa-vlpet --gates --plot gates.png

    inarch inspect scaling --plot figure5.png

    inarch inspect variants --backbone config:vit-b16
    """
    if gates:
        _gates(what, plot, json)
    elif what == "scaling":
        _scaling(rank, plot, json)
    elif what == "variants":
        _variants(backbone, rank, plot, json)
    else:
        _adapter(what, plot, json)


def _adapter(folder: str, plot: str | None, json: bool) -> None:
    from inarch.inspect import inspect

    found = inspect(folder)
    _print(found.to_json() if json else found)
    if plot:
        from inarch.inspection.plot import plot_inspection

        _drawn(plot_inspection(found, plot))


def _gates(run: str, plot: str | None, json: bool) -> None:
    from inarch.inspection.gates import gates_of_run, table

    views = gates_of_run(run)
    head, *lines = table(views)
    _print([view.to_json() for view in views] if json else _lines([*head], [[*line] for line in lines]))
    if plot:
        from inarch.inspection.plot import plot_gates

        _drawn(plot_gates(views, plot))


def _scaling(rank: int, plot: str | None, json: bool) -> None:
    from inarch.inspection.scaling import parameter_scaling

    points = parameter_scaling(rank)
    _print([point.to_json() for point in points] if json else _lines(
        ["backbone", "its numbers", "method", "trained", "counted"],
        [[p.backbone, f"{p.backbone_size:,}", p.method, f"{p.trained:,}", p.formula or "on the model"] for p in points]))
    if plot:
        from inarch.inspection.plot import plot_scaling

        _drawn(plot_scaling(points, plot))


def _variants(backbone: str, rank: int, plot: str | None, json: bool) -> None:
    from inarch.errors import ConfigError
    from inarch.inspection.scaling import variants

    if plot:
        raise ConfigError("variants are a table of counts; --plot draws a run or scaling")
    found = variants(backbone, rank)
    _print([v.to_json() for v in found] if json else _lines(["variant", "trained"], [[v.name, f"{v.trained:,}"] for v in found]))


def _lines(head: list[str], rows: list[list[str]]) -> str:
    from inarch.inspection.lines import aligned

    return "\n".join(aligned([tuple(head), *map(tuple, rows)]))


def _print(found: Any) -> None:
    if isinstance(found, dict | list):
        from json import dumps

        print(dumps(found, indent=1))
    else:
        print(found)


def _drawn(path: Any) -> None:
    print(f"drawn: {path}")
