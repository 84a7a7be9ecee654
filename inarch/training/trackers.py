"""Copies of each epoch's line: TensorBoard events in the run folder, and through accelerate whatever ``report_to`` names."""

from __future__ import annotations

import importlib.util
from typing import Any

from inarch.recipe import Recipe
from inarch.run import Run


class Trackers:
    """Opened by the main process; ``log`` takes a line of ``metrics.jsonl``."""

    def __init__(self, engine: Any, recipe: Recipe, run: Run, from_epoch: int) -> None:
        self.engine, self.services = engine, bool(recipe.report_to)
        self.writer: Any = None
        if self.services:
            engine.init_trackers("inarch", config=_flat(recipe.model_dump()))
        if engine.is_main_process and recipe.tensorboard and importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            # after a resume, events of epochs that are trained again are hidden
            self.writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=from_epoch + 1 if from_epoch else None)

    def log(self, line: dict[str, Any]) -> None:
        numbers = {key: value for key, value in _flat(line).items() if isinstance(value, int | float) and key != "epoch"}
        if self.writer is not None:
            for key, value in numbers.items():
                self.writer.add_scalar(key, value, line["epoch"])
            self.writer.flush()
        if self.services:
            self.engine.log(numbers, step=line["epoch"])

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        if self.services:
            self.engine.end_training()


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as ``val/accuracy``; lists as text, which every service takes."""
    found: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}/")
        else:
            found[prefix + key] = value if isinstance(value, int | float | str) else str(value)
    return found
