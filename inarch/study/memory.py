"""How much memory there is for more processes: what the machine can give, or what the control group of this process allows."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

GROUPS = (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
          ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"))
SPARE = 1.15  # a process is given so much more than the most that one has held


def available() -> int:
    """Bytes."""
    import psutil

    return min([psutil.virtual_memory().available, *(left for pair in GROUPS if (left := _left(*map(Path, pair))) is not None)])


def _left(limit: Path, used: Path) -> int | None:
    try:
        most, now = limit.read_text().strip(), used.read_text().strip()
    except OSError:
        return None
    return max(int(most) - int(now), 0) if most.isdecimal() and now.isdecimal() else None


def peak() -> int:
    """The most that this process has held, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def held(pid: int | None) -> int:
    """What another process holds now, in bytes; 0 where it is gone."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def workers(seats: int, busy: int, held: int, free: int) -> int:
    """How many processes may work: one per seat, and no more than fit beside the ``busy`` ones if each takes as much as one ``held``."""
    return max(1, min(seats, busy + int(free / (SPARE * max(held, 1)))))
