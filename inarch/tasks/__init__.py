"""What a run can learn: to classify images, or to generate text from images and text."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inarch.recipe import Recipe
    from inarch.tasks.task import Task


def task_of(recipe: Recipe) -> type[Task]:
    """The task that the recipe's backbone is for."""
    if recipe.generates:
        return import_module("inarch.tasks.generation").Generation
    return import_module("inarch.tasks.classification").Classification


__all__ = ["task_of"]
