"""bench load: what a verified load of an adapter costs, from folders in the page cache.

    replace   ``load(model, folder, replace=True)``: an adapter of this name and configuration is on the model, its values are replaced
    first     ``load(model, folder)`` onto the bare backbone: adapters are built and hooked on as well
    peft      ``PeftModel.load_adapter`` of a LoRA of rank 8 on q, k, v and fc1, under a new name each time

Ours checks everything each time: card and seal, the backbone's values against the fingerprint, size and SHA-256 of the weights, names,
shapes and dtypes, every value finite. Loads take turns between two folders. Milliseconds by the clock, and of the CPU.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from inarch import ARC, files, fit, graft, load, save, ungraft
from inarch.bench.machine import circumstances
from inarch.bench.results import FORMAT
from inarch.bench.timing import threads
from inarch.bench.vision import VISION
from inarch.card import read_card
from inarch.errors import ConfigError

GOAL = 2.0  # milliseconds, 95 of 100 loads
RANK = 50
Work = Callable[[], object]


def bench_load(*, repeats: int = 500, model: str = "b", n_threads: int = 1,
               tick: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
    """Measure; returns plain JSON. peft, where it is installed, loads a tenth as often."""
    if repeats < 20 or model not in VISION.sizes:
        raise ConfigError(f"bench load: repeats={repeats}, model={model!r}; expected at least 20 and one of {', '.join(VISION.sizes)}")
    about = circumstances()
    with threads(n_threads), tempfile.TemporaryDirectory() as place:
        net = VISION.base(VISION.sizes[model].address)
        folders = [save(graft(net, ARC(rank=RANK)), Path(place) / name) for name in ("one", "two") if _bare(net)]
        ways = dict(_ours(net, folders, repeats, tick))
        size = sum(path.stat().st_size for path in folders[0].iterdir())
        if find_spec("peft"):
            ways |= {"peft": _peft(net, Path(place) / "peft", max(repeats // 10, 20), tick)}
    return {"format": FORMAT, "kind": "load", "settings": {"model": VISION.sizes[model].title, "rank": RANK, "repeats": repeats,
            "threads": n_threads, "goal": GOAL}, **about, "bytes": size, "ways": ways, "met": ways["replace"]["wall"]["p95"] <= GOAL}


def _ours(net: nn.Module, folders: list[Path], repeats: int, tick: Callable[[str], None]) -> Iterator[tuple[str, dict[str, Any]]]:
    turns = itertools.cycle(folders)
    _bare(net)
    load(net, folders[0])
    yield "replace", measured(lambda: load(net, next(turns), replace=True), repeats, tick, "replace")
    for part, work in _parts(net, folders[0]).items():
        yield part, measured(work, repeats, tick, part)
    yield "first", measured(lambda: load(net, next(turns)), repeats, tick, "first", before=lambda: _bare(net))


def _parts(net: nn.Module, folder: Path) -> dict[str, Work]:
    """What a load consists of, each on its own."""
    card = read_card(folder)
    path = folder / card["weights"]
    data = files.read(path)
    return {"card": lambda: read_card(folder), "fingerprint": lambda: fit.identity(net, frozenset()),
            "bytes": lambda: files.read_sealed(path, size=card["bytes"], digest=card["sha256"]),
            "values": lambda: files.tensors(data, path)}


def _bare(net: nn.Module) -> bool:
    if "inarch" in net._modules:
        ungraft(net)
    return True


def _peft(net: nn.Module, folder: Path, repeats: int, tick: Callable[[str], None]) -> dict[str, Any]:
    from peft import LoraConfig, get_peft_model

    _bare(net)
    grown = get_peft_model(net, LoraConfig(r=8, target_modules=["q_proj", "k_proj", "v_proj", "fc1"]))
    grown.save_pretrained(str(folder))
    names = [f"n{k}" for k in range(repeats + 2)]
    turns = iter(names)

    def clean() -> None:
        for name in set(grown.peft_config) - {"default"}:
            grown.delete_adapter(name)

    return measured(lambda: grown.load_adapter(str(folder), next(turns)), repeats, tick, "peft", before=clean)


def measured(work: Work, repeats: int, tick: Callable[[str], None], what: str, *, before: Work = lambda: None) -> dict[str, Any]:
    """p50 and p95 of ``work`` alone, ``before`` it not counted; the first two calls are dropped."""
    walls, cpus = [], []
    for _ in range(repeats + 2):
        before()
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        tick(what)
    return {"loads": repeats, "wall": _spread(walls[2:]), "cpu": _spread(cpus[2:])}


def _spread(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    return {"p50": 1000 * cuts[9], "p95": 1000 * cuts[18], "low": 1000 * min(seconds)}


def steps(repeats: int) -> int:
    """How often ``tick`` is called."""
    return 6 * (repeats + 2) + (max(repeats // 10, 20) + 2 if find_spec("peft") else 0)
