"""Runs in processes of their own, forked in milliseconds from a server that has imported everything and computed nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from inarch.backbones.torchvision import mend_torchvision
from inarch.cli import known

mend_torchvision()
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["forked", "warm"])
HERE = Path(__file__).parent


class Child:
    """``target(*args)`` in a process of its own, on one thread; what it says goes to ``said``.out and .err.

    It ends as the command line would: 0, the exit code of the error, 130 or 143 after a signal, less than zero when it is killed.
    """

    def __init__(self, target: Callable[..., None], *args: Any, said: Path, env: dict[str, str] | None = None) -> None:
        self.said = said
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parent)])  # where the server finds what it imports first
        self.process = SERVER.Process(target=_child, args=(target, args, str(said), env or {}), daemon=False)
        self.process.start()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return Path(f"{self.said}.out").read_text()

    @property
    def err(self) -> str:
        return Path(f"{self.said}.err").read_text()

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def end(self, within: float = 50) -> int:
        """Its exit code; a child that hangs is killed, and that is an error."""
        self.process.join(within)
        if self.process.exitcode is None:
            self.kill()
            self.process.join()
            raise AssertionError(f"no end within {within} s; it said: {self.err[-2000:]}")
        return self.process.exitcode


def _child(target: Callable[..., None], args: tuple, said: str, env: dict[str, str]) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{said}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.environ.update(env)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # for its data workers, as a process has it that was not forked
    code = 0
    try:
        target(*args)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except Exception as problem:
        error = known(problem)
        code = error.exit_code if error else 1
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads may abort a normal exit, after everything has been said


def pair(target: Callable[..., None], *args: Any, said: Path) -> list[Child]:
    """Two processes of one run, as a launcher starts them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [Child(target, *args, said=said.with_name(f"{said.name}-{rank}"), env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(2)]
