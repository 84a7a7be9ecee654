"""``--override KEY=VALUE``: what a resumed run may do otherwise from here on, said, recorded, and kept in its result.

Everything else decides what the checkpoint's values and moments belong to, or which example comes next: that is another run.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from inarch import files
from inarch.errors import ConfigError
from inarch.provenance import now
from inarch.recipe import Recipe
from inarch.run import Run

OVERRIDABLE = frozenset({
    "epochs", "lr", "schedule", "warmup_epochs", "warmup_lr", "weight_decay", "clip", "adam_eps", "skip_nonfinite",  # optimisation
    "augment", "evaluate_every", "eval_batch_size", "device", "threads"})
RECORD = "overrides.jsonl"


def overridden(run: Run, recipe: Recipe, override: Collection[str]) -> list[str]:
    """``lr: 0.01 -> 0.02`` for what ``recipe`` changes of the run's; ``ConfigError`` for a change not in ``override``, or not possible."""
    if fixed := sorted(set(override) - OVERRIDABLE):
        raise ConfigError(f"cannot override {', '.join(fixed)} of a run that has begun; only {', '.join(sorted(OVERRIDABLE))}: "
                          "start a new run with another --out")
    changed = run.recipe().differences(recipe)
    if silent := [change for change in changed if change.partition(":")[0] not in override]:
        raise ConfigError(f"cannot resume {run} with another recipe: {'; '.join(silent)}; leave these as they were, "
                          "choose another --out, or say what is to change with --override KEY=VALUE")
    return changed


def record(run: Run, recipe: Recipe, changed: list[str], updates: int) -> None:
    """Note what changes after update ``updates``, and make ``recipe`` the run's own, for the next resume."""
    lines = [*recorded(run), {"after_update": updates, "changed": changed, "at": now()}]
    files.write(run.folder / RECORD, "".join(json.dumps(line) + "\n" for line in lines).encode())
    run.write_recipe(recipe)


def recorded(run: Run) -> list[dict[str, Any]]:
    """All overrides of a run, in their order."""
    path = run.folder / RECORD
    if not path.exists():
        return []
    return [files.parse_json(line.encode(), path) for line in files.read(path).decode().splitlines()]
