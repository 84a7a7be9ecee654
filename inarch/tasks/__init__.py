"""What a run can learn: to classify images, to match them with names or captions, or to generate text from images and text."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inarch.recipe import Recipe
    from inarch.tasks.task import Task


KINDS = {
    "classify": ("classification", "Classification"), "generate": ("generation", "Generation"), "match": ("matching", "Matching"),
    "retrieve": ("retrieval", "Retrieval"),
}


def task_of(recipe: Recipe) -> type[Task]:
    """The task that the recipe's backbone is for."""
    module, name = KINDS[recipe.kind]
    return getattr(import_module(f"inarch.tasks.{module}"), name)


__all__ = ["task_of"]
