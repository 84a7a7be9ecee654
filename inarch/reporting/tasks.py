"""The tasks of a run that answers and describes, each a result of its own, so that a table has a row for each.

    score    the headline as a fraction; CIDEr by a hundred        mean    of all tasks' scores, where there are several
A task is reported on its test part, or on validation where it has no test part with answers (GQA: testdev).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inarch.errors import Corrupt

if TYPE_CHECKING:
    from inarch.reporting.results import Result

HUNDREDS = ("cider",)  # as papers have them, x 100
MOST = 10.0  # of CIDEr / 100


def of_tasks(whole: Result, fields: Mapping[str, Any], path: Path) -> list[Result]:
    """``whole`` once per task, with that task's data and numbers."""
    tasks, data = fields["tasks"], fields["data"]
    mean = fields.get("mean") if len(tasks) > 1 else None
    limit, features = fields["recipe"].get("limit"), data.get("features", {})
    settings = {**whole.settings, "features": features.get("tower") if limit else str(features.get("sha256"))[:12]}
    found = []
    for task, facts in tasks.items():
        try:
            key, part, sha = facts["headline"], facts["part"], data["tasks"][task]["sha256"]
        except (KeyError, TypeError):
            raise Corrupt(f"{path}: tasks.{task} or data.tasks.{task} lacks headline, part or sha256; restore the file") from None
        if limit:  # each seed draws its own training examples: the hash is another for each, source and sizes must do
            sha = f"{data.get('val')}, {data.get('test')}, {limit} of {task} in {data['source']}"
        scores = {name: _score(fields["metrics"].get(name), task, key, len(tasks), path) for name in ("test", "val")}
        named = task if fields["recipe"].get("tasks") else whole.data
        found.append(dataclasses.replace(
            whole, data=named, data_sha=sha, metric=key, score=scores[part] if part else None, val=scores["val"], settings=settings,
            part=part or "test", mean=None if mean is None else mean / 100, image_size=fields["recipe"].get("image_size")))
    return found


def _score(metrics: Any, task: str, key: str, tasks: int, path: Path) -> float | None:
    own = (metrics or {}) if tasks == 1 else (metrics or {}).get(task) or {}
    value = own.get(key)
    if value is None:
        return None
    fraction = value / 100 if key in HUNDREDS else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= fraction <= (MOST if key in HUNDREDS else 1):
        raise Corrupt(f"{path}: {key} of {task} is {value!r}; expected {'0 to 1000' if key in HUNDREDS else 'a fraction from 0 to 1'}")
    return fraction
