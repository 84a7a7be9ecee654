"""Worker processes of this machine: as many as its memory allows, which the first job shows; one that dies takes its job alone with it.

    workers = min(seats, those there are + free / (1.15 held))        held: by the first job once an epoch of it is whole, then by each
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from inarch.run import Run
from inarch.study import memory
from inarch.study.crew import Outcome
from inarch.study.jobs import Job
from inarch.study.seats import seats

PATIENCE = 60.0  # seconds that a worker has to leave a run that can be gone on with


@dataclass(eq=False)
class Worker:
    """A process, the pipe to it, and what it is at: the job, its run, and the epochs that were made of it before."""

    process: SpawnProcess
    pipe: Connection
    job: Job | None = None
    since: float = 0.0
    run: Run | None = None
    epochs: int = 0
    gpu: str | None = None

    @property
    def advanced(self) -> bool:
        """Has its job finished an epoch in this process?"""
        return self.run is not None and self.run.logged() > self.epochs


class LocalCrew:
    """``most`` workers; None: one until an epoch has shown how much memory it takes, then as many as seats and memory allow.

    ``device``, ``threads``: of the runs, as their recipes say them.
    """

    def __init__(self, most: int | None = None, device: str = "cpu", threads: int = 1) -> None:
        self.seats = seats(device, threads)
        self.measured, self.limit = most is None, most or 1
        self.held = 0
        self.workers: list[Worker] = []
        self.context = multiprocessing.get_context("spawn")

    def __enter__(self) -> LocalCrew:
        return self

    def __exit__(self, *problem: object) -> None:
        """Idle workers leave; one at work is asked to stop after the update at hand."""
        for worker in self.workers:
            with contextlib.suppress(OSError):
                worker.pipe.send(None)
            if worker.job is not None:
                worker.process.terminate()
        deadline = time.monotonic() + PATIENCE
        for worker in self.workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self.workers = []

    @property
    def busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.job is not None]

    @property
    def free(self) -> bool:
        return len(self.busy) < self.limit

    @property
    def at_once(self) -> int:
        return self.limit

    @property
    def about(self) -> str:
        why = f", each at most {self.held / 2**30:.2f} GiB so far" if self.held else ""
        return f"{self.limit} worker{'s' * (self.limit > 1)} for {self.seats}{why}"

    def give(self, job: Job, folder: Path) -> None:
        worker = next((worker for worker in self.workers if worker.job is None), None) or self._hire()
        worker.job, worker.since, worker.run = job, time.monotonic(), Run(folder)
        worker.epochs = worker.run.logged()
        worker.pipe.send((job, folder))

    def _hire(self) -> Worker:
        mine, theirs = self.context.Pipe()
        gpu = self.seats.free([worker.gpu for worker in self.workers])
        process = self.context.Process(target=serve, args=(theirs, gpu), daemon=False)
        process.start()
        theirs.close()
        self.workers.append(worker := Worker(process, mine, gpu=gpu))
        return worker

    def wait(self, seconds: float) -> Outcome | None:
        ready = wait([worker.pipe for worker in self.busy], seconds)
        worker = next((worker for worker in self.busy if worker.pipe in ready), None)
        if worker is None:
            self._watch()
            return None
        job, took = worker.job, time.monotonic() - worker.since
        assert job is not None
        worker.job = None
        try:
            kind, said, held = worker.pipe.recv()
        except (EOFError, OSError):
            return Outcome(job, "died", reason=self._buried(worker), seconds=took)
        self._learn(held)
        return Outcome.answer(job, kind, said, took, held)

    def _watch(self) -> None:
        """Nobody waits for the end of the first job to know what a job takes."""
        if self.measured and not self.held and self.busy and self.busy[0].advanced:
            self._learn(memory.held(self.busy[0].process.pid))

    def _learn(self, held: int) -> None:
        self.held = max(self.held, held)
        if self.measured and self.held:  # 0: a process that is gone
            self.limit = memory.workers(self.seats.count, len(self.workers), self.held, memory.available())

    def _buried(self, worker: Worker) -> str:
        """Why a worker is gone; from here on there are fewer, since memory is what most of them die of."""
        worker.process.join(5)
        self.workers.remove(worker)
        code = worker.process.exitcode
        self.limit, self.measured = max(1, len(self.busy)), False
        if code == -signal.SIGKILL:
            return "its process was killed (signal 9), as a machine does that runs out of memory"
        return f"its process ended with {'signal ' + str(-code) if code and code < 0 else 'exit code ' + str(code)}"


def serve(pipe: Connection, gpu: str | None = None) -> None:
    """The life of a worker: jobs until there are no more, each answered; it leaves when whoever hired it is gone."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA begins in this process, which is with its first run
    os.setpgrp()  # Ctrl-C is for whoever hired it, who asks it to stop
    quietly_mended()
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, KeyboardInterrupt, OSError):
        while (given := pipe.recv()) is not None:
            pipe.send((*answered(*given), memory.peak()))


def quietly_mended() -> None:
    """torchvision's cure, which whoever hired this process has told of already."""
    from inarch.backbones.torchvision import mend_torchvision

    with contextlib.redirect_stderr(io.StringIO()):
        mend_torchvision()


def answered(job: Job, folder: Path) -> tuple[str, Any]:
    """``done`` and the result, or ``failed`` and the reason; a stop by a signal passes through."""
    from inarch.study.work import perform

    try:
        return "done", perform(job, folder)
    except Exception as problem:  # the others of the comparison go on, whatever one of them raises
        return "failed", f"{type(problem).__name__}: {problem}"


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
