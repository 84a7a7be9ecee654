"""docs/reliability.md from what was run: results/reliability.json (the fault table) and results/campaign.json.

    make table          runs every test of the table, then this        python scripts/reliability_table.py --check     is it stale?
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "results" / "reliability.json"
CAMPAIGN = ROOT / "results" / "campaign.json"
TARGET = ROOT / "docs" / "reliability.md"
SECTIONS = {  # letter -> title, rows
    "A": ("Adapter and checkpoint files", 21), "B": ("Configuration", 7), "C": ("Data", 17), "D": ("Numerics", 7),
    "E": ("Save, kill, resume", 11), "F": ("Merge and export", 6), "G": ("Serving", 9), "H": ("Several processes", 5),
    "I": ("Environment", 4),
}
UNBUILT = {"G": "There is no server yet; its rows get their tests with it."}
MARK = re.compile(r"\brow\(\s*\"([A-I]\d+)\"")
HEAD = """# What happens when something is wrong

Made by `python scripts/reliability_table.py` from [results/reliability.json](../results/reliability.json), which `make table` writes:
each line is a test that passed, with the number of inputs it tried. Errors and exit codes are in [errors](errors.md), the files in
[format](format.md). `python tests/planted_faults.py` breaks the guards one by one and must see these tests fail.

{summary}
"""


def render() -> str:
    """The page."""
    lines = json.loads(ROWS.read_text(encoding="utf-8"))
    parts = [HEAD.format(summary=summary(lines))]
    for letter, (title, _) in SECTIONS.items():
        parts.append(f"## {letter}. {title}\n\n{section(letter, [line for line in lines if line['row'][0] == letter])}\n")
    if CAMPAIGN.exists():
        parts.append(campaign(json.loads(CAMPAIGN.read_text(encoding="utf-8"))))
    return "\n".join(parts)


def summary(lines: list[dict[str, Any]]) -> str:
    rows, tests = {line["row"] for line in lines}, {line["test"] for line in lines}
    built = sum(count for letter, (_, count) in SECTIONS.items() if letter not in UNBUILT)
    tried = sum({(line["test"]): line["inputs"] for line in lines}.values())
    return (f"{len(rows)} of the {built} rows that belong to parts that are built, {len(tests)} test functions, {tried:,} inputs "
            f"tried, {sum(line['failed'] + line['error'] for line in lines)} failures.")


def section(letter: str, lines: list[dict[str, Any]]) -> str:
    if letter in UNBUILT:
        return UNBUILT[letter]
    table = ["| row | fault | what happens | test | inputs |", "|---|---|---|---|--:|"]
    for line in sorted(lines, key=lambda line: (int(line["row"][1:]), line["test"])):
        file, name = line["test"].split("::")
        said = line["happens"] + ("" if not line["skipped"] else f" ({line['skipped']} skipped here)")
        table.append(f"| {line['row']} | {cell(line['fault'])} | {cell(said)} | [`{name}`](../{file}) | {line['inputs']:,} |")
    return "\n".join(table)


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("``", "`")


def campaign(found: dict[str, Any]) -> str:
    """The longer runs: a line of what each part found, and the peers' cases side by side."""
    sys.path.insert(0, str(ROOT / "tests"))
    from campaign.__main__ import PARTS

    lines = ["## Campaigns\n",
             "Run by `make campaign`, kept with versions and machine in [results/campaign.json](../results/campaign.json).\n",
             "| part | what was found | holds | seconds |", "|---|---|---|--:|"]
    for name, (tell, _) in PARTS.items():
        if name in found:
            part = found[name]
            lines.append(f"| {name} | {cell(tell(part['found']))} | {'yes' if part['passed'] else '**no**'} | {part['seconds']:.0f} |")
    return "\n".join([*lines, "", peers(found["peers"]) if "peers" in found else ""])


def peers(part: dict[str, Any]) -> str:
    """The 33 damaged or mismatched adapters, in our format and in PEFT's."""
    versions = part["made"]["versions"]
    head = ("The 33 damaged or mismatched adapters of a LoRA file, and the same damage done to ours. *Resealed*: by a hand that makes\n"
            "every digest right again; what is then another good adapter loads, and only a signature could tell.\n\n"
            f"| damage | inarch | inarch, resealed | peft {versions['peft']} |\n|---|---|---|---|\n")
    return head + "\n".join(
        f"| {cell(name)} | {outcome(case['inarch'])} | {outcome(case.get('inarch_resealed'))} | {outcome(case['peft'])} |"
        for name, case in part["found"]["cases"].items()) + "\n"


def outcome(case: dict[str, Any] | None) -> str:
    if not case:
        return ""
    return cell(case["outcome"] + (f" (`{case['error']}`)" if case.get("error") else ""))


def marked() -> set[str]:
    """Every row that a test names in its source."""
    return {name for path in (ROOT / "tests").rglob("test_*.py") for name in MARK.findall(path.read_text(encoding="utf-8"))}


def stale() -> list[str]:
    """What does not agree: rows without a line, lines whose test is gone, a page that is not what would be written."""
    lines = json.loads(ROWS.read_text(encoding="utf-8"))
    known = {line["row"] for line in lines}
    wanted = {f"{letter}{n}" for letter, (_, count) in SECTIONS.items() if letter not in UNBUILT for n in range(1, count + 1)}
    gone = {line["test"] for line in lines if f"def {line['test'].split('::')[1]}(" not in (ROOT / line["test"].split("::")[0]).read_text()}
    found = [f"{name} has no test that was run" for name in sorted((wanted | marked()) - known)]
    found += [f"{test} is gone" for test in sorted(gone)] + [f"{line['test']} failed" for line in lines if line["failed"] or line["error"]]
    return found if TARGET.exists() and TARGET.read_text(encoding="utf-8") == render() else [*found, f"{TARGET.name} is old"]


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit("\n".join(stale()))
    TARGET.write_text(render(), encoding="utf-8")
