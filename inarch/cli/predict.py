"""``inarch predict RUN IMAGES…``: labels and probabilities, or answers, from the run folder alone."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated, Any

import typer


def run(
    run: Annotated[str, typer.Argument(help="A finished run folder.")],
    images: Annotated[list[str], typer.Argument(help="Image files, or folders of images.")],
    top_k: Annotated[int, typer.Option(min=1, help="How many labels per image.")] = 1,
    names: Annotated[str, typer.Option(help="Classes to choose from, with commas between, where RUN has two towers.")] = "",
    question: Annotated[str, typer.Option(help="What to ask about each image, where RUN answers questions.")] = "",
    task: Annotated[str, typer.Option(help="Which of its tasks, where RUN knows several: vqa, caption, ...")] = "",
    csv: Annotated[Path | None, typer.Option(metavar="FILE", show_default=False, help="Write a table there.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "cpu",
) -> None:
    """The likeliest labels of IMAGES with their probabilities, or an answer to a question about each; all else comes from RUN.

    [bold]Examples[/bold]

    inarch predict runs/pets cat.jpg dog.jpg

    inarch predict runs/pets holiday/ --top-k 3 --csv holiday.csv

    inarch predict runs/pets-clip zoo/ --names "okapi,tapir,red panda"

    inarch predict runs/vqa kitchen.jpg --question "what colour is the table?"
    """
    from inarch.errors import ConfigError
    from inarch.predict import Predictor

    if csv is not None and not csv.parent.is_dir():
        raise ConfigError(f"--csv {csv}: there is no folder {csv.parent}; create it first")
    predictor = Predictor(run, device=device)
    if predictor.rebuilt.recipe.generates:
        if names:
            raise ConfigError(f"{run} generates text; leave out --names")
        _answers(predictor.answer(images, question, task=task), csv)
        return
    if question or task:
        raise ConfigError(f"{run} classifies images; leave out --question and --task")
    _labels(predictor.predict(images, top_k=top_k, names=names.split(",") if names else ()), csv)


def _labels(predictions: list[Any], csv: Path | None) -> None:
    if csv is None:
        for found in predictions:
            best = "  ".join(f"{label} {share:.4f}" for label, share in zip(found.labels, found.probabilities, strict=True))
            print(f"{found.name}  {best}")
    else:
        from inarch import files

        files.write(csv, table(predictions).encode())
        print(f"{len(predictions)} predictions: {csv}")


def _answers(found: list[Any], csv: Path | None) -> None:
    if csv is None:
        for answer in found:
            print(f"{answer.name}  {answer.text}")
        return
    from inarch import files

    files.write(csv, answer_table(found).encode())
    print(f"{len(found)} answers: {csv}")


def answer_table(found: list[Any]) -> str:
    """``image,question,answer`` as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("image", "question", "answer"), *((answer.name, answer.question, answer.text) for answer in found)])
    return text.getvalue()


def table(predictions: list[Any]) -> str:
    """``image,label1,probability1,label2,...`` as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    most = max((len(found.labels) for found in predictions), default=0)
    writer.writerow(["image", *(f"{word}{k}" for k in range(1, most + 1) for word in ("label", "probability"))])
    for found in predictions:
        pairs = zip(found.labels, found.probabilities, strict=True)
        writer.writerow([found.name, *(cell for label, share in pairs for cell in (label, f"{share:.6f}"))])
    return text.getvalue()
