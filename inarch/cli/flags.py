"""Flags that verbs share: ``--set k=v`` (values are JSON where they parse as such, else text), and one flag per recipe field."""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from inarch.errors import ConfigError

SET = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A field of the method: rank=8 (repeatable).")]
PLAIN = (bool, int, float, str)


def settings(pairs: list[str] | None, flag: str = "--set") -> dict[str, Any]:
    """``["rank=8", "spans=attn,mlp"]`` as ``{"rank": 8, "spans": "attn,mlp"}``."""
    fields: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key or not text:
            raise ConfigError(f"{flag} {pair!r}; expected KEY=VALUE, such as {flag} {'rank=8' if flag == '--set' else 'lr=1e-3'}")
        if key in fields:
            raise ConfigError(f"{flag} {key} is given twice; give it once")
        fields[key] = value(text)
    return fields


def method_of(name: str, set: list[str] | None) -> Any:
    """The method that was typed, of ours, a setting of the literature or ``package.module:Class``, with its fields."""
    from inarch.methods import adopt, configured

    adopt(name)
    return configured(name, settings(set))


def roles_of(thaw: str | None) -> list[str]:
    return thaw.split(",") if thaw else []


def value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def with_recipe_flags(verb: Callable[..., None]) -> Callable[..., None]:
    """Give ``verb`` a flag per field of ``Recipe`` in the place of its ``**flags``; the comments there are the help here."""
    signature = inspect.signature(verb, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    verb.__signature__ = signature.replace(parameters=own + recipe_flags())  # type: ignore[attr-defined]
    return verb


def recipe_flags() -> list[inspect.Parameter]:
    from inarch.recipe import Recipe

    notes = comments(inspect.getsource(Recipe))
    return [_flag(name, field, *notes.get(name, ("Recipe", ""))) for name, field in Recipe.model_fields.items() if name != "set"]


def comments(source: str) -> dict[str, tuple[str, str]]:
    """Field -> (heading above it, comment beside it)."""
    found, heading = {}, "Recipe"
    for line in source.splitlines():
        if title := re.fullmatch(r"    # ([^:]+)(:.*)?", line):
            heading = title[1].capitalize()
        if field := re.match(r"    (\w+): .*?(?:  # (.*))?$", line):
            found[field[1]] = (heading, field[2] or "")
    return found


def _flag(name: str, field: Any, heading: str, note: str) -> inspect.Parameter:
    word = name.replace("_", "-")
    names = f"--{word}/--no-{word}" if field.annotation is bool else f"--{word}"
    default = "" if field.is_required() or field.default in (None, "", ()) else f"(default: {_said(field.default)})"
    option = typer.Option(names, help=f"{_plain(note)} {default}".strip(), show_default=False, rich_help_panel=heading)
    annotation: Any = Annotated[_type(field.annotation) | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _plain(note: str) -> str:
    """The comment without the number of the source it cites: ``[4.1]`` goes, ``[VTAB] 0`` becomes ``VTAB: 0``."""
    return re.sub(r"\[([^\]]*)\]", r"\1:", re.sub(r"( in)? ?\[\d[^\]]*\]", "", note)).strip("; ")


def _said(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return ",".join(default) if isinstance(default, tuple) else str(default)


def _type(annotation: Any) -> Any:
    """What the flag takes: the plain type below bounds and ``| None``, a choice, or text (a list with commas)."""
    if get_origin(annotation) is Annotated:
        return _type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return _type(next(a for a in get_args(annotation) if a is not type(None)))
    return annotation if annotation in PLAIN or get_origin(annotation) is Literal else str
