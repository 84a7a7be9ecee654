"""Every run on a line of its own, as CSV: what pandas reads, and a spreadsheet takes for text.

    status      finished; trial: it only chose a setting; failed: ``reason`` says why and the numbers are empty
Scores are fractions. Mean and range over seeds are one ``groupby`` away, and no file holds a mean over incomplete seeds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from inarch.reporting.failures import Failure
from inarch.reporting.results import Result
from inarch.reporting.rows import Row

COLUMNS = ("status", "method", "setting", "data", "data_sha256", "backbone", "backbone_sha256", "image_size", "seed", "metric", "part",
           "score", "val", "base", "novel", "harmonic", "train_loss", "trained_without_head", "trained_with_head", "adapter_bytes",
           "saved_bytes_per_example", "seconds_per_epoch", "epochs", "lr", "hardware", "commit", "finished", "sealed", "reason", "file")
FORMULA = tuple("=+-@\t\r")  # how a text begins that a spreadsheet would compute


def to_csv(rows: Sequence[Row], trials: Sequence[Result], failures: Sequence[Failure]) -> str:
    """With a header; an apostrophe stands before a text that a spreadsheet would take for a formula."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for line in _lines(rows, trials, failures):
        writer.writerow({key: _safe(value) for key, value in line.items()})
    return out.getvalue().encode("utf-8", "replace").decode()


def _lines(rows: Sequence[Row], trials: Sequence[Result], failures: Sequence[Failure]) -> Iterable[dict[str, Any]]:
    for row in rows:
        for result in row.results:
            yield _of(result, "finished") | {"setting": row.setting, "data": row.data, "backbone": row.backbone}
    for trial in trials:
        yield _of(trial, "trial")
    for failure in failures:
        yield {"status": "failed", "method": failure.method, "data": failure.data, "backbone": failure.backbone, "seed": failure.seed,
               "trained_without_head": failure.trained, "reason": failure.reason, "file": failure.path}


def _of(result: Result, status: str) -> dict[str, Any]:
    shots = result.shots
    return {
        "status": status, "method": result.method, "data": result.data, "data_sha256": result.data_sha, "backbone": result.backbone,
        "backbone_sha256": result.backbone_sha, "image_size": result.image_size, "seed": result.seed, "metric": result.metric,
        "part": result.part, "score": result.score, "val": result.val, "base": shots and shots.base, "novel": shots and shots.novel,
        "harmonic": shots and shots.harmonic, "train_loss": result.train_loss,
        "trained_without_head": result.without_head, "trained_with_head": result.with_head,
        "adapter_bytes": result.adapter_bytes, "saved_bytes_per_example": result.saved, "seconds_per_epoch": result.epoch_seconds,
        "epochs": result.settings.get("epochs"), "lr": result.settings.get("lr"), "hardware": result.hardware, "commit": result.commit,
        "finished": result.finished, "sealed": result.sealed, "file": result.path,
    }


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
