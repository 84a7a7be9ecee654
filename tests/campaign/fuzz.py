"""Fuzzed checkpoints: each damaged input is refused with the library's own error, or it is byte for byte what was written.

Plain damage knows nothing of the digests. Resealed damage makes them right again after a structural edit; it may be read only to
exactly the same tensors. A generation that is refused for the one before it, which is whole, counts as refused. An older generation
that was put in the place of the newest with all of its files is whole, and read as what it is.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from campaign import damage
from campaign.judge import EXTRA_MB, Bench, Input, Verdict, Watchdog
from campaign.subjects import Subject, state_hash, subjects, tiny_vit

COUNT, SEED = 10_000, 0
REFUSAL_MS = 50  # at most so much of the processor's time for 99 of 100 refusals
FAILURES_KEPT = 20
RESEALED = 0.3  # of the inputs


def make(all_subjects: list[Subject], index: int, seed: int) -> Input:
    """Input number ``index`` of a campaign: the same for the same seed, whatever was tried before it."""
    chance = Random(f"{seed}/{index}")
    subject = all_subjects[index % len(all_subjects)]
    found = resealed(subject, chance) if chance.random() < RESEALED else plain(subject, chance)
    if subject.newest() and found.mutator != "swapped" and chance.random() < 0.15:  # then nothing is left to fall back on
        older = chance.choice([name for name in subject.files if name.startswith("gen-000001/")])
        return replace(found, changed=found.changed | {older: damage.flip(subject.files[older], chance)})
    return found


def plain(subject: Subject, chance: Random) -> Input:
    name = chance.choice([n for n in subject.files if n.startswith(subject.newest()) or chance.random() < 0.1])
    data = subject.files[name]
    kind = chance.choice([*damage.BYTES, "spliced", "header length", "structure", "structure", "respaced", "swapped", "swapped", "gone"])
    if kind in damage.BYTES:
        return Input(subject, kind, {name: damage.BYTES[kind](data, chance)})
    if kind == "gone":
        return Input(subject, kind, {name: None})
    if kind == "spliced":
        return Input(subject, kind, {name: damage.splice(data, subject.twin[subject.pair(name)], chance)})
    if kind == "swapped":
        return Input(subject, kind, swapped(subject, name, chance))
    if name.endswith(".safetensors"):
        change = damage.length if kind == "header length" else damage.edited_header
        return Input(subject, "header length" if kind == "header length" else "header edited", {name: change(data, chance)})
    if name.endswith(".json"):
        change = damage.respaced if kind == "respaced" else damage.edited_json
        return Input(subject, "JSON respaced" if kind == "respaced" else "JSON edited", {name: change(data, chance)})
    return Input(subject, "pointer rewritten", {name: chance.choice([b"", b"gen-000001\n", b"../x", chance.randbytes(40)])})


def swapped(subject: Subject, name: str, chance: Random) -> dict[str, bytes | None]:
    """The file of another valid folder, or two files of this one exchanged, or a whole generation in another's place."""
    how = chance.random()
    other = chance.choice([n for n in subject.files if n != name])
    if how < 0.3:
        return {name: subject.twin[subject.pair(name)]}
    if how < 0.6 or not subject.newest():
        return {name: subject.files[other], other: subject.files[name]}
    older = [n for n in subject.files if n.startswith("gen-000001/")]
    some = older if how < 0.8 else chance.sample(older, chance.randint(1, len(older)))
    return {n.replace("gen-000001/", "gen-000002/"): subject.files[n] for n in some}


def resealed(subject: Subject, chance: Random) -> Input:
    name = chance.choice([n for n in subject.sealed() if n.startswith(subject.newest())])
    data = subject.files[name]
    if name == "adapter.json":
        return Input(subject, "JSON edited, resealed", dict(subject.reseal({}, name, chance)), True)
    if name.endswith(".json"):
        kind, data = "JSON edited, resealed", damage.edited_json(data, chance)
    else:
        kind, change = chance.choice([("header edited, resealed", damage.edited_header)] * 4 + [
            ("not finite, resealed", damage.poisoned), ("cut, resealed", damage.cut), ("header length, resealed", damage.length)])
        data = change(data, chance)
    return Input(subject, kind, dict(subject.reseal({name: data}, name, chance)), True)


def run(progress: Callable[..., None], count: int = COUNT, seed: int = SEED) -> dict[str, Any]:
    """Try ``count`` inputs; the report says what became of them, per way of damage, and keeps the first failures with their number."""
    model = tiny_vit()
    all_subjects = subjects(model)
    before, started = state_hash(model), time.perf_counter()
    verdicts: list[tuple[Input, Verdict]] = []
    failures: list[dict[str, Any]] = []
    untouched = True
    place = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as scratch, Watchdog():
        bench = Bench(all_subjects, Path(scratch))
        for index in range(count):
            tried = make(all_subjects, index, seed)
            verdict = bench.judge(tried)
            verdicts.append((tried, verdict))
            if verdict.problem and len(failures) < FAILURES_KEPT:
                failures.append({"input": index, "subject": tried.subject.name, "mutator": tried.mutator, "files": sorted(tried.changed),
                                 "outcome": verdict.outcome, "error": verdict.error, "extra_mb": round(verdict.extra_mb, 1)})
            if index % 500 == 499 or index == count - 1:
                untouched = untouched and state_hash(model) == before
                progress(f"fuzz: {index + 1} of {count} inputs, {len(failures)} failures")
    return _report(verdicts, failures, untouched) | {"seed": seed, "seconds": round(time.perf_counter() - started, 1)}


def _spread(values: list[float]) -> dict[str, float]:
    values = sorted(values)
    found = {"p50": statistics.median(values), "p99": values[int(0.99 * (len(values) - 1))], "max": values[-1]}
    return {name: round(value, 3) for name, value in found.items()}


def _report(verdicts: list[tuple[Input, Verdict]], failures: list[dict[str, Any]], untouched: bool) -> dict[str, Any]:
    outcomes = Counter(v.outcome for _, v in verdicts)
    refusals = [v for _, v in verdicts if v.outcome == "refused"]
    busy = _spread([1000 * v.busy for v in refusals])
    ways: dict[str, Counter] = {}
    for tried, verdict in verdicts:
        ways.setdefault(tried.mutator, Counter()).update([verdict.outcome])
    found = {
        "inputs": len(verdicts), "refused": outcomes["refused"], "accepted_byte_equal": outcomes["equal"],
        "older_generation_whole": outcomes["older whole"], "accepted_resealed_same_tensors": outcomes["same tensors"],
        "accepted_wrongly": outcomes["accepted"],
        "refused_though_whole": outcomes["refused whole"], "foreign_exceptions": outcomes["foreign"], "hangs": outcomes["hang"],
        "over_64_mb": sum(v.extra_mb > EXTRA_MB for _, v in verdicts),
        "largest_extra_mb": round(max(v.extra_mb for _, v in verdicts), 2),
        "refusal_ms": _spread([1000 * v.seconds for v in refusals]), "refusal_processor_ms": busy,
        "model_untouched": untouched, "failures": failures,
        "by_subject": dict(Counter(tried.subject.name for tried, _ in verdicts)),
        "by_error": dict(Counter(v.error for v in refusals if v.error).most_common()),
        "by_mutator": {name: dict(counted) for name, counted in sorted(ways.items())},
    }
    found["passed"] = bool(not failures and untouched and busy["p99"] <= REFUSAL_MS)
    return found
