"""``inarch demo fewshot``: the embedded two-tower model learns some coloured shapes on a blackboard, and is asked for others by name.

    zero-shot, CLIP-LoRA, MMA, AdaRing     16 pictures of each of 18 names -> test on these and on 18 names that were never shown
mini-clip was pre-trained on plain drawings and small real pictures. Here shapes are chalk on a blackboard: contours, other colours.
No network and no GPU; the first row is the model as it comes. H is the harmonic mean of base and novel accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inarch.demo import fresh_place, silence

BACKBONE, DATA = "mini-clip", "things:blackboard@7"
QUICK = {"epochs": 1, "least_updates": 6, "most_updates": 6}  # to see that everything works


@dataclass(frozen=True)
class Entry:
    """One row: a title, a folder, the method with its fields, the rate that validation chose (results/demo-fewshot), other fields."""

    title: str
    folder: str
    method: str
    lr: float
    set: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)


LORA = {"rank": 2, "targets": ["q", "k", "v"], "alpha": 1.0, "dropout": 0.25, "scaling": "sqrt"}
LAYERS = "-4:"  # the upper two thirds, as 8 of 12 in the published settings
ENTRIES = (
    Entry("zero-shot", "zero-shot", "frozen", lr=1e-3),
    Entry("CLIP-LoRA r=2", "clip-lora", "lora", lr=1e-2, set=LORA),
    Entry("MMA", "mma", "mma", lr=1.5e-3, set={"layers": LAYERS}, more={"recipe": "mma"}),
    Entry("AdaRing r=1,2,4", "adaring", "adaring", lr=3e-3, set={"layers": LAYERS}),
)


def fewshot(out: str | None = None, *, quick: bool = False, console: Any = None, threads: int = 1) -> Path:
    """Run the demo and return its folder; ``console``: a rich Console, None for silence."""
    from inarch.recipe import Recipe
    from inarch.run import Run
    from inarch.train import train

    place = fresh_place(out)
    say = console.print if console is not None else silence
    say(f"backbone {BACKBONE} (embedded), data {DATA} (drawn here), folder {place}", highlight=False, soft_wrap=True)
    results = []
    for entry in ENTRIES:
        say(f"\n{entry.title}", style="bold")
        results.append(Run(train(Recipe.parse(recipe_fields(entry, place, quick, threads)), console=console)).result())
    say(_table(results))
    say(_next(place), highlight=False, soft_wrap=True)
    return place


def recipe_fields(entry: Entry, place: Path, quick: bool, threads: int) -> dict[str, Any]:
    """The recipe of one entry: what ``inarch train things:blackboard@7 --backbone mini-clip ...`` would be given."""
    fields = {
        "data": DATA, "backbone": BACKBONE, "method": entry.method, "set": entry.set, "out": str(place / entry.folder), "seed": 1,
        "epochs": 6, "lr": entry.lr, "augment": "none", "least_updates": 180, "evaluate_every": 3, "threads": threads,
        "checkpoint_every": 600.0, "tensorboard": False,
    }
    return fields | entry.more | (QUICK if quick else {})


def _table(results: Sequence[dict[str, Any]]) -> Any:
    from rich.table import Table

    shown = results[0]["data"]
    caption = (f"accuracy in %: base on the {shown['classes']} names that were shown {shown['shots']} pictures each, novel on as many that "
               "were not; numbers trained in both towers")
    table = Table(title="\nColoured shapes on a blackboard, mini-clip frozen", title_justify="left", caption_justify="left",
                  caption=caption)
    table.add_column("method")
    for column in ("base", "novel", "H", "trained", "file", "seconds"):
        table.add_column(column, justify="right")
    for entry, result in zip(ENTRIES, results, strict=True):
        scores = (f"{100 * result['fewshot'][key]:.1f}" for key in ("base", "novel", "harmonic"))
        trained = result["count"]["trainable"]
        size = f"{result['adapter_bytes'] / 1000:.1f} kB" if trained else ""
        table.add_row(entry.title, *scores, f"{trained:,}", size, f"{result['seconds']:.0f}" if trained else "")
    return table


def _next(place: Path) -> str:
    steps = (
        (f"inarch compare {place}", "these runs in one table"),
        (f"inarch inspect {place}/adaring", "its gates, and how alike its layers are"),
        (f"inarch predict {place}/adaring PICTURE --names 'a,b'", "any names, learned or not"),
        (f"inarch train IMAGES/ --backbone {BACKBONE}", "a folder per class, 16 images of each"),
        ("inarch train IMAGES/ --backbone clip:openai/clip-vit-base-patch16", "the papers' backbone, fetched from the hub"),
    )
    return "\n".join(["\nNext:", *(f"  {command:<68}{what}" for command, what in steps)])
