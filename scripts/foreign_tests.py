"""Another library's own tests, out of its source distribution, run under a plugin that puts our adapters into its models.

pip fetches the distribution into ``runs/``, which git ignores; nothing of it is kept here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as xml
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class NotFetched(SystemExit):
    """The package registry did not answer, or has no such version."""


def pip(*words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", words[0], "-q", *words[1:]], capture_output=True, text=True)
    if done.returncode:
        raise NotFetched(f"pip {' '.join(words)} failed: {done.stderr[-1000:]}")


def unpacked(library: str, version: str, folder: Path, *how: str) -> Path:
    """``folder`` with the library's ``tests`` in it, fetched once; ``how``: more words for pip."""
    if not (folder / "tests").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip("download", "--no-deps", "--no-binary", library, *how, f"{library}=={version}", "-d", str(folder))
        with tarfile.open(next(folder.glob(f"{library}-*.tar.gz"))) as archive:
            for entry in archive.getmembers():
                if "/tests/" in entry.name:
                    entry.name = entry.name.partition("/")[2]
                    archive.extract(entry, folder, filter="data")
        (folder / "tests" / "__init__.py").touch()
    return folder


def cases(folder: Path, plugin: str, test: str, *words: str, before: Iterable[Path] = (), **more: str) -> list[xml.Element]:
    """Every case of the file ``test``, run in ``folder`` under our ``plugin``; ``before``: folders that stand before ours on the path."""
    paths = [*map(str, before), str(ROOT / "tests"), str(ROOT)]
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", ".", "-c", os.devnull, "-p", plugin, "-p", "no:cacheprovider",
               "-W", "ignore", "--junitxml", "report.xml", *words, test]
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"} | more,
                          capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{folder}/{test} did not run ({done.returncode})\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return list(xml.parse(folder / "report.xml").iter("testcase"))


def outcome(case: xml.Element, test: str, reasons: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    """Passed, skipped or failed, and why: ``reasons`` are a test ("" for any), a word of its message, what to say of it."""
    failure = next((part for part in case if part.tag in ("failure", "error")), None)
    if failure is None:
        return {"outcome": "passed" if case.find("skipped") is None else "skipped", "reason": "", "message": ""}
    message = failure.attrib.get("message", "")
    said = message + (failure.text or "")
    reason = next((why for where, word, why in reasons if where in ("", test) and word in said), "")
    return {"outcome": "failed", "reason": reason, "message": message.partition("\n")[0][:200]}


def unexplained(lines: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return [line for line in lines if line["outcome"] == "failed" and not line["reason"]]


def table(lines: list[dict[str, str]], methods: Iterable[str]) -> list[str]:
    """Counts per method, then what failed and why, as Markdown."""
    parts = ["| method | passed | failed | skipped |\n|---|--:|--:|--:|"]
    for method in methods:
        counts = Counter(line["outcome"] for line in lines if line["method"] == method)
        parts.append(f"| {method} | {counts['passed']} | {counts['failed']} | {counts['skipped']} |")
    grouped = Counter((line["method"], line["reason"] or "unexplained", line["test"]) for line in lines if line["outcome"] == "failed")
    reasons: dict[tuple[str, str], list[str]] = {}
    for (method, reason, test), count in sorted(grouped.items()):
        reasons.setdefault((method, reason), []).append(f"`{test}` ({count})" if count > 1 else f"`{test}`")
    parts += ["\nWhat failed:\n", *(f"- **{method}**: {reason}: {', '.join(tests)}" for (method, reason), tests in reasons.items()), ""]
    return parts
