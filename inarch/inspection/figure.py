"""A figure file: its path checked before any work, drawn without a display, written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inarch.errors import ConfigError, StorageError, need

FORMATS = ("png", "pdf", "svg")


def checked(out: str | Path) -> Path:
    """The path to write, refused before any work when its folder or its format is wrong."""
    out = Path(out)
    if out.suffix.lstrip(".").lower() not in FORMATS:
        raise ConfigError(f"plot {out}: expected a file name ending in .{', .'.join(FORMATS)}")
    if not out.parent.is_dir():
        raise ConfigError(f"plot {out}: there is no folder {out.parent}; create it first")
    return out


def canvas(rows: int, columns: int, width: float = 4.0, height: float = 3.0) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise need("matplotlib", "report") from None
    figure = Figure(figsize=(width * columns, height * rows + 0.3), layout="constrained")
    FigureCanvasAgg(figure)  # drawn without a display and without pyplot's global state
    return figure, figure.subplots(rows, columns, squeeze=False)


def saved(figure: Any, out: Path) -> Path:
    try:
        figure.savefig(out, dpi=150)
    except OSError as problem:
        raise StorageError(f"{out}: {problem.strerror}; choose a place that can be written") from None
    return out
