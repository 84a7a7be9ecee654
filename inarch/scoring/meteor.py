"""METEOR 1.5 (Denkowski and Lavie 2014), x100, by the Java program inside pycocoevalcap, asked as coco-caption asks it.

    SCORE ||| reference ||| reference ||| caption     ->  the statistics of one caption
    EVAL ||| statistics ||| statistics ...            ->  a line per caption, then one for the set

Stemmer, synonyms and paraphrases are tables of that program: nothing here stands in for it. Where it cannot run there is no METEOR.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE
from threading import Timer
from typing import IO

from inarch.errors import MissingExtra, need
from inarch.scoring.words import words

EXTRA = "captions"
PATIENCE = 900.0  # seconds; 5,000 captions with five references take about one minute


def meteor(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """METEOR x100 of the set and of each caption, or ``MissingExtra`` saying why there is none."""
    asked = [_question(said, captions) for said, captions in zip(predictions, references, strict=True)]
    command = [_java(), "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", str(_jar()), "-", "-", "-stdio", "-l", "en", "-norm"]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as noise:
        try:
            numbers = [100 * number for number in _talk(command, asked, noise)]
        except (OSError, ValueError) as error:  # a closed pipe, or a line that is no number
            raise MissingExtra(_trouble(noise)) from error
    return numbers[-1], numbers[:-1]


def _question(said: str, captions: Sequence[str]) -> str:
    return " ||| ".join(" ".join(words(text)).replace("|||", "") for text in (*captions, said))


def _talk(command: Sequence[str], asked: Sequence[str], noise: IO[str]) -> list[float]:
    """A number per question, then that of the set."""
    plain = os.environ | {"LC_ALL": "C"}  # elsewhere it writes 0,5
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=noise, encoding="utf-8", env=plain) as program:
        stop = Timer(PATIENCE, program.kill)
        stop.start()
        try:
            assert program.stdin is not None and program.stdout is not None  # both are pipes
            statistics = []
            for question in asked:  # one by one: both sides would wait for ever on two full pipes
                _tell(program.stdin, f"SCORE ||| {question}")
                statistics.append(program.stdout.readline().strip())
            _tell(program.stdin, " ||| ".join(["EVAL", *statistics]))
            return [float(program.stdout.readline()) for _ in range(len(asked) + 1)]
        finally:
            stop.cancel()


def _tell(pipe: IO[str], line: str) -> None:
    pipe.write(line + "\n")
    pipe.flush()


def _trouble(noise: IO[str]) -> str:
    noise.seek(0)
    said = (noise.read().strip().splitlines() or ["no message"])[0]
    return f"METEOR's Java program gave no number within {PATIENCE:.0f} s ({said}); it needs a working `java` and 2 GB of memory"


def _java() -> str:
    found = shutil.which("java")
    if found is None:
        raise MissingExtra("METEOR needs Java: there is no `java` on the PATH; install a Java runtime (8 or later)")
    return found


def _jar() -> Path:
    package = find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        raise need("pycocoevalcap", EXTRA)
    return Path(package.submodule_search_locations[0]) / "meteor" / "meteor-1.5.jar"
