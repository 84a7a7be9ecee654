"""``inarch evaluate RUN``: the numbers of a run, computed again from its folder."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

RECALLS = tuple(f"{way}@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10))
SINGLE = ("accuracy", "top5", "mAP", "micro_f1", "macro_f1", "loss", "vqa_accuracy", "exact_match", "cider", "bleu4", "meteor", "mean",
          *RECALLS, "recall")


def run(
    run: Annotated[str, typer.Argument(help="A finished run folder.")],
    split: Annotated[Literal["train", "val", "test", "novel"], typer.Option(help="Which part of the data.")] = "test",
    data: Annotated[str | None, typer.Option(metavar="DATA", show_default=False, help="Other data of its kind.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print every number, per class too, as JSON.")] = False,
) -> None:
    """The metrics of RUN on a part of its data; refuses data that is not what the run was trained on.

    [bold]Examples[/bold]

    inarch evaluate runs/digits-mini-vit-arc-42

    inarch evaluate runs/pets --split val --json
    """
    from inarch.cli.progress import counting
    from inarch.evaluate import evaluate

    with counting(f"{split} part") as progress:
        metrics = evaluate(run, split, data=data, device=device, progress=progress)
    if json:
        from json import dumps

        print(dumps(metrics, indent=1))
    else:
        print(f"{run} on {data or 'its ' + split + ' part'}: {'  '.join(numbers(metrics))}")


def numbers(metrics: dict[str, Any]) -> list[str]:
    """``accuracy 0.9100``; of several tasks each after its name: ``vqa vqa_accuracy 0.6500``."""
    found = [f"{name} {metrics[name]:.4f}" for name in SINGLE if isinstance(metrics.get(name), float)]
    tasks = {task: scores for task, scores in metrics.items() if isinstance(scores, dict) and "n" in scores}
    return [f"{task} {number}" for task, scores in tasks.items() for number in numbers(scores)] + found
