"""PEFT's own custom-model tests, run on our configurations: results/peft-matrix.json and docs/peft-matrix.md.

    python scripts/peft_matrix.py                      the installed PEFT and the lowest supported one
    python scripts/peft_matrix.py --versions 0.21.2    these

The tests come with PEFT's source distribution, which pip fetches into a folder that git ignores; nothing of it is kept here.
``tests/peft_cases.py`` exchanges their lists of cases. A failure without a reason in ``REASONS`` makes this exit with 1.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as xml
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "runs" / "peft-matrix"
RESULT, PAGE = ROOT / "results" / "peft-matrix.json", ROOT / "docs" / "peft-matrix.md"
LOWEST = "0.21.0"  # the first with state-dict hooks on tuners
METHODS = ("ARC", "AdaRing", "VLPET")
REASONS = (  # test, what its message holds, why it cannot pass
    ("", "CannotFold", "not linear, so it cannot be merged exactly and refuses (PEFT's tests leave such methods of its own out by name)"),
    ("test_in_features_out_features_exposed", "in_features", "the layer stands on the model's root, and the places that it adapts here "
     "have different widths"),
    ("test_disable_adapters", "allclose", "asks that a fresh adapter leaves the output unchanged; a gate of VL-PET does not, as released"),
    ("test_active_adapter", "ModulesToSaveWrapper", "trains norms of the base as modules_to_save, and PEFT allows one adapter at a time "
     "of those"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", nargs="+", default=sorted({LOWEST, importlib.metadata.version("peft")}))
    found = {version: run(version) for version in parser.parse_args().versions}
    RESULT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")
    unexplained = [line for lines in found.values() for line in lines if line["outcome"] == "failed" and not line["reason"]]
    print(page(found), *(f"{line['test']}: {line['message']}" for line in unexplained), sep="\n")
    return 1 if unexplained else 0


def run(version: str, only: str = " or ".join(METHODS)) -> list[dict[str, str]]:
    """Every case: method, test, outcome, and the reason of a failure ("" where none is known)."""
    folder = unpacked(version)
    paths = [str(ROOT / "tests"), str(ROOT)]
    if version != importlib.metadata.version("peft"):
        paths.insert(0, str(installed(version)))
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", ".", "-c", os.devnull, "-p", "peft_cases", "-p", "no:cacheprovider",
               "-k", only, "-W", "ignore", "--junitxml", "report.xml", "tests/test_custom_models.py"]
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"},
                          capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"PEFT's tests did not run ({done.returncode})\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return [line(case) for case in xml.parse(folder / "report.xml").iter("testcase")]


def unpacked(version: str) -> Path:
    """The folder with PEFT's ``tests``, fetched once."""
    folder = PLACE / version
    if not (folder / "tests" / "test_custom_models.py").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip("download", "--no-deps", "--no-binary", "peft", "--no-build-isolation", f"peft=={version}", "-d", str(folder))
        with tarfile.open(next(folder.glob("peft-*.tar.gz"))) as archive:
            for entry in archive.getmembers():
                if "/tests/" in entry.name:
                    entry.name = entry.name.partition("/")[2]
                    archive.extract(entry, folder, filter="data")
        (folder / "tests" / "__init__.py").touch()
    return folder


def installed(version: str) -> Path:
    """A folder with that PEFT alone, to stand before the installed one."""
    folder = PLACE / version / "site"
    if not folder.exists():
        pip("install", "--no-deps", "--target", str(folder), f"peft=={version}")
    return folder


class NotFetched(SystemExit):
    """The package registry did not answer, or has no such version."""


def pip(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", words[0], "-q", *words[1:]], capture_output=True, text=True)
    if done.returncode:
        raise NotFetched(f"pip {' '.join(words)} failed: {done.stderr[-1000:]}")


def line(case: xml.Element) -> dict[str, str]:
    name, _, setting = case.attrib["name"].partition("[")
    method = next(method for method in METHODS if re.search(rf"\b{method}\b", setting))
    about = {"method": method, "test": name, "case": setting.rstrip("]")}
    failure = next((part for part in case if part.tag in ("failure", "error")), None)
    if failure is None:
        return about | {"outcome": "passed" if case.find("skipped") is None else "skipped", "reason": "", "message": ""}
    message = failure.attrib.get("message", "")
    said = message + (failure.text or "")
    reason = next((why for test, word, why in REASONS if test in ("", name) and word in said), "")
    return about | {"outcome": "failed", "reason": reason, "message": message.partition("\n")[0][:200]}


def page(found: dict[str, list[dict[str, str]]]) -> str:
    parts = ["# PEFT's own tests on our methods\n\nMade by `python scripts/peft_matrix.py`: the custom-model tests of PEFT's source "
             "distribution, their lists of cases exchanged for ours\n([tests/peft_cases.py](../tests/peft_cases.py)). Skipped: by PEFT's "
             "own conditions, such as a test of an option that the method does not have.\n"]
    for version, lines in found.items():
        parts.append(f"## PEFT {version}\n\n| method | passed | failed | skipped |\n|---|--:|--:|--:|")
        for method in METHODS:
            counts = Counter(line["outcome"] for line in lines if line["method"] == method)
            parts.append(f"| {method} | {counts['passed']} | {counts['failed']} | {counts['skipped']} |")
        parts.append("\nWhat failed:\n")
        grouped = Counter((line["method"], line["reason"] or "unexplained", line["test"]) for line in lines if line["outcome"] == "failed")
        reasons: dict[tuple[str, str], list[str]] = {}
        for (method, reason, test), count in sorted(grouped.items()):
            reasons.setdefault((method, reason), []).append(f"`{test}` ({count})" if count > 1 else f"`{test}`")
        parts += [f"- **{method}**: {reason}: {', '.join(tests)}" for (method, reason), tests in reasons.items()]
        parts.append("")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
