"""Ctrl-C and SIGTERM: the first asks for a stop after the update at hand, the second ends the process at once.

While nothing is half-done (waiting for data, scoring a part), there is nothing to finish: the first one stops there and then.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = b"\x1b[?25h\n"  # a live bar hides it


class Interrupted(SystemExit):
    """The run was stopped by a signal and can be resumed; ``code`` is 130 (SIGINT) or 143 (SIGTERM)."""


class Stop(BaseException):
    """Leaves a wait that a signal has ended. No Exception: a decoder's ``except Exception`` must not take it for a bad image."""


class Interrupts:
    """Listens while it is entered; ``caught`` is the first signal's number, or 0."""

    def __init__(self) -> None:
        self.caught = 0
        self._waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python delivers no signals
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.caught:
            os.write(2, SHOW_CURSOR if os.isatty(2) else b"")
            os._exit(128 + number)
        self.caught = number
        if self._waiting:
            raise Stop

    @contextmanager
    def waiting(self, alone: bool = True) -> Iterator[None]:
        """Code that may be left at any point. Not with several processes: the others would wait for this one for ever."""
        self._waiting = alone
        try:
            if alone and self.caught:
                raise Stop
            yield
        finally:
            self._waiting = False

    def interrupted(self) -> Interrupted:
        return Interrupted(128 + self.caught)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM leaves what is inside as Ctrl-C does, by an exception: what was opened is closed, and the exit code is 143."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise Interrupted(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ignore_interrupts(_: int) -> None:
    """For data workers: a Ctrl-C at the terminal reaches them too, and only the main process may decide to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
