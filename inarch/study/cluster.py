"""The same jobs on a Ray cluster: the folder of the comparison and the data lie on a file system that every node sees.

Ray places each job by its threads, and on a GPU where the cluster has some; it retries one whose node or process dies, and gives the
results back to the process that asked.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

from inarch.errors import ConfigError, need
from inarch.study.crew import Outcome
from inarch.study.jobs import Job

RETRIES = 2  # by Ray, of a job whose process or node died
PATIENCE = 10  # seconds for whoever listens at an address; Ray itself would ask for minutes
TOKEN = "; one that asks for a token, as `ray start` makes it where ~/.ray/auth_token lies, is reached with RAY_AUTH_MODE=token"
WAITING = 2  # jobs handed over per seat, so that none is idle


class RayCrew:
    """``address``: of a cluster (``auto``, ``ray://HOST:PORT``), or ``local`` for one in this machine, which ends with it.

    ``device``: of the runs, as their recipes name it; a GPU of the cluster is theirs alone, unless they are to run on the CPU.
    """

    def __init__(self, address: str, device: str = "auto") -> None:
        try:
            import ray
        except ImportError:
            raise need("ray", "cluster") from None
        self.ray: Any = ray
        self.address, self.device = address, device
        self.out: dict[Any, Job] = {}
        try:
            _knock(address)
        except (OSError, ValueError) as problem:
            raise self._unreached(problem) from None

    def __enter__(self) -> RayCrew:
        try:
            self.ray.init(address=self.address, log_to_driver=False, ignore_reinit_error=False)
        except (OSError, RuntimeError, ValueError, self.ray.exceptions.RayError) as problem:
            raise self._unreached(problem, TOKEN) from None
        there = self.ray.cluster_resources()
        self.gpus = 0 if self.device == "cpu" else int(there.get("GPU", 0))
        self.at_once = self.gpus or max(1, int(there.get("CPU", 1)))
        self.remote = self.ray.remote(max_retries=RETRIES)(remotely)
        return self

    def _unreached(self, problem: Exception, more: str = "") -> ConfigError:
        told = str(problem).partition("\n")[0] or type(problem).__name__
        return ConfigError(f"no Ray cluster at {self.address!r}: {told}; expected auto, HOST:PORT, ray://HOST:PORT, or local{more}")

    def __exit__(self, *problem: object) -> None:
        for reference in self.out:
            self.ray.cancel(reference)
        self.ray.shutdown()

    @property
    def free(self) -> bool:
        return len(self.out) < WAITING * self.at_once

    @property
    def about(self) -> str:
        return f"{self.at_once} {'GPUs' if self.gpus else 'processors'} of the Ray cluster {self.address}"

    def give(self, job: Job, folder: Path) -> None:
        needs = {"num_cpus": max(1, job.recipe.threads), "num_gpus": min(1, self.gpus)}  # of none Ray would hide them all
        reference = self.remote.options(**needs, name=str(job)).remote(job, str(folder.absolute()), str(Path.cwd()))
        self.out[reference] = job

    def wait(self, seconds: float) -> Outcome | None:
        ready, _ = self.ray.wait([*self.out], timeout=seconds)
        if not ready:
            return None
        job = self.out.pop(ready[0])
        try:
            kind, said, took, held = self.ray.get(ready[0])
        except self.ray.exceptions.RayError as problem:
            return Outcome(job, "died", reason=f"Ray lost it: {str(problem).splitlines()[0]}")
        return Outcome.answer(job, kind, said, took, held)


def _knock(address: str) -> None:
    """Raises ``OSError`` where nobody answers at ``HOST:PORT``, ``ValueError`` where the port is no number."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()


def remotely(job: Job, folder: str, where: str) -> tuple[str, Any, float, int]:
    """One job in a process of the cluster, its addresses read from the folder in which the comparison was begun.

    Kind, answer, seconds (of the job, without its time in the queue) and bytes held.
    """
    import os

    from inarch.study import memory
    from inarch.study.local import answered, quietly_mended

    began = time.monotonic()
    os.chdir(where)
    quietly_mended()
    kind, said = answered(job, Path(folder))
    return kind, said, time.monotonic() - began, memory.peak()
