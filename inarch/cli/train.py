"""``inarch train``: images, questions, a table or a recipe in, a run folder out; every recipe field is also a flag."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from inarch.cli.flags import SET, settings, with_recipe_flags
from inarch.errors import ConfigError


@with_recipe_flags
def run(
    source: Annotated[str | None, typer.Argument(metavar="[DATA | RECIPE.toml]", show_default=False,
                                                 help="Data (folder, table, .npz, ...) or a recipe.")] = None,
    set: SET = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", show_default=False, help="Go on with this run.")] = None,
    override: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", show_default=False, help=(
        "With --resume: a field that changes from here on, recorded in the run: lr=1e-3 (repeatable)."))] = None,
    **flags: Any,
) -> None:
    """Train an adapter and a head on frozen weights; leaves one folder with recipe, metrics, adapter and report.

    [bold]Examples[/bold]

    inarch train digits --backbone mini-vit --method arc --set rank=16 --epochs 10

    inarch train pets/ --backbone timm:vit_tiny_patch16_224 --lr 5e-3 --augment flip

    inarch train recipes/vtab-vit-b16-arc.toml --data vtab-1k/cifar --seed 1

    inarch train questions.jsonl --backbone vl:facebook/bart-base --tower open_clip:RN101/openai

    inarch train --resume runs/digits-mini-vit-arc-42

    inarch train --resume runs/digits-mini-vit-arc-42 --override epochs=20

    Flags win over the recipe. Ctrl-C leaves a run that --resume goes on with, bit for bit.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    _adopted(given.get("method", ""))
    fields = _resumed(source, resume) if resume else _started(source)
    changes = settings(override, "--override")
    if changes and not resume:
        raise ConfigError(f"--override {next(iter(changes))} is for --resume RUN; in a new run give --{next(iter(changes))} itself")
    fields |= given | changes
    if set:
        fields["set"] = {**fields.get("set", {}), **settings(set)}
    _train(fields, resume, changes)


def _adopted(method: str) -> None:
    if ":" in method:  # the method's import brings torch, which --help and most errors do without
        from inarch.methods import adopt

        adopt(method)


def _started(source: str | None) -> dict[str, Any]:
    from inarch.toml import read_toml

    if source is None:
        return {}
    return read_toml(Path(source)) if source.lower().endswith((".toml", ".yaml", ".yml")) else {"data": source}


def _resumed(source: str | None, run: str) -> dict[str, Any]:
    from inarch.train import stored_recipe

    if source is not None:
        raise ConfigError(f"--resume {run} takes data and settings from the run; leave out {source!r}")
    return stored_recipe(run).model_dump()


def _train(fields: dict[str, Any], resume: str | None, override: Collection[str]) -> None:
    from inarch.recipe import Recipe

    if "data" not in fields:
        raise ConfigError("no data; give a folder, a table, 'digits' or a recipe: inarch train DATA (inarch train --help)")
    recipe = Recipe.parse(fields)
    if "backbone" not in fields:
        from inarch.backbones import HUB_PRESET

        print(HUB_PRESET.announce(), flush=True)
    from rich.console import Console

    from inarch.train import train

    train(recipe, resume=resume is not None, override=override, console=Console(stderr=True))
