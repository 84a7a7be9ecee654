"""``inarch check-data DATA``: every problem of a data set in one list; nothing is changed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from inarch.errors import DataError


def run(
    data: Annotated[str, typer.Argument(help="Image folder, table, .npz, VTAB-1k, image-text or few-shot data, datasets:NAME, digits.")],
    image_column: Annotated[str | None, typer.Option(help="Column of image paths in a table.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of labels in a table.")] = None,
    multilabel: Annotated[bool, typer.Option("--multilabel", help="An image may have several labels.")] = False,
    protocol: Annotated[str | None, typer.Option(help="Which lists of a VTAB-1k folder are read: clean or released.")] = None,
    task: Annotated[str | None, typer.Option(help="Image-text tasks to check, such as vqa,gqa; else all that DATA holds.")] = None,
    features: Annotated[str | None, typer.Option(help="Stored features that every image of an image-text task must have.")] = None,
) -> None:
    """Look at every image and label of DATA and list all that is wrong: files, classes, questions, captions, missing pictures.

    [bold]Examples[/bold]

    inarch check-data pets/

    inarch check-data scans.csv --image-column path --label-column finding --multilabel

    inarch check-data datasets/ --task vqa,gqa,nlvr,caption

    inarch check-data coop:EuroSAT@datasets/

    Exit code 0 where training can start, 3 where it would refuse.
    """
    from inarch.data.fewshot.check import kind_at
    from inarch.data.pairs import tasks_at

    labelled = image_column or label_column or multilabel or protocol
    kind = None if labelled or task or features else kind_at(data)
    if kind:
        return check_few(data, kind)
    tasks = tuple(task.split(",")) if task else () if labelled else tasks_at(data)
    if tasks or features:
        return check_tasks(data, tasks, features)
    check_images(data, image_column=image_column, label_column=label_column, multilabel=multilabel, protocol=protocol)


def check_images(data: str, **options: Any) -> None:
    from inarch.cli.progress import counting
    from inarch.data import check

    with counting("images") as progress:
        report = check(data, **options, progress=progress)
    show(data, report)
    if report.problems:
        raise DataError(f"{data}: {len(report.problems)} problem(s), listed above; mend them, or train with --on-bad-image skip "
                        "where only single images are bad")


def check_few(data: str, kind: str) -> None:
    """Few-shot data, both halves of it, or a table of captions."""
    from inarch.cli.progress import counting
    from inarch.data.fewshot.check import check_captions, check_fewshot

    with counting("images") as progress:
        report = (check_fewshot if kind == "fewshot" else check_captions)(data, progress=progress)
    show(data, report)
    if report.problems:
        raise DataError(f"{data}: {len(report.problems)} problem(s), listed above; mend them")


def check_tasks(data: str, tasks: tuple[str, ...], features: str | None) -> None:
    """Image-text data, task by task, each listed under its name."""
    from inarch.cli.progress import counting
    from inarch.data.pairs import check_pairs
    from inarch.features import open_store

    available = open_store(features) if features else None
    total = 0
    for task in tasks or ("",):
        with counting("images") as progress:
            report = check_pairs(data, task, available=available, progress=progress)
        show(f"{data} {task}".rstrip(), report)
        total += len(report.problems)
    if total:
        raise DataError(f"{data}: {total} problem(s), listed above; mend them")


def show(data: str, report: Any) -> None:
    for problem in report.problems:
        print(problem)
    for warning in report.warnings:
        print(f"note: {warning}")
    print(f"{data}: " + ", ".join(f"{name} {number}" for name, number in report.counts.items()))
