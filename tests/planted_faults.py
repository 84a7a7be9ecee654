"""Break the library in many ways and see the tests notice each: a law that cannot fail is no law.

    python tests/planted_faults.py [PART ...]     each fault in a copy of the checkout; exit 1 if one goes unnoticed

The faults are in tests/planted/, one file per part of the house. This process imports the libraries that all tests need and forgets what
is of inarch; each fault is played by a fork of it, which imports the broken copy.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import planted
from planted import Fault

ROOT = Path(__file__).resolve().parents[1]
TIERS = "not real and not compile and not dist and not gpu and not hub"  # the default one and what takes seconds
AT_ONCE = 2
LEFT = (".git", ".venv", ".*_cache", ".hypothesis", "runs", "results", "*.egg-info")
QUIET = "ignore::pytest.PytestAssertRewriteWarning"  # what is imported before the fork
LIBRARIES = ("pytest", "safetensors.torch", "pydantic", "accelerate", "PIL.Image", "hypothesis", "families")


def faults(parts: list[str]) -> list[Fault]:
    """Those of the parts named, or all."""
    known = [part.name for part in pkgutil.iter_modules(planted.__path__)]
    if unknown := set(parts) - set(known):
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [fault for part in parts or known for fault in importlib.import_module(f"planted.{part}").FAULTS]


def preload() -> None:
    """What is the same in every copy: the tests' models bring their libraries, and what is of the checkout is forgotten again."""
    sys.path.insert(0, str(ROOT))
    importlib.import_module("inarch.backbones.torchvision").mend_torchvision()
    before = set(sys.modules)
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "inarch" or (name not in before and ours(name))]:
        del sys.modules[name]
    sys.path.remove(str(ROOT))
    gc.collect()
    gc.freeze()  # a fork's collector walks over the fork's own objects only


def ours(name: str) -> bool:
    """Whether a module is one of the tests' own."""
    return Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(ROOT / "tests")


def plant(fault: Fault, place: Path) -> Path:
    """A copy of the checkout that has the fault, whose text must still be there to break."""
    copy = place / "inarch"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT), copy_function=same)
    broken = copy / fault.file
    text = broken.read_text()
    if text.count(fault.old) != 1:
        raise SystemExit(f"{fault.name}: {fault.file} holds the text to break {text.count(fault.old)} times; renew the fault")
    broken.unlink()
    broken.write_text(text.replace(fault.old, fault.new))
    return copy


def same(source: str, target: str) -> None:
    """Another name of the file where that is possible: compiled modules stay valid, and nothing is copied."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def play(fault: Fault, place: Path) -> int:
    """The process that runs the fault's tests in its copy; what it says goes to a file beside it."""
    copy = plant(fault, place)
    child = os.fork()
    if child:
        return child
    said = os.open(place / "said", os.O_WRONLY | os.O_CREAT)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent)]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("planted", "conftest")]:
        del sys.modules[name]
    words, _, chosen = fault.tests.partition(" -k ")
    code = 3
    try:
        command = ["-qx", "-p", "no:cacheprovider", "-W", QUIET, "-m", TIERS, *words.split()]
        code = int(importlib.import_module("pytest").main(command + (["-k", chosen.strip("'")] if chosen else [])))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> int:
    waiting, noticed, took = faults(sys.argv[1:]), {}, {}
    order = list(waiting)
    preload()
    running: dict[int, tuple[Fault, Path]] = {}
    with tempfile.TemporaryDirectory() as root:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                fault, place = waiting.pop(0), Path(tempfile.mkdtemp(dir=root))
                took[fault.name] = -time.monotonic()
                running[play(fault, place)] = (fault, place)
            child, status = os.wait()
            fault, place = running.pop(child)
            took[fault.name] += time.monotonic()
            noticed[fault.name] = judged(fault, os.waitstatus_to_exitcode(status), place)
            shutil.rmtree(place)
    for fault in order:
        print(f"{'caught' if noticed[fault.name] else 'MISSED'} {took[fault.name]:5.1f} s  {fault.name}")
    print(f"{sum(noticed.values())} passed, {len(noticed) - sum(noticed.values())} failed")
    return 0 if all(noticed.values()) else 1


def judged(fault: Fault, code: int, place: Path) -> bool:
    """Whether the tests failed, and did not stumble over something else."""
    if code not in (0, 1):
        raise SystemExit(f"{fault.name}: pytest did not run ({code})\n{(place / 'said').read_text()[-3000:]}")
    return code == 1


if __name__ == "__main__":
    sys.exit(main())
