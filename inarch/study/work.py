"""One job done, in whatever process: a run folder that is begun, gone on with or found finished, and its result without bulk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from inarch.methods import adopt
from inarch.run import Run
from inarch.seal import sealed
from inarch.study.jobs import Job
from inarch.train import stored_recipe, train

BULK = ("confusion", "per_class")  # of every scored part: what a table does not read


def perform(job: Job, folder: Path) -> dict[str, Any]:
    """The result of ``job``, whose run lies in ``folder``; raises what ``train`` raises."""
    run = Run(folder)
    adopt(job.method)
    if not run.finished:
        stored = stored_recipe(folder) if run.card_file.exists() else None
        if stored is not None and stored.method_config() == job.recipe.method_config():
            train(stored, resume=True)
        else:  # its start was cut short, or an older version's recipe lost a None (AdaRing on all layers): no run of this job
            shutil.rmtree(folder, ignore_errors=True)
            train(job.recipe.model_copy(update={"out": str(folder)}))
    return _without_bulk(run.result())


def _without_bulk(result: dict[str, Any]) -> dict[str, Any]:
    metrics = {part: {name: value for name, value in numbers.items() if name not in BULK} if isinstance(numbers, dict) else numbers
               for part, numbers in result["metrics"].items()}
    return sealed(result | {"metrics": metrics})
