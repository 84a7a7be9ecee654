"""``export_run``: a run's classifier for people who do not have inarch, as an adapter, a plain model or a graph.

    lora     an ordinary LoRA folder of ``peft``, for the same backbone         needs an adapter that folds
    native   a plain folder of the backbone's own library (``inarch merge``)    needs an adapter that folds
    torch    a program of ``torch.export``, ``.pt2``                            folded where that is possible
    onnx     a graph for onnxruntime and its like                               folded where that is possible
Each is loaded again and compared with the grafted model before it gets its name; what differs is refused, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from inarch.errors import CannotFold, ConfigError, nearest
from inarch.export import refuse_place
from inarch.places import namesake
from inarch.recipe import Recipe
from inarch.run import Run

TARGETS = {"lora": "lora", "native": "native", "torch": "graph", "onnx": "graph"}  # target -> the file here that writes it


def export_run(run: str | Path, to: str, out: str | Path | None = None, *, overwrite: bool = False,
               progress: Any = None) -> tuple[Path, str]:
    """Write ``run`` as ``to`` says to the folder ``out`` (RUN-TO where it is left out); returns it, and what was found in a line."""
    if to not in TARGETS:
        raise ConfigError(f"--to {to!r}; {nearest(to, TARGETS)}")
    folder = Path(out) if out is not None else beside(run, to)
    found = Run(run)
    if reason := ours_alone(found.recipe()):
        raise CannotFold(f"{run}: {reason}")
    refuse_place(folder, overwrite)
    write: Callable[..., str] = import_module(f"inarch.exports.{TARGETS[to]}").WRITERS[to]
    return folder, write(found.folder, folder, overwrite=overwrite, progress=progress)


def ours_alone(recipe: Recipe) -> str:
    """Why no other library builds the model of such a run; "" for a classifier."""
    if recipe.kind == "classify":
        return ""
    return (f"its task is {recipe.kind!r}, and its model is inarch's own wrapper, which no other library builds; "
            "only classifiers are exported: use inarch.load and inarch.merge on the model")


def beside(run: str | Path, to: str) -> Path:
    """``runs/pets-lora`` for ``runs/pets``."""
    named = namesake(run)
    whole = named.absolute()
    return named.parent / f"{whole.name}-{to}" if named.name else whole.with_name(f"{whole.name}-{to}")


__all__ = ["TARGETS", "export_run", "ours_alone"]
