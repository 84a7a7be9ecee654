"""The tests that need torchao, with torchao itself: fetched beside the environment, since other libraries import it where it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from scripts import foreign_tests

VERSION = re.search(r"^torchao==(.*)$", (foreign_tests.ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
FOLDER = foreign_tests.ROOT / "runs" / f"torchao-{VERSION}"
ABOUT = ("tests/test_packed.py", "tests/test_quantised_base.py")


@pytest.mark.long
def test_bases_that_it_quantises_pass_and_none_is_left_out():
    if not FOLDER.is_dir():
        try:
            fetched = FOLDER.with_suffix(f".part-{os.getpid()}")  # what was broken off is not taken for the whole
            foreign_tests.pip("install", "--no-deps", "--target", str(fetched), f"torchao=={VERSION}")
            fetched.rename(FOLDER)
        except foreign_tests.NotFetched as problem:
            pytest.skip(f"torchao could not be fetched: {problem}")
    paths = os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-m", "long or not long", "-p", "no:cacheprovider", *ABOUT]
    done = subprocess.run(command, cwd=foreign_tests.ROOT, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout[-3000:]
