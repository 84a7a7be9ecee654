"""Every exit code of the command line, from its own function: one message, no traceback unless it is asked for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from nursery import Nursery

from inarch.cli import main
from inarch.errors import InarchError
from inarch.training.update import Updater


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


def flags(nursery: Nursery, out: Path | str, *more: str) -> list[str]:
    return ["train", nursery.data, "--backbone", nursery.vit, "--set", "rank=2", "--epochs", "2", "--batch-size", "8", "--no-tensorboard",
            "--no-report", "--device", "cpu", "--out", str(out), *more]


def lines(nursery: Nursery, tmp_path: Path) -> dict[int, list[str]]:
    """Exit code -> a command line that ends with it."""
    (tmp_path / "file").write_text("")
    (tmp_path / "run").mkdir()
    return {
        2: flags(nursery, tmp_path / "never", "--lr", "-1"), 3: ["train", "nowhere", *flags(nursery, tmp_path / "never")[2:]],
        4: ["evaluate", str(tmp_path / "run")], 5: flags(nursery, tmp_path / "diverged"), 6: flags(nursery, tmp_path / "file" / "run"),
    }


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("code", [2, 3, 4, 5, 6])
def test_every_error_has_its_code(nursery, tmp_path, capsys, monkeypatch, code, debug):
    monkeypatch.setattr(Updater, "_clipped", lambda _: float("nan"))
    assert main([*lines(nursery, tmp_path)[code], *(["--debug"] if debug else [])]) == code
    said = capsys.readouterr().err
    assert said.count("inarch: ") == 1 and "is a bug" not in said and ("Traceback" in said) == debug


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_has_its_code(nursery, tmp_path, capsys, monkeypatch, number, code):
    real = Updater.__call__

    def signalled(updater: Updater, k: int, *rest):
        if k == 2:
            os.kill(os.getpid(), number)
        return real(updater, k, *rest)

    monkeypatch.setattr(Updater, "__call__", signalled)
    assert main(flags(nursery, tmp_path / "run")) == code
    said = capsys.readouterr().err
    assert f"--resume {tmp_path / 'run'}" in said and "Traceback" not in said


def test_every_error_of_ours_ends_with_one_of_these_codes():
    def below(kind: type) -> set[type]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    assert {kind.exit_code for kind in below(InarchError) - {InarchError}} == {2, 3, 4, 5, 6}
    assert InarchError.exit_code == 1  # raised by itself where another process of a run is gone
