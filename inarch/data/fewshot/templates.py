"""Prompts: a template with one ``{}`` in which the class name stands.

    "default"    "a photo of a {}." for every data set, as MMA's released code has it
    "coop"       CoOp's template of the data set, with which zero-shot CLIP was published
    other        a template of one's own
"""

from __future__ import annotations

from collections.abc import Iterable

from inarch.data.fewshot.sets import PLAIN, SETS
from inarch.errors import ConfigError

DEFAULT = PLAIN
HOLE = "{}"


def template_of(choice: str = "default", dataset: str = "") -> str:
    """The template that ``choice`` means for ``dataset``.

    >>> template_of("coop", "DescribableTextures")
    '{} texture.'
    """
    if choice == "default":
        return DEFAULT
    if choice == "coop":
        if dataset not in SETS:
            raise ConfigError(f"template 'coop': none is published for {dataset!r}; known: {', '.join(SETS)}; write one of your own")
        return SETS[dataset].template
    if choice.count(HOLE) != 1:
        raise ConfigError(f"template {choice!r} holds {{}} {choice.count(HOLE)} times; expected once, where the class name stands")
    return choice


def prompts(names: Iterable[str], template: str = DEFAULT) -> list[str]:
    """A prompt per class name, ``_`` read as a blank.

    >>> prompts(["sea_or_lake"], "a centered satellite photo of {}.")
    ['a centered satellite photo of sea or lake.']
    """
    return [template_of(template).replace(HOLE, name.replace("_", " ")) for name in names]
