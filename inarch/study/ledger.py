"""What a comparison has done already, file by file: results and failures, each under the key of its job.

    OUT/runs/TASK/NAME/            run folders                      OUT/failed/TASK/NAME.json      what could not be trained, and why
    RESULTS/TASK/NAME.json         results of seeds                 RESULTS/trials/TASK/NAME.json  those of the trials
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch import files, folders
from inarch.reporting.results import data_name, line
from inarch.seal import read_result
from inarch.study.jobs import Job


@dataclass(frozen=True)
class Ledger:
    """``out``: where runs are; ``results``: where their results are kept."""

    out: Path
    results: Path

    def folder(self, job: Job) -> Path:
        """Of the job's run."""
        return self.out / "runs" / job.task / job.name

    def file(self, job: Job) -> Path:
        """Of its result."""
        return self.results / ("trials" if job.kind == "trial" else "") / job.task / f"{job.name}.json"

    def failure(self, job: Job) -> Path:
        return self.out / "failed" / job.task / f"{job.name}.json"

    def result(self, job: Job) -> dict[str, Any] | None:
        """The kept result; None where there is none. Raises ``Corrupt`` where it was changed since."""
        path = self.file(job)
        return read_result(path) if path.exists() else None

    def failed(self, job: Job) -> str | None:
        """Why the job could not be done, where that is known."""
        path = self.failure(job)
        return str(files.parse_json(files.read(path), path)["failed"]["reason"]) if path.exists() else None

    def keep(self, job: Job, result: dict[str, Any]) -> None:
        _write(self.file(job), result)
        self.failure(job).unlink(missing_ok=True)

    def fail(self, job: Job, reason: str, numbers: int | None) -> None:
        method = line(job.recipe.method, job.recipe.method_config().fields())
        _write(self.failure(job), {"format": 1, "failed": {
            "method": method, "data": data_name(job.recipe.data), "backbone": job.recipe.backbone, "seed": job.seed, "reason": reason,
            "trained": numbers, "trial": job.kind == "trial"}})

    def forget_failures(self) -> None:
        """So that they are tried again."""
        for path in sorted((self.out / "failed").glob("*/*.json")):
            path.unlink()


def _write(path: Path, fields: dict[str, Any]) -> None:
    folders.make_folder(path.parent)
    files.write(path, files.canonical(fields))
