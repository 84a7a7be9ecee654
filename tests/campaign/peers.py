"""The 33 damaged adapters of the peers' measurement, through the installed peft and through this library, side by side.

Outcomes: ``refused`` (an error about the file, its keys, shapes or fields), ``accident`` (an error of the code that tripped over it, or
of the hub that was asked for what is not there), ``warned`` and ``silent`` (loaded). Ours is measured twice: after the plain edit, as
with peft, and where the digests were made right again by a knowing hand; what is then left is another adapter, and a good one.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import socket
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from campaign.cases import CANARY, CASES, Case
from campaign.libraries import BASES, Library, Ours, Peft, base, damaged, resealable
from campaign.subjects import state_hash


class Heard(logging.Handler):
    """Log lines of warning and above, as texts."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """Python warnings and log warnings of a block; the list is filled when it ends."""
    heard, found = Heard(), []
    loggers = [logging.getLogger(name) for name in ("peft", "transformers", "inarch")]
    for logger in loggers:
        logger.addHandler(heard)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield found
    finally:
        for logger in loggers:
            logger.removeHandler(heard)
        found += [str(w.message) for w in caught] + heard.lines


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """No connection leaves this process: what tries to fails at once."""
    connect = socket.socket.connect

    def refused(self: socket.socket, address: Any) -> None:
        raise ConnectionRefusedError(f"no network here: {address}")

    socket.socket.connect = refused  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        socket.socket.connect = connect  # type: ignore[method-assign]


class Trial:
    """Loads folders with one library; ``usual``: what it warns of where nothing is wrong."""

    def __init__(self, library: Library, place: Path, bases: dict[str, nn.Module]) -> None:
        self.library, self.place, self.bases = library, place, bases
        self.good = place / "good"
        library.save(self.good)
        with _listening() as usual:
            whole = library.load(copy.deepcopy(bases["same"]), self.good)
        self.usual, self.output = set(usual), _output(whole)

    def __call__(self, case: Case, resealed: bool = False) -> dict[str, Any]:
        folder = damaged(self.library, self.good, self.place / f"{case.name}{' resealed' * resealed}", case, resealed)
        model = copy.deepcopy(self.bases[case.base])
        before = state_hash(model)
        try:
            with _listening() as heard, contextlib.chdir(folder):
                loaded = self.library.load(model, folder)
        except Exception as problem:
            kind = "refused" if self.library.refused(problem) else "accident"
            found = {"outcome": kind, "error": type(problem).__name__, "says": _shortened(str(problem), self.place),
                     "model_untouched": state_hash(model) == before}
        else:
            odd = [line for line in heard if line not in self.usual]
            found = {"outcome": "warned" if odd else "silent", "says": _shortened(odd[0], self.place) if odd else "",
                     "outputs": self._told(loaded, case)}
        return found | {"canary": (folder / CANARY).exists()}

    def _told(self, loaded: nn.Module, case: Case) -> str:
        output = _output(loaded)
        if not bool(torch.isfinite(output).all()):
            return "not finite"
        return "as saved" if case.base == "same" and torch.equal(output, self.output) else "other"


def _output(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(pixel_values=torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)).logits


def _shortened(text: str, place: Path) -> str:
    return " ".join(text.replace(f"{place}/", "").split())[:240]


def run(progress: Callable[[str], None] = print) -> dict[str, Any]:
    """Every case through both; ``passed`` when this library refuses all 33 with its own error, untouched, and no payload ran."""
    cases: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch, _offline():
        bases = {name: base(name) for name in BASES}
        theirs, ours = Trial(Peft(), Path(scratch) / "peft", bases), Trial(Ours(), Path(scratch) / "inarch", bases)
        for case in CASES:
            cases[case.name] = {"peft": theirs(case), "inarch": ours(case),
                                "inarch_resealed": ours(case, resealed=True) if resealable(case) else None}
    counts = {who: _counted([found[who] for found in cases.values() if found[who]]) for who in next(iter(cases.values()))}
    progress("peers: " + "; ".join(f"{who} {counted}" for who, counted in counts.items()))
    legal = [case.name for case in CASES if case.legal]
    good = all(_held(found["inarch"]) for found in cases.values())
    sealed = all(_held(found["inarch_resealed"]) or name in legal for name, found in cases.items() if found["inarch_resealed"])
    return {"counts": counts, "resealed_is_another_good_adapter": legal, "cases": cases, "passed": good and sealed}


def _counted(found: list[dict[str, Any]]) -> dict[str, int]:
    """Cases per outcome; of those refused, after how many the model was no longer what it had been."""
    changed = sum(one.get("model_untouched") is False for one in found)
    return dict(Counter(one["outcome"] for one in found)) | {"model_changed_by_refusal": changed}


def _held(found: dict[str, Any]) -> bool:
    return found["outcome"] == "refused" and found["model_untouched"] and not found["canary"]
