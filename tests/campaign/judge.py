"""One fuzzed input laid over a valid folder, read through the library, judged and taken off again: outcome, time and memory of it."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from campaign.subjects import Subject
from inarch.errors import CheckpointError, StorageError

EXTRA_MB, SECONDS = 64, 5
FINE = ("refused", "equal", "older whole", "same tensors")


class Hang(BaseException):
    """Not an Exception, so that nothing under test can swallow it."""


@dataclass(frozen=True)
class Input:
    subject: Subject
    mutator: str
    changed: dict[str, bytes | None]  # path -> new bytes, or None: the file is gone
    resealed: bool = False


@dataclass(frozen=True)
class Verdict:
    """``outcome``: refused, equal, older whole, same tensors, or a problem: accepted, foreign, hang, refused whole."""

    outcome: str
    error: str
    seconds: float
    busy: float  # seconds of the processor: what else the machine does makes the others longer
    extra_mb: float

    @property
    def problem(self) -> bool:
        return self.outcome not in FINE or self.extra_mb > EXTRA_MB


class Bench:
    """A folder per subject with what was written; an input is laid over it, judged, and taken off again."""

    def __init__(self, all_subjects: list[Subject], place: Path) -> None:
        self.folders = {subject.name: place / subject.name for subject in all_subjects}
        for subject in all_subjects:
            self._lay(subject, dict(subject.files))
        self.originals = {s.name: self._whole(s) for s in all_subjects}
        self.olders = {s.name: self._older(s) for s in all_subjects if s.newest()}

    def _whole(self, subject: Subject) -> dict[str, torch.Tensor]:
        for _ in range(3):  # the first call imports and allocates what stays
            where, values = subject.read(self.folders[subject.name])
        assert where == subject.newest()
        return values

    def _older(self, subject: Subject) -> dict[str, torch.Tensor]:
        newest = [name for name in subject.files if name.startswith(subject.newest())]
        self._lay(subject, dict.fromkeys(newest))
        values = subject.read(self.folders[subject.name])[1]
        self._lay(subject, {name: subject.files[name] for name in newest})
        return values

    def _lay(self, subject: Subject, changed: dict[str, bytes | None]) -> None:
        for name, data in changed.items():
            path = self.folders[subject.name] / name
            if data is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def judge(self, tried: Input) -> Verdict:
        self._lay(tried.subject, tried.changed)
        before = _memory_reset()
        error = outcome = ""
        started, idle = time.perf_counter(), time.thread_time()
        try:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            where, values = tried.subject.read(self.folders[tried.subject.name])
            signal.setitimer(signal.ITIMER_REAL, 0)
            outcome = self._accepted(tried, where, values)
        except (CheckpointError, StorageError) as problem:
            outcome, error = "refused" if self._touched(tried, tried.subject.newest()) else "refused whole", type(problem).__name__
        except Hang:
            outcome = "hang"
        except Exception as problem:
            outcome, error = "foreign", f"{type(problem).__name__}: {problem}"[:200]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        seconds, busy, extra = time.perf_counter() - started, time.thread_time() - idle, _memory_peak() - before
        self._lay(tried.subject, {name: tried.subject.files.get(name) for name in tried.changed})
        return Verdict(outcome, error, seconds, busy, extra)

    def _accepted(self, tried: Input, where: str, values: dict[str, torch.Tensor]) -> str:
        newest = tried.subject.newest()
        if where != newest:  # fell back: the older one must be as written, and the newest must not be
            return "refused" if self._touched(tried, newest) and not self._touched(tried, where) else "accepted"
        if not self._touched(tried, where):
            return "equal"
        older = {n: data for n, data in tried.subject.files.items() if n.startswith("gen-000001/")}
        if newest and tried.changed == {n.replace("gen-000001/", newest): data for n, data in older.items()}:
            return "older whole" if _same(values, self.olders[tried.subject.name]) else "accepted"
        return "same tensors" if tried.resealed and _same(values, self.originals[tried.subject.name]) else "accepted"

    @staticmethod
    def _touched(tried: Input, where: str) -> bool:
        """Whether any file under that path differs from what was written."""
        return any(name.startswith(where) and data != tried.subject.files.get(name) for name, data in tried.changed.items())


def _same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[n], value) for n, value in expected.items())


def _memory(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def _memory_reset() -> float:
    """Megabytes now; the peak counts from here (Linux keeps it per process and lets it be reset)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory_peak() -> float:
    return _memory("VmHWM")


class Watchdog:
    """A watchdog of ``SECONDS`` per input, for the time of a block."""

    def __enter__(self) -> None:
        def ring(*_: Any) -> None:
            raise Hang

        self.old = signal.signal(signal.SIGALRM, ring)

    def __exit__(self, *_: Any) -> None:
        signal.signal(signal.SIGALRM, self.old)
