"""Machines that are not like the author's: no home to write to, temporary files elsewhere, an ASCII locale, packages that are absent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from nursery import Nursery, arrays
from PIL import Image

NAMES = ("bär", "größe", "猫")  # classes that ASCII has no codes for
VERBS = """
import json, os, sys, tempfile
from inarch.cli import main
codes = [main(sys.argv[2:])]
os.environ["TMPDIR"], tempfile.tempdir = {elsewhere!r}, None  # so far there was none
for line in (["predict", "run", "a.png", "--top-k", "3"], ["predict", "run", "a.png", "--csv", "a.csv", "--top-k", "3"],
             ["merge", "run", "plain"], ["merge", "run", "plain", "--overwrite"], sys.argv[2:-1] + ["again"]):
    codes.append(main(line))
json.dump(codes, open(sys.argv[1], "w"))
"""


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    place = Nursery(tmp_path_factory.mktemp("nursery"))
    np.savez(place.data, **arrays() | {"classes": np.array(NAMES)})
    return place


def unwritable(folder: Path) -> str:
    """A home that exists and takes no file, for root too."""
    home = folder / "home"
    home.mkdir(mode=0o500)
    return "/sys" if os.access(home, os.W_OK) else str(home)


def other_device(folder: Path) -> Path | None:
    """A folder on another device than ``folder``, where there is one."""
    for place in (Path("/dev/shm"), Path("/tmp"), Path("/var/tmp")):
        if place.is_dir() and os.access(place, os.W_OK) and place.stat().st_dev != folder.stat().st_dev:
            own = place / f"inarch-test-{os.getpid()}"
            own.mkdir()
            return own
    return None


@pytest.mark.faults
@pytest.mark.row("I3", "a home that cannot be written, without TMPDIR, then with TMPDIR on another device")
@pytest.mark.row("I4", "locale C, ASCII output, umask 077, 64 open files; names of classes that ASCII lacks")
def test_a_bare_machine_is_enough(nursery, tmp_path, tried):
    """Training with workers and a report, predict and merge work; files are the owner's alone, and temporaries lie beside them."""
    Image.fromarray(arrays()["x_test"][0]).save(tmp_path / "a.png")
    elsewhere = other_device(tmp_path)
    script, codes = VERBS.format(elsewhere=str(elsewhere or "/tmp")), tmp_path / "codes.json"
    line = ["train", nursery.data, "--backbone", nursery.vit, "--set", "rank=2", "--epochs", "1", "--batch-size", "8", "--device", "cpu",
            "--no-tensorboard", "--workers", "2", "--augment", "flip", "--out", "run"]
    environment = {"PATH": os.environ["PATH"], "HOME": unwritable(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
                   "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    command = ["bash", "-c", 'umask 077; ulimit -n 64; exec "$@"', "bash", sys.executable, "-c", script, str(codes), *line]
    try:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="ascii", timeout=58)
        left = [] if elsewhere is None else [path.name for path in elsewhere.iterdir() if not path.name.startswith("matplotlib")]
    finally:
        shutil.rmtree(elsewhere or tmp_path / "none", ignore_errors=True)
    assert done.returncode == 0 and json.loads(codes.read_text()) == [0] * 6, done.stderr
    assert "Traceback" not in done.stderr and "b\\xe4r" in done.stdout and left == []
    assert "größe" in (tmp_path / "a.csv").read_text(encoding="utf-8") and "猫" in (tmp_path / "run" / "report.html").read_text("utf-8")
    written = [path for name in ("run", "plain", "again") for path in (tmp_path / name).rglob("*")]
    assert len(written) > 20 and not [path for path in written if path.stat().st_mode & 0o077]
    assert not list(tmp_path.rglob("*.tmp"))
    tried(6)


ABSENT = """
import contextlib, importlib.machinery, io, json, os, sys
sys.path[:0] = [{root!r}]
import torch
from inarch.cli import main

class Paths(importlib.machinery.PathFinder):
    absent = ""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == cls.absent else super().find_spec(name, path, target)

sys.meta_path = [Paths if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
for package, lines in json.load(open(sys.argv[1])).items():
    if os.fork() == 0:
        Paths.absent, said = package, []
        for line in lines:
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(line)
            said.append([code, out.getvalue(), err.getvalue()])
        json.dump(said, open(package + ".json", "w"))
        os._exit(0)
    os.wait()
"""


def lines_that_need(nursery: Nursery, run: str) -> dict[str, list[list[str]]]:
    """Package -> command lines that cannot do without it: every loader and every verb that opens a backbone."""
    pictures = str(Path(run).parent / "a.png")
    ours = (nursery.vit, f"hf:{nursery.vit}", "config:vit-b16", "mini-vit", "mini-vl", "vl:facebook/bart-base",
            "clip:openai/clip-vit-base-patch16")
    train = ["train", nursery.data, "--out", "never", "--backbone"]
    tower = ["features", str(Path(run).parent), "--out", "never", "--tower"]
    return {
        "transformers": [
            *(["count", "arc", address] for address in ours),
            ["sites", nursery.vit], [*train, nursery.vit], [*tower, nursery.vit], ["predict", run, pictures], ["evaluate", run],
            ["merge", run, "never"]],
        "timm": [["count", "arc", "timm:vit_tiny_patch16_224"], ["sites", "timm:vit_tiny_patch16_224"],
                 [*train, "timm:vit_tiny_patch16_224"], [*tower, "timm:vit_tiny_patch16_224"]],
        "open_clip": [["count", "arc", "open_clip:ViT-B-32/openai"], ["sites", "open_clip:ViT-B-32/openai"],
                      ["count", "mma", "clip:open_clip:ViT-B-32/openai"], [*train, "open_clip:ViT-B-32/openai"],
                      [*tower, "open_clip:RN50/openai"]],
        "torchvision": [["count", "arc", "timm:vit_tiny_patch16_224"], ["count", "arc", "open_clip:ViT-B-32/openai"],
                        ["count", "arc", nursery.vit]],  # loads, and has no room for rank 50
    }


SAYS = {"transformers": "pip install 'inarch[train]'", "timm": "pip install 'inarch[timm]'", "open_clip": "pip install 'inarch[open_clip]'",
        "torchvision": "needs torchvision, which is not installed; install the one for torch "}


@pytest.mark.faults
@pytest.mark.row("I2", "transformers, timm or open_clip absent: every loader and every verb that opens a backbone")
@pytest.mark.row("I1", "torchvision absent")
def test_an_absent_package_is_named_with_its_extra(nursery, tmp_path, tried):
    """Exit 2 and one line with the extra to install, nothing written; without torchvision only timm and open_clip are missed."""
    from inarch.train import train

    Image.fromarray(arrays()["x_test"][0]).save(tmp_path / "a.png")
    lines = lines_that_need(nursery, str(train(nursery.recipe(tmp_path / "run", epochs=1))))
    (tmp_path / "lines.json").write_text(json.dumps(lines))
    command = [sys.executable, "-c", ABSENT.format(root=str(ROOT)), str(tmp_path / "lines.json")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=58)
    assert done.returncode == 0, done.stderr
    for package, given in lines.items():
        for line, (code, _, err) in zip(given, json.loads((tmp_path / f"{package}.json").read_text()), strict=True):
            assert code == 2 and "Traceback" not in err and "bug" not in err, (line, err)
            assert SAYS[package] in err or line == ["count", "arc", nursery.vit], (line, err)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["run"]
    tried(sum(map(len, lines.values())))
