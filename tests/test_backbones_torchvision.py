"""The cure for a torchvision of another torch, in fresh processes, on imitation packages with and without the fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BROKEN = """\
import torch
import torchvision.extension
torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: dets)
torch.library.register_fake("torchvision::qnms")(lambda dets, scores, iou_threshold: dets)
whole = True
"""
METADATA = "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.0.7\n"
CALL = """\
import sys
from inarch.backbones.torchvision import mend_torchvision
try:
    print("mended", mend_torchvision(), mend_torchvision())
finally:
    print("imported", sorted(name for name in sys.modules if name.startswith("torchvision")))
"""


def _run(folder: Path, source: str | None, switch: str | None = None) -> subprocess.CompletedProcess[str]:
    """``CALL`` in a process that sees an imitation torchvision with the given ``__init__.py``."""
    if source is not None:
        (folder / "torchvision").mkdir()
        (folder / "torchvision" / "__init__.py").write_text(source)
        (folder / "torchvision" / "extension.py").write_text("")
        (folder / "torchvision-0.0.7.dist-info").mkdir()
        (folder / "torchvision-0.0.7.dist-info" / "METADATA").write_text(METADATA)
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    environment.pop("INARCH_MEND_TORCHVISION", None)
    if switch is not None:
        environment["INARCH_MEND_TORCHVISION"] = switch
    command = [sys.executable, "-W", "error", "-c", CALL]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.long
@pytest.mark.row("I1", "torchvision built for another torch")
def test_the_fault_is_cured_once_and_said_in_one_line(tmp_path: Path) -> None:
    """The library imports, torchvision's Python parts with it, and one line says so and how to switch the cure off."""
    done = _run(tmp_path, BROKEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["mended True False", "imported ['torchvision', 'torchvision.extension']"]
    (line,) = done.stderr.splitlines()
    assert "0.0.7" in line and "INARCH_MEND_TORCHVISION=0" in line


@pytest.mark.long
def test_the_switch_leaves_the_fault_alone(tmp_path: Path) -> None:
    done = _run(tmp_path, BROKEN, switch="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["mended False False", "imported []"]
    assert done.stderr == ""


@pytest.mark.long
@pytest.mark.row("I1", "torchvision that is whole")
def test_a_whole_torchvision_is_left_as_it_is(tmp_path: Path) -> None:
    """It is left as it is, and nothing is said."""
    done = _run(tmp_path, "whole = True\n")
    assert done.stdout.splitlines()[0] == "mended False False"
    assert done.stderr == ""


@pytest.mark.long
def test_another_error_is_not_hidden(tmp_path: Path) -> None:
    done = _run(tmp_path, "raise RuntimeError('something else')\n")
    assert done.returncode == 1
    assert "RuntimeError: something else" in done.stderr


@pytest.mark.long
@pytest.mark.row("I1", "torchvision that cannot be cured")
def test_a_torchvision_that_stays_broken_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """Refused with the cause and the way out: install the one of this torch, or uninstall it."""
    done = _run(tmp_path, BROKEN + "raise RuntimeError('still broken')\n")
    assert done.returncode == 1
    assert "still broken" in done.stderr and "uninstall torchvision" in done.stderr
    assert "imported []" in done.stdout
