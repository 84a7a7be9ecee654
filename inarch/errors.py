"""One exception tree. Every message names the file, key or class, what was expected, what was found, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InarchError(Exception):
    """Root of everything this library raises on purpose; ``exit_code`` is what the command line returns for it."""

    exit_code = 1


class ConfigError(InarchError):
    """A recipe, method or flag is wrong: unknown key, wrong type, out of range, contradictory."""

    exit_code = 2


class CannotGraft(ConfigError):
    """The method cannot be placed on this model; the message says why."""


class CannotFold(ConfigError):
    """The adapter cannot be folded exactly into the weights; nothing was written."""


class MissingExtra(ConfigError):
    """An optional dependency is absent; the message names the extra that brings it."""


class DataError(InarchError):
    """Images, labels or tables cannot be used as they are."""

    exit_code = 3


class CheckpointError(InarchError):
    """An adapter, weights or checkpoint file cannot be used."""

    exit_code = 4


class Corrupt(CheckpointError):
    """The bytes are not those that were written: truncated, flipped, swapped, non-finite."""


class Mismatch(CheckpointError):
    """The file is whole, but not for this model, method or version."""


class Unsafe(CheckpointError):
    """The file could run code or reach outside its folder (a pickle, a link, a path with ``..``)."""


class Incomplete(CheckpointError):
    """A file that belongs to the checkpoint is not there."""


class TrainingDiverged(InarchError):
    """The loss or a gradient is not finite; the last good step is kept."""

    exit_code = 5


class StorageError(InarchError):
    """The disk refused: full, read-only, no permission."""

    exit_code = 6


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'rank'?`` for the nearest of ``known``, or the list itself when nothing is near."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f" and {len(options) - 16} more" if len(options) > 16 else ""
    return f"known: {', '.join(options[:16])}{more}"


def need(module: str, extra: str) -> MissingExtra:
    """The error for an absent optional package: names the package, and the extra that installs it."""
    return MissingExtra(f"{module} is not installed; install it with: pip install 'inarch[{extra}]'")
