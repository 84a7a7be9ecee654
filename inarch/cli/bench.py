"""``inarch bench train|memory|profile|compile|infer|import|check|save|load|compare|report``: instruments, run on purpose, not by tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from inarch.errors import ConfigError

WHAT = Annotated[Literal["train", "memory", "profile", "compile", "infer", "import", "check", "save", "load", "compare", "report"],
                 typer.Argument(help="report writes bench/README.md.")]
REPEATS = Annotated[int | None, typer.Option(
    min=1, help="Default: 5 (train 3 to 5, profile and compare 3, import 10, save 30, load 500).")]


def run(
    what: WHAT,
    family: Annotated[Literal["vision", "vl", "clip"] | None, typer.Option(
        help="train, memory, profile: vision (default); vl, on BART-base shapes; clip, both towers of CLIP ViT-B/16.")] = None,
    models: Annotated[str | None, typer.Option("--models", "--model", metavar="A,B", help="ti, s, b, vit_b; bart (default: all).")] = None,
    methods: Annotated[str | None, typer.Option(metavar="A,B", help="Of the family: floor, arc, vlpet-small, ... (default: all).")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Examples per step (default: 8, vl and clip 4).")] = None,
    side: Annotated[int | None, typer.Option(min=16, metavar="PIXELS", help="train, memory of clip: of the images (default: 224).")] = None,
    repeats: REPEATS = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch (default: 1).")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Keep the measurements there.")] = None,
) -> None:
    """Step time and saved memory of the methods as ratios to the floor (frozen forward + input gradient); import times; images checked;
    a whole comparison.

    [bold]Examples[/bold]

    inarch bench train --models ti --json results/bench/train.json

    inarch bench train --family vl --methods vlpet-large,lora

    inarch bench profile --methods arc

    inarch bench infer --models b
    """
    _refuse_idle(what, {"family": family, "models": models, "methods": methods, "batch": batch, "side": side, "threads": threads,
                        "repeats": repeats, "json": json})
    if what == "report":
        return _report()
    shape = family or "vision", _words(models), _words(methods), batch, side
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "train": lambda: _train(*shape, repeats, threads or 1), "memory": lambda: _memory(*shape),
        "profile": lambda: _profile(*shape, repeats or 3, threads or 1),
        "compile": lambda: _compile(shape[1], batch or 8, repeats or 5, threads or 1),
        "infer": lambda: _infer(shape[1], batch or 8, repeats or 5, threads or 1), "import": lambda: _import(repeats or 10),
        "check": lambda: _check(repeats or 5), "save": lambda: _save(repeats or 30), "load": lambda: _load(repeats or 500),
        "compare": lambda: _compare(repeats or 3),
    }
    _kept(what, json, ways[what])


def _report() -> None:
    from inarch.bench.report import write_report

    print(write_report())


def _kept(what: str, json: Path | None, measure: Callable[[], dict[str, Any]]) -> None:
    """Measured, stored where that is wished, shown; a place that cannot be written is refused first."""
    from inarch.bench import report, results

    if json is not None:
        results.check_place(what, json)
    found = measure()
    if json is not None:
        results.store(found, json)
    print(report.tables([found]))


_SHAPED = {"family", "models", "methods", "batch", "side", "json"}
_TAKES: dict[str, set[str]] = {
    "train": _SHAPED | {"threads", "repeats"}, "profile": _SHAPED | {"threads", "repeats"}, "memory": _SHAPED, "report": set(),
    "compile": {"models", "batch", "threads", "repeats", "json"}, "infer": {"models", "batch", "threads", "repeats", "json"},
}


def _refuse_idle(what: str, flags: dict[str, Any]) -> None:
    """A flag without effect is an error."""
    idle = [f"--{name}" for name, value in flags.items() if value is not None and name not in _TAKES.get(what, {"repeats", "json"})]
    if idle:
        raise ConfigError(f"{', '.join(idle)} has no effect on inarch bench {what}; leave it out")


def _words(text: str | None) -> list[str] | None:
    if text is None:
        return None
    words = [word for word in text.split(",") if word]
    if not words:
        raise ConfigError(f"--models or --methods {text!r}; expected names with commas between, such as ti,s")
    return words


def _mended(count: int, work: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """``work`` with backbones at hand, told ``count`` times how far it is."""
    from inarch.backbones.torchvision import mend_torchvision
    from inarch.cli.progress import ticking

    mend_torchvision()
    with ticking(count) as tick:
        return work(tick=tick)


def _train(family: str, models: list[str] | None, methods: list[str] | None, batch: int | None, side: int | None,
           repeats: int | None, threads: int) -> dict[str, Any]:
    from inarch.bench.train import bench_train, steps

    return _mended(steps(models, methods, repeats, family), partial(
        bench_train, models, methods, family=family, batch=batch, side=side, repeats=repeats, n_threads=threads))


def _memory(family: str, models: list[str] | None, methods: list[str] | None, batch: int | None, side: int | None) -> dict[str, Any]:
    from inarch.bench.memory import bench_memory, steps

    return _mended(steps(models, methods, family), partial(bench_memory, models, methods, family=family, batch=batch, side=side))


def _profile(family: str, models: list[str] | None, methods: list[str] | None, batch: int | None, side: int | None, repeats: int,
             threads: int) -> dict[str, Any]:
    from inarch.bench.families import family_named
    from inarch.bench.profile import bench_profile, steps

    chosen = models or list(family_named(family).sizes)[-1:]
    if len(chosen) != 1:
        raise ConfigError(f"--models {','.join(chosen)}: one model is profiled at a time")
    return _mended(steps(methods, repeats, family), partial(
        bench_profile, chosen[0], methods, family=family, batch=batch, side=side, repeats=repeats, n_threads=threads))


def _compile(models: list[str] | None, batch: int, repeats: int, threads: int) -> dict[str, Any]:
    from inarch.bench.compiled import bench_compile, steps

    return _mended(steps(models, repeats), partial(bench_compile, models, batch=batch, repeats=repeats, n_threads=threads))


def _infer(models: list[str] | None, batch: int, repeats: int, threads: int) -> dict[str, Any]:
    from inarch.bench.infer import bench_infer, steps

    return _mended(steps(models, repeats), partial(bench_infer, models, batch=batch, repeats=repeats, n_threads=threads))


def _import(repeats: int) -> dict[str, Any]:
    from inarch.bench.imports import COMMANDS, bench_import
    from inarch.cli.progress import ticking

    with ticking(len(COMMANDS) * (repeats + 1)) as tick:
        return bench_import(repeats=repeats, tick=tick)


def _check(repeats: int) -> dict[str, Any]:
    from inarch.bench.check import SIZES, bench_check
    from inarch.cli.progress import ticking

    with ticking(len(SIZES) * (repeats + 1)) as tick:
        return bench_check(repeats=repeats, tick=tick)


def _save(repeats: int) -> dict[str, Any]:
    from inarch.bench.save import STEPS, bench_save

    return _mended(STEPS + repeats + 2, partial(bench_save, repeats=repeats))


def _load(repeats: int) -> dict[str, Any]:
    from inarch.bench.load import bench_load, steps

    return _mended(steps(repeats), partial(bench_load, repeats=repeats))


def _compare(repeats: int) -> dict[str, Any]:
    from rich.console import Console

    from inarch.backbones.torchvision import mend_torchvision
    from inarch.bench.compare import bench_compare

    mend_torchvision()
    return bench_compare(repeats=repeats, console=Console(stderr=True))
