"""The command line: one small file per verb, nothing heavy imported before a verb runs, one clear message per error.

Exit codes: 0 done, 2 configuration, 3 data, 4 checkpoint, 5 training diverged, 6 storage, 7 data to be got by hand, 130 Ctrl-C,
143 SIGTERM, 1 a bug in inarch, or a pipe that nobody reads.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence

from inarch.errors import ConfigError, InarchError, StorageError, need

EXTRAS = {
    "typer": "cli", "rich": "cli", "pydantic": "cli",
    "numpy": "train", "PIL": "train", "accelerate": "train", "transformers": "train",
    "matplotlib": "report", "tensorboard": "report", "sklearn": "demo",
    "timm": "timm", "open_clip": "open_clip", "peft": "peft", "datasets": "data", "h5py": "vl", "pycocoevalcap": "captions",
    "huggingface_hub": "hub",
    "onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx",
}  # fmt: skip
REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    _show_all()
    try:
        return _flushed(run([arg for arg in args if arg != "--debug"]))
    except SystemExit as end:  # a closed pipe: typer has already silenced the streams
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as problem:
        if "--debug" in args:
            traceback.print_exc()
        error = known(problem)
        say(str(error) if error else bug(problem))
        return error.exit_code if error else 1


def _show_all() -> None:
    """A character that a terminal has no code for is shown by its number: a class name must not end a run in an ASCII locale."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _flushed(code: int) -> int:
    """``code``, after what was printed has left; 1 where nobody reads it any more, which is no error to tell anybody."""
    try:
        if sys.stdout is not None:  # closed by the caller: nothing is printed
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        return 1
    return code


def run(args: list[str]) -> int:
    import typer

    from inarch.cli.app import command

    try:
        return command(args).main(args or ["--help"], prog_name="inarch", standalone_mode=False) or 0
    except typer.TyperException as problem:
        verb = next((f" {arg}" for arg in args[:1] if not arg.startswith("-")), "")
        message = problem.format_message().replace("Value error, ", "").rstrip(".")
        raise ConfigError(f"{message} (inarch{verb if 'No such command' not in str(problem) else ''} --help)") from None


def known(problem: Exception) -> InarchError | None:
    """The error of our own that ``problem`` is or stands for: a missing package names its extra, a refusing disk says so."""
    if isinstance(problem, InarchError):
        return problem
    if isinstance(problem, ModuleNotFoundError) and (package := str(problem.name).partition(".")[0]) in EXTRAS:
        return need(package, EXTRAS[package])
    if isinstance(problem, OSError) and problem.errno in REFUSED:
        return StorageError(f"{problem.filename or 'the disk'}: {problem.strerror}; free space or choose another folder")
    return None


def bug(problem: Exception) -> str:
    reason = " ".join(str(problem).split())
    return f"this is a bug in inarch: {type(problem).__name__}: {reason}; run the command again with --debug for the traceback"


def say(message: str) -> None:
    """One message on stderr, red where that is a terminal."""
    red, plain = ("\x1b[31m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    print(f"{red}inarch: {message}{plain}", file=sys.stderr)
