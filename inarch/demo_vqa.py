"""``inarch demo vqa``: the embedded vision-language model learns to answer questions about pictures of a kind it never saw.

    LoRA, VL-PET-small, VL-PET-large   train -> save -> score on new pictures -> a table and a page of pictures with what each one said
mini-vl was pre-trained on plain drawings of shapes and digits. Here they are chalk on a blackboard: contours, other colours, and
digits that people wrote (scikit-learn's). No network and no GPU; the first row is the model as it comes, without any training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inarch.demo import fresh_place, silence

if TYPE_CHECKING:
    from inarch.run import Run

BACKBONE, DATA = "mini-vl", "scenes:blackboard@7"
QUICK = {"epochs": 1, "limit": 640}  # to see that everything works
SHOWN = 18  # pictures on the page


@dataclass(frozen=True)
class Entry:
    """One way to adapt: a title, a folder, the method with its fields, and its rate: one for all, not yet chosen by a sweep."""

    title: str
    folder: str
    method: str
    lr: float
    set: dict[str, Any] = field(default_factory=dict)
    epochs: int = 2


RANKS = {"rank": 16, "gate_rank": 16, "value_rank": 16}  # an eighth of the width, as 96 of 768 in the paper
ENTRIES = (
    Entry("LoRA r=16", "lora", "lora", lr=3e-3, set={"rank": 16, "targets": ["q", "v"]}),
    Entry("VL-PET-small", "vlpet-small", "vlpet", lr=3e-3, set={"gate": "small", "rank": 16, "value_rank": 16}),
    Entry("VL-PET-large", "vlpet-large", "vlpet", lr=3e-3, set={"gate": "large", **RANKS}),
)


@dataclass(frozen=True)
class Outcome:
    """What one row of the table says, and what was answered to each question of the test part."""

    title: str
    answers: dict[str, str]
    metrics: dict[str, Any]
    result: dict[str, Any] | None = None  # None: nothing was trained

    @property
    def accuracy(self) -> float:
        return self.metrics["exact_match"]


def vqa(out: str | None = None, *, quick: bool = False, console: Any = None, threads: int = 1) -> Path:
    """Run the demo and return its folder; ``console``: a rich Console, None for silence."""
    place = fresh_place(out)
    say = console.print if console is not None else silence
    say(f"backbone {BACKBONE} (embedded), data {DATA} (drawn here, digits by people), folder {place}", highlight=False, soft_wrap=True)
    outcomes = [_untrained(place, quick, say, threads)]
    outcomes += [_one(entry, place, quick, console, say, threads) for entry in ENTRIES]
    say(_table(outcomes))
    say(f"pictures, questions and answers: {page(outcomes, place / 'vqa.html')}", highlight=False, soft_wrap=True)
    say(_next(place), highlight=False, soft_wrap=True)
    return place


def recipe_fields(entry: Entry, place: Path, quick: bool, threads: int) -> dict[str, Any]:
    """The recipe of one entry: what ``inarch train scenes:blackboard@7 --backbone mini-vl ...`` would be given."""
    fields = {
        "data": DATA, "backbone": BACKBONE, "method": entry.method, "set": entry.set, "out": str(place / entry.folder), "seed": 0,
        "epochs": entry.epochs, "lr": entry.lr, "batch_size": 64, "schedule": "linear", "threads": threads, "watch": 100,
        "checkpoint_every": 600.0, "tensorboard": False,
    }
    return fields | QUICK if quick else fields


def _untrained(place: Path, quick: bool, say: Callable[..., None], threads: int) -> Outcome:
    """The backbone as it comes, asked the questions of the test part."""
    import torch

    from inarch.recipe import Recipe
    from inarch.run import Run
    from inarch.tasks.generation import Generation
    from inarch.tasks.task import Start
    from inarch.training import machine

    say("\nmini-vl as it comes", style="bold")
    torch.set_num_threads(threads or torch.get_num_threads())
    recipe = Recipe.parse(recipe_fields(ENTRIES[0], place, quick, threads))
    engine = machine.accelerator(recipe)
    task = Generation.prepare(Start(recipe, Run(recipe.folder()), engine))
    part: Any = task.parts()[-1]
    found = part.found(engine, Generation.net(task.backbone.model, recipe))
    metrics = part.metrics(found)
    say(f"test: exact_match {metrics['exact_match']:.4f}", highlight=False)
    return Outcome("as it comes", {line["key"]: line["prediction"] for line in part.lines(found)}, metrics)


def _one(entry: Entry, place: Path, quick: bool, console: Any, say: Callable[..., None], threads: int) -> Outcome:
    from inarch.recipe import Recipe
    from inarch.run import Run
    from inarch.train import train

    say(f"\n{entry.title}", style="bold")
    run = Run(train(Recipe.parse(recipe_fields(entry, place, quick, threads)), console=console))
    result = run.result()
    return Outcome(entry.title, {line["key"]: line["prediction"] for line in _lines(run)}, result["metrics"]["test"], result)


def _lines(run: Run) -> list[dict[str, Any]]:
    from inarch.reporting.answers import said

    return said(run, "test")


COLUMNS = ("accuracy", "trained", "adapter alone", "file", "seconds")


def _row(outcome: Outcome) -> tuple[str, ...]:
    """Title and numbers of one row."""
    accuracy = f"{100 * outcome.accuracy:.1f} %"
    if outcome.result is None:
        return outcome.title, accuracy, "0", "0", "", ""
    result, count = outcome.result, outcome.result["count"]
    numbers = (f"{count['trainable']:,}", f"{count['adapter']:,}")
    return outcome.title, accuracy, *numbers, f"{result['adapter_bytes'] / 1000:.1f} kB", f"{result['seconds']:.0f}"


def _caption(outcomes: Sequence[Outcome]) -> str:
    asked = f"accuracy on {outcomes[0].metrics['n']:,} questions about new pictures"
    return f"{asked}; numbers trained: with the visual projector and thawed norms, and of the adapter alone"


def _table(outcomes: Sequence[Outcome]) -> Any:
    from rich.table import Table

    table = Table(title="\nQuestions about a blackboard, mini-vl frozen", title_justify="left", caption_justify="left",
                  caption=_caption(outcomes))
    table.add_column("method")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for outcome in outcomes:
        table.add_row(*_row(outcome))
    return table


def page(outcomes: Sequence[Outcome], path: Path) -> Path:
    """The table, accuracy by kind of question, and pictures with what every row answered."""
    from inarch import files
    from inarch.reporting.page import Page, Table, to_html

    rows = tuple(_row(outcome) for outcome in outcomes)
    kinds = sorted(outcomes[0].metrics["groups"])
    by_kind = tuple(
        (kind, *(f"{100 * outcome.metrics['groups'][kind]['exact_match']:.1f} %" for outcome in outcomes)) for kind in kinds)
    titles = tuple(outcome.title for outcome in outcomes)
    sections = (
        ("In numbers", (Table(("method", *COLUMNS), rows, (False, *(True for _ in COLUMNS))), _caption(outcomes))),
        ("By kind of question", (Table(("kind", *titles), by_kind, (False, *(True for _ in titles))),)),
        ("Pictures, drawn by lot", (_gallery(outcomes),)),
    )
    lead = f"{BACKBONE}, pre-trained on plain drawings only, adapted to {DATA}: chalk on a blackboard, digits written by people"
    files.write(path, to_html(Page("Questions about pictures of a new kind", lead, (), sections)).encode())
    return path


def _gallery(outcomes: Sequence[Outcome]) -> Any:
    from inarch.data.pairs import read_pairs
    from inarch.reporting.answers import drawing
    from inarch.reporting.page import Gallery
    from inarch.training.order import some

    pairs = read_pairs(DATA)
    asked = [example for example in pairs.parts["test"] if example.key in outcomes[0].answers]
    chosen = [asked[i] for i in sorted(some(len(asked), SHOWN, 0, "shown"))]
    return Gallery(tuple((drawing(pairs.images, example.images), _words(example, outcomes)) for example in chosen))


def _words(example: Any, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    right = example.references[0]
    said = [(outcome.title, outcome.answers[example.key]) for outcome in outcomes]
    marked = tuple(f"{'✓' if answer == right else '✗'} {title}: {answer or 'nothing'}" for title, answer in said)
    return (example.text.partition(": ")[2], *marked, f"is: {right}")


def _next(place: Path) -> str:
    steps = (
        (f"inarch compare {place}", "these runs in one table"),
        (f"inarch inspect {place}/vlpet-large", "what its gates do, layer by layer"),
        (f"inarch count vlpet {BACKBONE} --set gate=small", "how many numbers a variant trains"),
        (f"inarch train QUESTIONS.jsonl --backbone {BACKBONE}", "one's own pictures, questions, answers"),
        ("inarch train QUESTIONS.jsonl --backbone vl:facebook/bart-base", "the paper's backbone, fetched from the hub"),
    )
    return "\n".join(["\nNext:", *(f"  {command:<64}{what}" for command, what in steps)])
