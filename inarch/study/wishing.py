"""What was asked for on the command line, as a wish: a suite by name or one made of data and a backbone, methods, a budget."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inarch.errors import ConfigError, nearest
from inarch.methods import adopt, method_named
from inarch.recipe import Recipe
from inarch.study.entry import ALL
from inarch.study.runner import Wish
from inarch.suites import Suite, SuiteTask, load_suite
from inarch.toml import to_toml

USUAL = ("linear", "arc", "lora", "adaptformer", "ssf", "vpt-deep")  # where nobody says which methods
OWN: dict[str, Any] = {"test_fraction": 0.2, "threads": 1, "report": False, "tensorboard": False}  # recipe fields of data of one's own
SCALES = {"": 1, "k": 1_000, "m": 1_000_000}
DECIDED = {"data": "--data", "backbone": "--backbone", "method": "--methods", "set": "--set METHOD.KEY=VALUE", "lr": "--rates",
           "seed": "--seeds", "out": "--out", "fit": "nothing: trials learn from training images, what is scored from validation's as well",
           "test": "nothing: what is scored reads the test part, trials do not"}  # recipe field -> what says it here


def wish_of(flags: Mapping[str, Any], pairs: Mapping[str, Any]) -> Wish:
    """``flags``: those that were given, by name. ``pairs``: ``METHOD.KEY`` or ``KEY`` of a recipe -> value."""
    suite, root = _suite(flags)
    methods = methods_of(flags.get("methods")) or suite.methods or USUAL
    settings, common = _split(pairs, methods)
    common |= {name: flags[name] for name in ("epochs", "image_size") if name in flags}
    seeds = tuple(range(flags["seeds"])) if "seeds" in flags else suite.seeds
    rates = rates_of(flags.get("rates"))
    suite = dataclasses.replace(suite, rates={"default": rates}) if rates else suite
    for name in ("seeds", "trials", "workers"):
        if flags.get(name, 1) < 1:
            raise ConfigError(f"--{name} {flags[name]}; expected at least 1")
    out = Path(flags.get("out") or f"runs/compare-{suite.name}")
    return Wish(
        suite, root, methods, out, budget=budget_of(flags.get("budget")), seeds=seeds, trials=flags.get("trials", len(rates) or 3),
        settings=settings, common=common, results=Path(flags["results"]) if "results" in flags else None, workers=flags.get("workers"),
        cluster=flags.get("cluster", ""), again=flags.get("again", False), reference=flags.get("reference"))


def _suite(flags: Mapping[str, Any]) -> tuple[Suite, Path]:
    data = flags.get("data") or []
    if "suite" in flags:
        if len(data) > 1:
            raise ConfigError(f"--suite {flags['suite']} takes one --data, the root below which its sets lie; found {len(data)}")
        suite = load_suite(flags["suite"])
        chosen = dataclasses.replace(suite, backbone=flags["backbone"]) if "backbone" in flags else suite
        return chosen, Path(data[0] if data else ".").expanduser()
    if "backbone" not in flags:
        raise ConfigError("no backbone; give one: --backbone timm:vit_tiny_patch16_224, or an embedded one: --backbone mini-vit")
    tasks = tuple(SuiteTask(name, address) for name, address in _named(data).items())
    rates = load_suite("local").rates
    return Suite(words(data), f"Methods on {', '.join(task.name for task in tasks)}", flags["backbone"], tasks, OWN, rates=rates), Path()


def words(addresses: list[str]) -> str:
    """The addresses in a name that a folder can have."""
    return re.sub(r"[^\w-]+", "-", "-".join(_named(addresses)))[:60]


def _named(addresses: list[str]) -> dict[str, str]:
    """A short name for every address; two that end alike are told apart by a number."""
    found: dict[str, str] = {}
    for address in addresses:
        stem = Path(address.rstrip("/").rpartition(":")[2]).stem or "data"
        name = next(word for n in range(1, len(addresses) + 2) if (word := stem if n == 1 else f"{stem}-{n}") not in found)
        found[name] = address
    return found


def methods_of(text: str | None) -> tuple[str, ...]:
    """Names that are known, ``all`` among them; none where nothing was said."""
    names = tuple(filter(None, (text or "").split(",")))
    for name in names:
        if name != ALL:
            adopt(name)
            method_named(name)
    return names


def budget_of(text: str | None) -> int | None:
    """``100k`` as 100,000."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([km]?)", text.strip().lower().replace(",", "").replace("_", ""))
    number = int(float(found[1]) * SCALES[found[2]]) if found else 0
    if number < 1:
        raise ConfigError(f"--budget {text!r}; expected a number of trained numbers, such as 25008, 100k or 1.5M")
    return number


def rates_of(text: str | None) -> tuple[float, ...]:
    """``0.03,1e-2`` as numbers; none where nothing was said."""
    try:
        rates = tuple(float(word) for word in text.split(",")) if text is not None else ()
    except ValueError:
        rates = (0.0,)
    if not all(rate > 0 and math.isfinite(rate) for rate in rates) or len({*rates}) < len(rates):
        raise ConfigError(f"--rates {text!r}; expected different learning rates above 0 with commas between, such as 0.03,0.01")
    return rates


def _split(pairs: Mapping[str, Any], methods: tuple[str, ...]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Fields of methods, by method, and fields of every recipe."""
    settings: dict[str, dict[str, Any]] = {}
    common: dict[str, Any] = {}
    for key, value in pairs.items():
        method, dot, name = key.rpartition(".")
        if dot:
            if method not in methods and ALL not in methods:
                raise ConfigError(f"--set {key}: {method!r} is no method of this comparison; {nearest(method, methods)}")
            settings.setdefault(method, {})[name] = value
        elif key in DECIDED:
            raise ConfigError(f"--set {key}: a comparison decides this field itself; what says it: {DECIDED[key]}")
        elif key not in Recipe.model_fields:
            raise ConfigError(f"--set {key}: expected METHOD.FIELD, or a field of the recipe; "
                              f"{nearest(key, Recipe.model_fields.keys() - DECIDED.keys())}")
        else:
            common[key] = value
    return settings, common


def said(wish: Wish) -> str:
    """The wish in TOML, as it stands beside its report."""
    fields = {"suite": wish.suite.name, "root": str(wish.root), "methods": list(wish.methods), "budget": wish.budget,
              "seeds": list(wish.seeds), "trials": wish.trials, "recipe": {**wish.suite.recipe, **wish.common},
              "rates": {name: list(rates) for name, rates in wish.suite.rates.items()},
              **{f"settings-{name}": dict(own) for name, own in wish.settings.items()}}
    return to_toml(fields)
