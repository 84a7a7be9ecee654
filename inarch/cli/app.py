"""The verbs, and the application that knows them all but imports only the one that is run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import typer

VERBS = {
    "demo": "Adapt the embedded backbone to handwritten digits: no network, about a minute.",
    "train": "Train an adapter on a folder of images, a table, or a recipe.",
    "auto": "The whole way: check, choose, train, test and report, for a folder of images.",
    "predict": "Labels and probabilities for images, from a run folder alone.",
    "evaluate": "Score a run on the validation or test part of its data.",
    "merge": "Fold a run's adapter into its backbone and write a plain model folder.",
    "export": "Write a run as LoRA, a plain model, a torch program or ONNX, for use without inarch.",
    "push": "Send a run or adapter to the model hub, with a card that says what it is.",
    "count": "How many numbers a method would train on a backbone.",
    "sites": "Every place of a backbone (or run) that can be adapted.",
    "check-data": "List everything that is wrong with a data set; change nothing.",
    "data": "Data sets of the suites: how to get one, what is known of it.",
    "features": "Grid features of an image tower, stored once and read in training.",
    "compare": "One table of several runs.",
    "inspect": "What an adapter learned: singular values per layer.",
    "cite": "BibTeX of the papers behind the methods.",
    "bench": "Step time and saved memory of the methods, as ratios to a frozen backbone.",
}
ABOUT = """Graft a few kilobytes of trained numbers onto a frozen vision transformer.

Start with:  inarch demo classify
"""


def command(args: Sequence[str]) -> Any:
    """The application for these arguments: the verb among them with its flags, the others as a line of help each."""
    verb = next((arg for arg in args if not arg.startswith("-")), None)
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.callback(help=ABOUT, invoke_without_command=True)(_common)
    for name, line in VERBS.items():
        app.command(name, short_help=line)(_verb(name) if name == verb else _stub)
    return typer.main.get_command(app)


def _common(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error (anywhere on the line)."),
) -> None:
    if version:
        import inarch

        print(f"inarch {inarch.__version__}")


def _stub() -> None:
    """Stands for a verb that is not run."""


def _verb(name: str) -> Callable[..., None]:
    return importlib.import_module(f"inarch.cli.{name.replace('-', '_')}").run
