"""What a report says of a run of two towers: base, novel and other classes; recalls of captions; both beside the frozen model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inarch.reporting import honesty, plots
from inarch.reporting.page import Block, Page, Table, Tile
from inarch.reporting.protocol import counts, optimisation, provenance
from inarch.reporting.results import line
from inarch.run import Card, Run

NONE = "–"
PROTOCOLS = {
    "base-to-novel": "base to novel: half of the classes are learned and told apart among themselves, then the other half likewise",
    "all": "all classes are learned and tested",
}


@dataclass(frozen=True, eq=False)
class Retold:
    """The files of a run that learned captions."""

    run: Run
    card: Card
    result: Mapping[str, Any]


def percent(value: float | None) -> str:
    """``71.7 %``.

    >>> percent(0.717)
    '71.7 %'
    """
    return NONE if value is None else f"{100 * value:.1f} %"


def tiles(result: Mapping[str, Any]) -> tuple[Tile, ...]:
    """Novel classes, harmonic mean and other data, where they were scored; the base classes lead the report anyway."""
    found = result.get("fewshot")
    if not found:
        return ()
    transfer = found["transfer"]
    said = {
        "novel accuracy": (found["novel"], "classes that were met at the end, by their names alone"),
        "harmonic mean": (found["harmonic"], "of base (test) and novel accuracy"),
        "other data": (found["transfer_mean"], f"mean accuracy on {len(transfer)} data sets, scored as it is"),
    }
    return tuple(Tile(title, percent(value), note) for title, (value, note) in said.items() if value is not None)


def sections(result: Mapping[str, Any], card: Card) -> tuple[tuple[str, tuple[Block, ...]], ...]:
    """A row per part, and what decided them."""
    found, told = result.get("fewshot"), card.data.get("fewshot")
    if not found or not told:
        return ()
    rows = tuple((name, percent(part["accuracy"]), f"{part['n']:,}", f"{part['loss']:.4f}") for name, part in result["metrics"].items())
    recipe = result["recipe"]
    shots = f"{told['shots']} a class, drawn by seed {told['seed']}" if told["shots"] else "all images"
    kept = {key: recipe[key] for key in ("keep_text", "keep_image", "keep_logits", "keep_scale") if recipe[key]}
    facts = {
        "classes": ", ".join(f"{count} {name}" for name, count in told["classes"].items()),
        "shots": f"{shots}; sha256 of the chosen items {told['items_sha256']}",
        "protocol": PROTOCOLS.get(told.get("protocol"), str(told.get("protocol"))),
        "templates": "; ".join(card.data["templates"]),
        "kept near the frozen model": ", ".join(f"{key} {value:g}" for key, value in kept.items()) or "no",
        **({"honesty": said} if (said := honesty.of(result["method"])) else {}),
        "gates": "learned on base classes that the rest did not see, then held" if recipe["probe"] == "gates" else "as the method has them",
    }
    header = ("part", "accuracy", "images", "loss")
    return (("Classes it learned, and others", (
        "test: the classes it learned. novel: classes it did not, of which neither name nor image was read before the end.",
        Table(header, rows, (False, True, True, True)), Table((), tuple(facts.items()), (False, False)))),)


def page(run: Run) -> Page:
    """Of a run that learned captions."""
    result, card = run.result(), run.card()
    method = line(result["method"], result["config"])
    retained = {name: found for name, found in result["retrieval"].items() if found}
    boxes = [Tile(f"{name} {found['metric']}", percent(found["now"]), f"frozen {percent(found['frozen'])}, {signed(found['change'])}")
             for name, found in retained.items()]
    count = result["count"]
    boxes += [Tile("numbers trained", f"{count['trainable']:,}", f"{count['percent']:.2f} % of all"),
              Tile("adapter file", f"{result['adapter_bytes'] / 1000:,.1f} kB")]
    data = card.data
    lead = (f"{card.backbone['address']}; {data['captions']:,} captions to learn from, {data['texts']:,} of them different, "
            f"of {data['train']:,} images")
    log = run.lines()
    shown = [("Training", (plots.curves(log, "recall"),))] if log else []
    return Page(f"{method} on {data['source']}", lead, tuple(boxes), (
        ("Found again, and retained", (
            "Share of images that find a right text among the k likeliest, and of texts that find a right image; equal captions are one "
            "text. Other data is told apart by class names. Frozen: the same model with its adapters off.", _recalls(result))),
        *shown, ("What these numbers state", (_stated(result, card),)),
        ("How to get it again", provenance(Retold(run, card, result)))))


def signed(change: float) -> str:
    return f"{100 * change:+.1f} points"


def _recalls(result: Mapping[str, Any]) -> Table:
    rows = []
    for name, part in result["metrics"].items():
        for key, before in part.get("frozen", {}).items():
            if "@" in key or key in ("recall", "accuracy"):
                rows.append((name, key, percent(part[key]), percent(before), signed(part["change"][key])))
    return Table(("part", "metric", "now", "frozen", "change"), tuple(rows), (False, False, True, True, True))


def _stated(result: Mapping[str, Any], card: Card) -> Table:
    data = card.data
    facts = {
        "seed": f"{result['seed']}: one run; inarch compare puts several seeds together, with their range",
        "data": f"{data['source']}, sha256 {data['sha256']}",
        "images per part": f"{data['train']:,} train, {data['val']:,} val, {data['test']:,} test",
        "method": line(result["method"], result["config"], whole=True),
        "trained numbers": counts(result["count"]),
        "optimisation": optimisation(result["recipe"]),
    }
    notes = {f"note {i}": note for i, note in enumerate(data.get("notes", ()), 1)}
    return Table((), tuple((facts | notes).items()), (False, False))
