"""Which sentences class names stand in, and what can be refused of that before the first update.

    template     as the recipe says; "coop": CoOp's for the data; for context vectors from nothing: ``X X X X {}.``
    context      tokens 1 .. m of every prompt, behind the start token, must be the template's own: the vectors stand there
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inarch.backbones.two_tower import TwoTower
from inarch.data.fewshot import prompts, published, template_of
from inarch.data.fewshot.address import COOP, SHOTS, SPLIT
from inarch.data.fewshot.templates import DEFAULT
from inarch.data.images import shown
from inarch.errors import ConfigError, DataError
from inarch.methods import Context
from inarch.recipe import Recipe

APART = ("a", "7")  # names without a token in common


def templates(recipe: Recipe, dataset: str) -> tuple[str, ...]:
    """The recipe's for this data set."""
    method = recipe.method_config()
    found = tuple(template_of(choice, dataset) for choice in recipe.templates)
    return (method.prompt,) if isinstance(method, Context) and method.init == "normal" and found == (DEFAULT,) else found


def refuse_overwritten(recipe: Recipe, model: TwoTower, sentences: Sequence[str]) -> None:
    """``ConfigError`` where context vectors would stand in the place of a class name."""
    method = recipe.method_config()
    if not isinstance(method, Context):
        return
    for sentence in sentences:
        free = tokens_before_name(model, sentence)
        if free < method.length:
            raise ConfigError(f"template {sentence!r} has {free} tokens before the class name; context of length={method.length} needs as "
                              f"many: use {method.prompt!r}, or a smaller length")


def tokens_before_name(model: TwoTower, sentence: str) -> int:
    """Behind the start token, as this backbone's tokenizer cuts it."""
    one, other = model.tokens(prompts(APART, sentence)).ids.tolist()
    same = next((k for k, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))
    return max(same - 1, 0)


def refuse_absent(recipe: Recipe, model: TwoTower, addresses: Sequence[str]) -> None:
    """What can be known of other data while none of its images, names or lists may be read: that it is there, and its templates."""
    for address in addresses:
        name, place = named(address)
        if place is not None and not place.exists():
            raise DataError(f"transfer: {address}: there is no {shown(place)}; bring the data, or leave it out of transfer")
        refuse_overwritten(recipe, model, templates(recipe, name))


def named(address: str) -> tuple[str, Path | None]:
    """The data set's name, and the file or folder that must be there (None: it is drawn or fetched).

    >>> named("coop:dtd@datasets")
    ('DescribableTextures', PosixPath('datasets/dtd'))
    """
    if address.startswith(COOP):
        name, _, root = address.removeprefix(COOP).partition("@")
        row = published(name)
        return row.name, Path(root).expanduser() / row.folder
    if address.startswith(SHOTS):
        file, _, data = address.removeprefix(SHOTS).partition(".jsonl@")
        return named(data)[0] if data else "", Path(f"{file.removesuffix('.jsonl')}.jsonl").expanduser()
    file, json, _ = address.removeprefix(SPLIT).partition(".json")
    place = Path(file + json).expanduser()
    drawn = address == "digits" or (":" in address and not json)
    return place.stem.removeprefix("split_zhou_"), None if drawn else place
