"""``--to native``: what ``inarch merge`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inarch.folding import fold_run


def _write(run: str | Path, out: Path, *, overwrite: bool, progress: Any) -> str:
    return str(fold_run(run, out, overwrite=overwrite, progress=progress))


WRITERS = {"native": _write}
