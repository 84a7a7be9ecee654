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
import re
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

if __name__ == "__main__":  # a script finds its neighbours, as a test finds it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from scripts import foreign_tests
from scripts.foreign_tests import ROOT

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
    unexplained = [line for lines in found.values() for line in foreign_tests.unexplained(lines)]
    print(page(found), *(f"{line['test']}: {line['message']}" for line in unexplained), sep="\n")
    return 1 if unexplained else 0


def run(version: str, only: str = " or ".join(METHODS)) -> list[dict[str, str]]:
    """Every case: method, test, outcome, and the reason of a failure ("" where none is known)."""
    folder = foreign_tests.unpacked("peft", version, PLACE / version, "--no-build-isolation")
    before = [] if version == importlib.metadata.version("peft") else [installed(version)]
    found = foreign_tests.cases(folder, "peft_cases", "tests/test_custom_models.py", "-k", only, before=before)
    return [line(case) for case in found]


def installed(version: str) -> Path:
    """A folder with that PEFT alone, to stand before the installed one."""
    folder = PLACE / version / "site"
    if not folder.exists():
        foreign_tests.pip("install", "--no-deps", "--target", str(folder), f"peft=={version}")
    return folder


def line(case: xml.Element) -> dict[str, str]:
    name, _, setting = case.attrib["name"].partition("[")
    method = next(method for method in METHODS if re.search(rf"\b{method}\b", setting))
    return {"method": method, "test": name, "case": setting.rstrip("]"), **foreign_tests.outcome(case, name, REASONS)}


def page(found: dict[str, list[dict[str, str]]]) -> str:
    parts = ["# PEFT's own tests on our methods\n\nMade by `python scripts/peft_matrix.py`: the custom-model tests of PEFT's source "
             "distribution, their lists of cases exchanged for ours\n([tests/peft_cases.py](../tests/peft_cases.py)). Skipped: by PEFT's "
             "own conditions, such as a test of an option that the method does not have.\n"]
    for version, lines in found.items():
        parts += [f"## PEFT {version}\n", *foreign_tests.table(lines, METHODS)]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
