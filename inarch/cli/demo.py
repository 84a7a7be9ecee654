"""``inarch demo classify``, ``fewshot`` and ``vqa``: everything once, with what the package brings."""

from __future__ import annotations

from typing import Annotated, Literal

import typer


def run(
    what: Annotated[Literal["classify", "fewshot", "vqa"], typer.Argument(help="Which demo.")] = "classify",
    out: Annotated[str | None, typer.Option(metavar="FOLDER", show_default=False, help="Default: inarch-demo.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One short epoch each: does everything work here?")] = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads of torch; 0: as it chooses.")] = 1,
) -> None:
    """Adapt an embedded backbone to data it never saw; compare, and show what came out.

    classify: mini-vit to handwritten digits by linear probe, LoRA and ARC; save, load, fold, compare, plot.

    fewshot: mini-clip to shapes on a blackboard by CLIP-LoRA, MMA and AdaRing; asked for names that were shown and for others.

    vqa: mini-vl to questions about chalk drawings and written digits by LoRA, VL-PET-small and VL-PET-large; a page of answers.

    [bold]Examples[/bold]

    inarch demo classify

    inarch demo fewshot

    inarch demo vqa

    inarch demo classify --quick --out try-out
    """
    from rich.console import Console

    if what == "vqa":
        from inarch.demo_vqa import vqa as demo
    elif what == "fewshot":
        from inarch.demo_fewshot import fewshot as demo
    else:
        from inarch.demo import classify as demo
    demo(out, quick=quick, console=Console(), threads=threads)
