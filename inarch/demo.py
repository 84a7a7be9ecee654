"""``inarch demo classify``: the embedded backbone learns scikit-learn's handwritten digits, three ways, in one folder.

    linear probe, LoRA, ARC   train -> save -> load again -> fold -> compare logits -> a table and a plot
No network and no GPU; the backbone comes with the package and has never seen a digit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inarch.errors import ConfigError

BACKBONE, DATA = "mini-vit", "digits"
SIDE = 32  # pixels: 17 tokens for pictures of 8 x 8; the native 64 takes four times as long
QUICK = {"epochs": 1}  # to see that everything works


@dataclass(frozen=True)
class Entry:
    """One way to adapt: a title, a folder, the method with its fields, and the rate that validation chose (results/demo)."""

    title: str
    folder: str
    method: str
    epochs: int
    lr: float
    set: dict[str, Any] = field(default_factory=dict)


ENTRIES = (
    Entry("linear probe", "linear", "linear", epochs=30, lr=3e-2),
    Entry("LoRA r=8", "lora", "lora", epochs=10, lr=1e-2, set={"rank": 8, "targets": ["q", "v"]}),
    Entry("ARC r=16", "arc", "arc", epochs=10, lr=3e-2, set={"rank": 16}),
)


@dataclass(frozen=True)
class Outcome:
    """What one entry came to: its result, its validation accuracy per epoch, and how folding went (None: nothing to fold)."""

    entry: Entry
    run: Path
    result: dict[str, Any]
    curve: list[float]
    folded: Any

    @property
    def accuracy(self) -> float:
        return self.result["metrics"]["test"]["accuracy"]


def classify(out: str | None = None, *, quick: bool = False, console: Any = None, threads: int = 1) -> Path:
    """Run the demo and return its folder; ``console``: a rich Console, None for silence."""
    place = fresh_place(out)
    say = console.print if console is not None else silence
    say(f"backbone {BACKBONE} (embedded, frozen), data {DATA} (scikit-learn's, 8 x 8), folder {place}", highlight=False, soft_wrap=True)
    outcomes = [_one(entry, place, quick, console, say, threads) for entry in ENTRIES]
    say(_table(outcomes))
    for outcome in outcomes:
        if outcome.folded is not None:
            say(f"{outcome.entry.title}: saved, loaded again, folded: {outcome.folded}", highlight=False, soft_wrap=True)
    say(f"plot: {plot(outcomes, place / 'digits.png')}", highlight=False, soft_wrap=True)
    say(_next(place), highlight=False, soft_wrap=True)
    return place


def fresh_place(out: str | None) -> Path:
    """``out``, which must not hold anything; without it ``inarch-demo``, or the first ``inarch-demo-N`` that is free."""
    if out is not None:
        if Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
            raise ConfigError(f"--out {out}: is not an empty folder; choose another, nothing is overwritten")
        return Path(out)
    place, number = Path("inarch-demo"), 1
    while place.exists():
        number += 1
        place = Path(f"inarch-demo-{number}")
    return place


def recipe_fields(entry: Entry, place: Path, quick: bool, threads: int) -> dict[str, Any]:
    """The recipe of one entry: what ``inarch train digits --backbone mini-vit ...`` would be given."""
    fields = {
        "data": DATA, "backbone": BACKBONE, "method": entry.method, "set": entry.set, "out": str(place / entry.folder), "seed": 0,
        "image_size": SIDE, "epochs": entry.epochs, "lr": entry.lr, "threads": threads, "checkpoint_every": 600.0,
        "tensorboard": False,
    }
    return fields | QUICK if quick else fields


def _one(entry: Entry, place: Path, quick: bool, console: Any, say: Callable[..., None], threads: int) -> Outcome:
    from inarch.folding import fold_run
    from inarch.recipe import Recipe
    from inarch.run import Run
    from inarch.train import train

    say(f"\n{entry.title}", style="bold")
    run = Run(train(Recipe.parse(recipe_fields(entry, place, quick, threads)), console=console))
    curve = [line["val"]["accuracy"] for line in run.lines() if "accuracy" in line.get("val", {})]
    folded = None if entry.method == "linear" else fold_run(run.folder, place / f"{entry.folder}-plain")
    return Outcome(entry, run.folder, run.result(), curve, folded)


def _table(outcomes: list[Outcome]) -> Any:
    from rich.table import Table

    table = Table(title="\nHandwritten digits on a frozen mini-vit", title_justify="left", caption_justify="left",
                  caption=f"accuracy on {outcomes[0].result['data']['test']} test images; numbers trained without and with the head")
    table.add_column("method")
    for title in ("accuracy", "trained", "with head", "file", "epochs", "seconds"):
        table.add_column(title, justify="right")
    for outcome in outcomes:
        result, count = outcome.result, outcome.result["count"]
        trained = (f"{count[which]:,}" for which in ("without_head", "trainable"))
        table.add_row(outcome.entry.title, f"{100 * outcome.accuracy:.1f} %", *trained,
                      f"{result['adapter_bytes'] / 1000:.1f} kB", str(result["epochs"]), f"{result['seconds']:.0f}")
    return table


def plot(outcomes: list[Outcome], path: Path) -> Path:
    """Accuracy against trained numbers, and validation accuracy per epoch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for outcome in outcomes:
        trained = outcome.result["count"]["trainable"]
        left.plot(trained, 100 * outcome.accuracy, "o")
        left.annotate(outcome.entry.title, (trained, 100 * outcome.accuracy), xytext=(6, -12), textcoords="offset points")
        right.plot(range(1, len(outcome.curve) + 1), [100 * value for value in outcome.curve], "o-", label=outcome.entry.title)
    left.set(xscale="log", xlabel="trained numbers, with head", ylabel="test accuracy, %")
    left.margins(0.4)
    right.set(xlabel="epoch", ylabel="validation accuracy, %")
    right.legend()
    figure.savefig(path, dpi=120)
    return path


def _next(place: Path) -> str:
    steps = (
        (f"inarch compare {place}", "these runs in one table"),
        (f"inarch inspect {place}/arc", "what ARC learned, layer by layer"),
        (f"inarch sites {BACKBONE}", "where adapters can go"),
        (f"inarch train YOUR-IMAGES/ --backbone {BACKBONE}", "a folder per class"),
        ("inarch train YOUR-IMAGES/", "a ViT-B/16, fetched from the hub"),
    )
    return "\n".join(["\nNext:", *(f"  {command:<48}{what}" for command, what in steps)])


def silence(*_: Any, **__: Any) -> None:
    """Stands for a console's print."""
