"""Break the library in many ways and see the tests notice each: a law that cannot fail is no law.

    python tests/planted_faults.py [PART ...]     each fault in a copy of the checkout; exit 1 if one goes unnoticed

The faults are in tests/planted/, one file per part of the house.
"""

from __future__ import annotations

import importlib
import pkgutil
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import planted
from planted import Fault

ROOT = Path(__file__).resolve().parents[1]
TIERS = "not real and not compile and not dist and not gpu and not hub"  # the default one and what is long


def faults(parts: list[str]) -> list[Fault]:
    """Those of the parts named, or all."""
    known = [part.name for part in pkgutil.iter_modules(planted.__path__)]
    if unknown := set(parts) - set(known):
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return [fault for part in parts or known for fault in importlib.import_module(f"planted.{part}").FAULTS]


def notices(fault: Fault) -> bool:
    """Whether the tests named by the fault fail in a copy that has it; the fault's text must still be there to break."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "inarch"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "results", "__pycache__", "*.egg-info"))
        broken = copy / fault.file
        text = broken.read_text()
        if text.count(fault.old) != 1:
            raise SystemExit(f"{fault.name}: {fault.file} holds the text to break {text.count(fault.old)} times; renew the fault")
        broken.write_text(text.replace(fault.old, fault.new))
        words = fault.tests.split(" -k ")
        command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "-m", TIERS, *words[0].split()]
        done = subprocess.run(command + (["-k", words[1].strip("'")] if words[1:] else []), cwd=copy, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{fault.name}: pytest did not run ({done.returncode})\n{done.stdout[-2000:]}{done.stderr[-1000:]}")
    return done.returncode == 1


def main() -> int:
    chosen = faults(sys.argv[1:])
    with ThreadPoolExecutor(2) as pool:
        noticed = list(pool.map(notices, chosen))
    for fault, seen in zip(chosen, noticed, strict=True):
        print(f"{'caught' if seen else 'MISSED'}  {fault.name}")
    print(f"{sum(noticed)} passed, {len(noticed) - sum(noticed)} failed")
    return 0 if all(noticed) else 1


if __name__ == "__main__":
    sys.exit(main())
