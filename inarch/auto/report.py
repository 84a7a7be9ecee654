"""The report of ``auto``: what came out, what was tried, and everything that was decided on the way."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from inarch import files
from inarch.auto.run import Ask, Outcome
from inarch.reporting.page import Page, Table, Tile, to_html, to_markdown
from inarch.run import Run


def write(outcome: Outcome, ask: Ask) -> list[Path]:
    """``report.html`` and ``report.md`` beside the runs."""
    page = made(outcome, ask, Run(outcome.run).result())
    texts = {"report.html": to_html(page), "report.md": to_markdown(page)}
    for name, text in texts.items():
        files.write(ask.out / name, text.encode())
    return [ask.out / name for name in texts]


def made(outcome: Outcome, ask: Ask, result: dict[str, Any]) -> Page:
    metrics = result["metrics"].get("test") or result["metrics"].get("val") or {}
    name = next((name for name in ("accuracy", "mAP") if name in metrics), "")
    score = f"{100 * metrics[name]:.1f} %" if name else "–"
    n = result["data"]["test"]
    tiles = (Tile(f"test {name}", score, f"{n:,} images that nothing was chosen on"),
             Tile("trained numbers", f"{result['count']['without_head']:,}", f"{result['count']['trainable']:,} with the head"),
             Tile("adapter file", f"{result['adapter_bytes'] / 1000:,.1f} kB", str(outcome.winner)))
    rows = tuple((str(one.candidate), f"{one.candidate.numbers:,}", str(one.rung + 1), str(one.epochs),
                  "failed: " + one.reason if one.score is None else f"{100 * one.score:.1f}") for one in outcome.tries)
    ladder = Table(("candidate", "numbers", "rung", "epochs", "validation, %"), rows, (False, True, True, True, True))
    decisions = Table((), tuple((str(i), text) for i, text in enumerate(outcome.decisions, 1)), (False, False))
    after = _next(outcome.run, ask.out)
    parts = (("The ladder", (ladder,)), ("Everything that was decided", (decisions,)), ("What to do with it", (after,)))
    return Page(f"What was found for {ask.data}", f"{outcome.winner} on {result['recipe']['backbone']}", tiles, parts)


def _next(run: Path, out: Path) -> Table:
    here = shlex.quote(str(run))
    return Table((), ((f"inarch predict {here} IMAGES", "labels for new images"),
                      (f"inarch merge {here} OUT", "a plain model without inarch, its adapter folded in where it folds"),
                      (f"{run.relative_to(out)}/report.html", "the winner's own report: curves, mistakes, protocol")), (False, False))
