"""``inarch compare``: one table of many runs, mean and range over seeds; and the runner that trains what a table still lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from inarch.cli.flags import settings
from inarch.errors import ConfigError, InarchError

RUNNER = "Runner: train what is missing, then compare"
SHOWN = "What is shown and written"


def _runner(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, show_default=False, rich_help_panel=RUNNER)


def _shown(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, show_default=False, rich_help_panel=SHOWN)


UNBROKEN = 180  # columns of a table that goes into a file or a pipe
RUNS = Annotated[list[str] | None, typer.Argument(help="Run folders, result.json files, or folders that hold them.")]
DATA = Annotated[list[str] | None, _runner("--data", metavar="DATA", help="Data to train on (repeatable); of a suite, its root.")]
SUITE = Annotated[str | None, _runner("--suite", metavar="NAME | FILE.toml", help="Tasks, groups, recipe and rates: local, vtab-1k, ...")]
BACKBONE = Annotated[str | None, _runner("--backbone", help="Address of the backbone (default: the suite's).")]
METHODS = Annotated[str | None, _runner("--methods", metavar="all | A,B,...", help="Methods, or every one that the backbone takes.")]
BUDGET = Annotated[str | None, _runner("--budget", metavar="N", help="Trained numbers without the head, 100k: sets every method's size.")]
SEEDS = Annotated[int | None, _runner("--seeds", help="Seeds per method and data set (default: 3).")]
TRIALS = Annotated[int | None, _runner("--trials", help="Learning rates tried on validation, as many for all (default: 3).")]
RATES = Annotated[str | None, _runner("--rates", metavar="A,B,...", help="Those learning rates, for every method (default: the suite's).")]
EPOCHS = Annotated[int | None, _runner("--epochs", help="Of every run.")]
IMAGE_SIZE = Annotated[int | None, _runner("--image-size", help="Side of the images in pixels.")]
SET = Annotated[list[str] | None, _runner("--set", metavar="[METHOD.]KEY=VALUE", help="Of a method or of every recipe (repeatable).")]
OUT = Annotated[str | None, _runner("--out", help="Folder of the comparison (default: runs/compare-NAME).")]
RESULTS = Annotated[str | None, _runner("--results", help="Where the results are kept (default: below --out).")]
WORKERS = Annotated[int | None, _runner("--workers", help="Processes at a time (default: one per core or GPU, as memory allows).")]
CLUSTER = Annotated[str | None, _runner("--cluster", metavar="ADDRESS", help="Of a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, local.")]
AGAIN = Annotated[bool, _runner("--again", help="Also try again what failed before.")]
REFERENCE = Annotated[str | None, _shown("--reference", metavar="METHOD", help="Whom the others are tested against (default: the best).")]
MATRIX = Annotated[bool, _shown("--matrix", help="Methods down, data sets across (Markdown).")]
MARKDOWN = Annotated[bool, _shown("--markdown", help="Print the table as Markdown.")]
HTML = Annotated[str | None, _shown("--html", metavar="FILE", help="Write everything as one page.")]
CSV = Annotated[str | None, _shown("--csv", metavar="FILE", help="Write one line per run.")]
LATEX = Annotated[str | None, _shown("--latex", metavar="FILE", help="Write the matrix for LaTeX (booktabs).")]
JSON = Annotated[bool, _shown("--json", help="Print every number as JSON.")]


def run(
    runs: RUNS = None, data: DATA = None, suite: SUITE = None, backbone: BACKBONE = None, methods: METHODS = None, budget: BUDGET = None,
    seeds: SEEDS = None, trials: TRIALS = None, rates: RATES = None, epochs: EPOCHS = None, image_size: IMAGE_SIZE = None,
    set: SET = None, out: OUT = None, results: RESULTS = None, workers: WORKERS = None, cluster: CLUSTER = None, again: AGAIN = False,
    reference: REFERENCE = None, matrix: MATRIX = False, markdown: MARKDOWN = False, html: HTML = None, csv: CSV = None,
    latex: LATEX = None, json: JSON = False,
) -> None:
    """One table of RUNS: method, data, test score over seeds, trained numbers with and without the head, file size, time.

    Without RUNS, a runner: every method at a size within the budget, equal trials on validation, several seeds, one report.

    [bold]Examples[/bold]

    inarch compare runs/

    inarch compare results/fewshot --html fewshot.html

    inarch compare --data pets/ --backbone timm:vit_tiny_patch16_224 --methods all --budget 100k --seeds 3

    inarch compare --suite local --data shared/data --budget 25008

    inarch compare results/local --suite local --matrix

    Stopped and begun again, it goes on; a finished run is never repeated.
    """
    if bool(runs) == bool(data) and (runs or not suite):
        raise ConfigError("give RUNS to compare, or --data (and --suite) to train what is to be compared; not both, not neither")
    found = _read(runs, suite, reference) if runs else _trained(locals())
    _write(found, {"html": html, "csv": csv, "latex": latex})
    _print(found, "json" if json else "matrix" if matrix else "markdown" if markdown else "")
    if not runs and not found.rows:
        raise InarchError("no run finished; the table and the report say why")


def _print(found: Any, form: str) -> None:
    if form == "json":
        from json import dumps

        print(dumps(found.to_json(), indent=1))
    elif form:
        print(found.matrix_markdown() if form == "matrix" else found.markdown(), end="")
    else:
        from rich.console import Console

        console = Console()
        (console if console.is_terminal else Console(width=UNBROKEN)).print(found.table())


def _read(runs: list[str], suite: str | None, reference: str | None) -> Any:
    from inarch.compare import compare

    groups = None
    if suite is not None:
        from inarch.study.runner import groups_of
        from inarch.suites import load_suite

        groups = groups_of(load_suite(suite))
    return compare([Path(run) for run in runs], groups=groups, reference=reference)


def _write(found: Any, wanted: dict[str, str | None]) -> None:
    from inarch import files

    for kind, path in wanted.items():
        if path is not None:
            files.write(Path(path), getattr(found, kind)().encode())


def _trained(flags: dict[str, Any]) -> Any:
    """The runner; its report goes into the folder of the comparison."""
    from rich.console import Console

    from inarch.study import study
    from inarch.study.report import write_report
    from inarch.study.wishing import wish_of

    pairs = settings(flags.pop("set"))
    wish = wish_of({key: value for key, value in flags.items() if value is not None}, pairs)
    console = Console(stderr=True)
    found = study(wish, console)
    for path in write_report(found, wish):
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    return found
