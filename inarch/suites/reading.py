"""A suite read strictly from TOML: an unknown key is refused with the nearest, a recipe field is checked as a recipe's.

    title = "..."       backbone = "timm:NAME@{data}/weights.safetensors"       seeds = [0, 1, 2]       methods = ["arc", "lora"]
    [recipe]            epochs = 10                  common to all tasks
    [rates]             default = [1e-2, 1e-3]       full = [1e-4]
    [tasks.eurosat10]   data = "eurosat10.npz"       group = "specialised"       recipe = { image_size = 64 }
    [settings.lora]     thaw = ["biases"]            set = { rank = 128 }         what a method has of its own
    [about]             papers, protocol, layout, reader, download: in words
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from inarch.errors import ConfigError
from inarch.methods.registry import known, method_named
from inarch.suites.strict import known as known_keys
from inarch.suites.strict import typed
from inarch.suites.suite import ROOT, Suite, SuiteTask
from inarch.toml import read_toml

KEYS = {"title": str, "backbone": str, "seeds": list, "methods": list, "recipe": dict, "rates": dict, "tasks": dict,
        "settings": dict, "about": dict}
TASK_KEYS = {"data": str, "group": str, "recipe": dict, "download": str}
ABOUT = {"papers", "protocol", "layout", "reader", "download"}
RATES = (1e-2, 3e-3, 1e-3)
OURS = frozenset({"data", "backbone", "method", "set", "seed", "lr", "out"})  # the suite says them elsewhere, or the comparison does
ELSEWHERE = {"data": "give it to the task", "backbone": "give it at the top", "lr": "give rates", "seed": "give seeds",
             "method": "give methods", "set": "give it to the settings of a method"}
NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


def read_suite(file: Path) -> Suite:
    """The suite in a TOML file; raises ``ConfigError`` naming the file, the key, what was found and what was expected."""
    where, fields = str(file), read_toml(file)
    typed(where, fields, KEYS)
    for key in ("title", "backbone", "tasks"):
        if not fields.get(key):
            raise ConfigError(f"{where}: {key} is missing or empty; a suite has a title, a backbone and at least one [tasks.NAME]")
    _inside(f"{where}: backbone", fields["backbone"], absolute=True)
    suite = Suite(
        name=file.stem, title=fields["title"], backbone=fields["backbone"], recipe=_recipe(where, fields.get("recipe", {})),
        tasks=tuple(_task(where, name, task) for name, task in fields["tasks"].items()),
        seeds=_seeds(where, fields.get("seeds", [0, 1, 2])), rates=_rates(where, fields.get("rates", {})),
        methods=tuple(_method(f"{where}: methods", name) for name in fields.get("methods", [])),
        settings=_settings(where, fields.get("settings", {})), about=_about(where, fields.get("about", {})))
    _accepted(where, suite)
    return suite


def _task(where: str, name: str, fields: Any) -> SuiteTask:
    here = f"{where}: tasks.{name}"
    if not NAME.fullmatch(name) or not isinstance(fields, dict):
        raise ConfigError(f"{here} is {fields!r}; expected a table [tasks.NAME], its name of letters, digits, - and _")
    typed(here, fields, TASK_KEYS)
    if not fields.get("data"):
        raise ConfigError(f"{here}: data is missing; expected an address below the root of the data, such as 'eurosat10.npz'")
    _inside(f"{here}: data", fields["data"])
    recipe = _recipe(here, fields.get("recipe", {}))
    return SuiteTask(name, fields["data"], fields.get("group", ""), recipe, fields.get("download", ""))


def _inside(what: str, address: str, absolute: bool = False) -> None:
    """A file must not send a run out of the root: whoever gets one from somebody else decides where its data lie."""
    for part in re.split("[:@]", address.replace(ROOT, ".")):
        if ".." in re.split(r"[/\\]", part) or (not absolute and part.startswith(("/", "~", "\\"))):
            raise ConfigError(f"{what} is {address!r}, which leaves the root of the data; expected a path below it, and the root with "
                              "--data")


def _recipe(where: str, fields: Mapping[str, Any], elsewhere: frozenset[str] = OURS) -> Mapping[str, Any]:
    from inarch.recipe import Recipe

    for key in sorted(fields.keys() & elsewhere):
        raise ConfigError(f"{where}: {key} is not the recipe's in a suite; {ELSEWHERE.get(key, 'the comparison decides it: leave it out')}")
    known_keys(f"{where}: recipe", fields, Recipe.model_fields.keys() - elsewhere)
    return MappingProxyType(dict(fields))


def _settings(where: str, tables: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    for name, fields in tables.items():
        if not isinstance(fields, dict):
            raise ConfigError(f"{where}: settings.{name} is {fields!r}; expected a table [settings.{name}] of recipe fields")
    return MappingProxyType({_method(f"{where}: settings", name): _recipe(f"{where}: settings.{name}", fields, OURS - {"set"})
                             for name, fields in tables.items()})


def _accepted(where: str, suite: Suite) -> None:
    """What the recipe itself says of the fields of every task and of every method's own: types, ranges, contradictions."""
    from inarch.recipe import Recipe

    Recipe.parse(suite.fields(SuiteTask("", "."), "."), f"{where}: recipe")
    for task in suite.tasks:
        Recipe.parse(suite.fields(task, "."), f"{where}: tasks.{task.name}")
    for method in suite.settings:
        if ":" not in method:
            _whole(f"{where}: settings.{method}", suite.fields(suite.tasks[0], ".", method) | {"method": method})


def _whole(where: str, fields: dict[str, Any]) -> None:
    from inarch.recipe import Recipe

    try:
        Recipe.parse(fields, where)
    except ConfigError as problem:  # of the method itself, which knows of no file
        raise problem if str(problem).startswith(where) else ConfigError(f"{where}: {problem}") from None


def _seeds(where: str, seeds: list[Any]) -> tuple[int, ...]:
    if not seeds or len(set(seeds)) < len(seeds) or not all(type(seed) is int and 0 <= seed < 1 << 63 for seed in seeds):
        raise ConfigError(f"{where}: seeds is {seeds}; expected different whole numbers of at least 0")
    return tuple(seeds)


def _rates(where: str, rates: Mapping[str, Any]) -> Mapping[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {"default": RATES}
    for name, values in rates.items():
        key = name if name == "default" else _method(f"{where}: rates", name)
        numbers = isinstance(values, list) and bool(values) and all(type(value) in (int, float) for value in values)
        if not numbers or not all(value > 0 and math.isfinite(value) for value in values):
            raise ConfigError(f"{where}: rates.{name} is {values!r}; expected a list of learning rates above 0")
        found[key] = tuple(map(float, values))
    return MappingProxyType(found)


def _method(where: str, name: Any) -> str:
    """A known name as it stands; one with a colon is another package's, which a file does not import."""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where} holds {name!r}; expected the name of a method; known: {', '.join(known())}")
    if ":" not in name:
        try:
            method_named(name)
        except ConfigError as problem:
            raise ConfigError(f"{where}: {problem}") from None
    return name


def _about(where: str, fields: Mapping[str, Any]) -> Mapping[str, str]:
    typed(f"{where}: about", fields, dict.fromkeys(ABOUT, str))
    return MappingProxyType(dict(fields))
