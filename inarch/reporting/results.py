"""Finished runs as numbers for one table: ``result.json`` read strictly, with everything that makes two of them differ.

A run folder, a result file, or a folder of either is read; what cannot be used is named with the reason, never dropped silently.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch import files
from inarch.backbones.address import WEIGHTS
from inarch.errors import ConfigError, Corrupt, DataError, InarchError
from inarch.places import place
from inarch.reporting.shots import Shots, shots_of
from inarch.reporting.tasks import of_tasks

FORMAT = 1
SEEN, UNKNOWN = "†", "‡"  # the backbone was pre-trained on images of this set; whether it was is not recorded
EMBEDDED = "mini-vit"
RECORD = WEIGHTS / EMBEDDED / "origin.json"  # ships with the weights
RESULT = "result.json"
UNFINISHED = ("run.json", "recipe.toml")  # a folder that holds one of these is a run
EXPECTED: dict[str, type | tuple[type, ...]] = {
    "format": int, "recipe": dict, "method": str, "config": dict, "backbone": dict, "data": dict, "count": dict,
    "metrics": dict, "epochs": int, "seconds": (int, float), "seed": int,
}
# what a number does not depend on, or what has a column of its own; every other recipe field tells two rows apart
NEUTRAL = frozenset((
    "data", "backbone", "method", "set", "out", "seed", "image_size", "image_column", "label_column", "device", "workers",
    "threads", "eval_batch_size", "cache_features", "test", "checkpoint_every", "keep", "tensorboard", "report_to",
    "features", "tower", "watch",
))
# fields that the first results did not have: where one is not stated, the run was as the default says
LATER: dict[str, Any] = {"limit": 0, "tasks": [], "visual_tokens": None, "beams": None, "data_order": "seeded", "schedule": "cosine",
                         "adam_eps": 1e-8, "decay": "all", "recipe": "", "protocol": "base-to-novel", "shots": 16,
                         "templates": ["a photo of a {}."], "transfer": [], "names_per_update": 0, "keep_text": 0.0, "keep_image": 0.0,
                         "keep_logits": 0.0, "keep_scale": 0.0, "probe": "off", "probe_share": 0.3, "least_updates": 0,
                         "most_updates": 0, "warmup_lr": None, "optimizer": "adamw"}
SUFFIXES = (".npz", ".csv", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class Result:
    """One run, or one task of it: where it stands, what was asked of it, and what came out.

    ``score`` is on test, a fraction (of CIDEr: its value, 1.14 for the 114 of papers); ``val`` likewise.
    """

    path: str
    method: str  # its recipe line
    data: str
    data_sha: str
    backbone: str
    backbone_sha: str | None
    image_size: int | None
    seed: int
    metric: str
    score: float | None
    val: float | None
    without_head: int
    with_head: int
    adapter_bytes: int | None
    epoch_seconds: float | None
    settings: Mapping[str, Any]
    selection: str
    hardware: str
    commit: str
    finished: str
    sets_seen: tuple[str, ...] | None = None  # what the backbone's own record says it was pre-trained on
    part: str = "test"  # where ``score`` was taken: validation for a task without a test part of its own
    shots: Shots | None = None  # of a few-shot run
    mean: float | None = None  # of all tasks of the run, where it has several


@dataclass(frozen=True)
class Found:
    """Results, what could not be used, and records of pre-training that lay among them."""

    results: tuple[Result, ...]
    problems: tuple[str, ...]
    sets_seen: tuple[str, ...] | None


def read_all(paths: Sequence[str | Path]) -> Found:
    """Everything below ``paths``, each file once; raises ``DataError`` when there is no result at all."""
    results: list[Result] = []
    problems: list[str] = []
    seen = None
    for path in dict.fromkeys(Path(os.path.abspath(f)) for p in paths for f in _candidates(place(p))):
        try:
            fields = _fields(path)
            if _is_pretraining(fields):
                seen = _names(fields, path)
            else:
                results += results_of(fields, path)
        except InarchError as problem:
            problems.append(str(problem))
    if not results:
        raise DataError("nothing to compare: " + ("; ".join(problems) or f"no .json file below {', '.join(map(str, paths))}"))
    return Found(tuple(results), tuple(problems), seen)


def _candidates(path: Path) -> Iterator[Path]:
    """Files to read: of a run folder its result alone, of any other folder every ``.json`` below it, links not followed."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give run folders, result.json files or a folder of them")
    if path.is_file():
        yield path
        return
    for folder, below, names in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if RESULT in names or any(name in names for name in UNFINISHED):
            below.clear()
            yield Path(folder, RESULT)
        else:
            yield from (Path(folder, name) for name in sorted(names) if name.endswith(".json") and not name.startswith("."))


def _fields(path: Path) -> dict[str, Any]:
    if path.name == RESULT and not path.exists():
        raise DataError(f"{path.parent}: the run has no {RESULT}, it has not finished; resume it, or leave it out")
    return files.parse_json(files.read(path, cap=1 << 26), path)


def _is_pretraining(fields: Mapping[str, Any]) -> bool:
    return "sets_seen" in fields and "recipe" not in fields


def pretraining(path: Path) -> tuple[str, ...]:
    """The data sets that a backbone's record of pre-training names."""
    return _names(_fields(path), path)


def embedded_record() -> tuple[str, ...] | None:
    """What mini-vit was pre-trained on, from the record beside its weights; None where there is none."""
    return pretraining(RECORD) if RECORD.is_file() else None


def mark(result: Result, record: tuple[str, ...] | None) -> str:
    """Whether the backbone knows this data already: by its own word, or by the record if it is the embedded one."""
    own = result.sets_seen
    seen = own if own is not None else record if result.backbone == EMBEDDED else ()
    if seen is None:
        return UNKNOWN
    return SEEN if result.data in seen else ""


def _names(fields: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    names = want(fields, "sets_seen", list, path)
    if not all(isinstance(name, str) for name in names):
        raise Corrupt(f"{path}: sets_seen is {names!r:.60}; expected names of data sets")
    return tuple(names)


def results_of(fields: Mapping[str, Any], path: Path) -> list[Result]:
    """The result of a run, or one per task where it answers and describes."""
    whole = result_of(fields, path)
    return of_tasks(whole, fields, path) if isinstance(fields.get("tasks"), dict) else [whole]


def result_of(fields: Mapping[str, Any], path: Path) -> Result:
    """One result from its JSON; raises ``Corrupt`` naming the first key that is missing or of another type."""
    for key, kind in EXPECTED.items():
        want(fields, key, kind, path)
    if fields["format"] != FORMAT:
        raise Corrupt(f"{path}: result format {fields['format']}; this version reads {FORMAT}: update inarch, or train again")
    recipe, data, backbone, count = (fields[key] for key in ("recipe", "data", "backbone", "count"))
    source = backbone.get("source", backbone)
    metric, score, val = _scores(fields["metrics"], path)
    head = want(count, "head", int, path)
    trainable = want(count, "trainable", int, path)
    return Result(
        path=str(path), method=line(fields["method"], fields["config"]),
        data=str(data.get("dataset") or _data_name(want(data, "source", str, path))),
        data_sha=str(data.get("listing_sha256") or want(data, "sha256", str, path)),  # few-shot: every seed has images of its own
        backbone=str(source.get("name") or recipe.get("backbone")), backbone_sha=source.get("sha256"),
        image_size=backbone.get("image_size") or recipe.get("image_size"), seed=fields["seed"],
        metric=metric, score=score, val=val,
        without_head=trainable - head, with_head=trainable, adapter_bytes=fields.get("adapter_bytes"),
        epoch_seconds=fields["seconds"] / fields["epochs"] if fields["epochs"] else None,
        settings=_settings(fields), selection=str(fields.get("selection")), hardware=str(fields.get("hardware")),
        commit=str(fields.get("commit")), finished=str(fields.get("finished")),
        sets_seen=_names(source, path) if "sets_seen" in source else None, shots=shots_of(fields, path),
    )


def want(fields: Mapping[str, Any], key: str, kind: type | tuple[type, ...], path: Path) -> Any:
    """``fields[key]`` of this type; a truth value is no number."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    names = " or ".join(k.__name__ for k in kinds)
    if key not in fields:
        there = ", ".join(sorted(fields)[:8]) or "nothing"
        raise Corrupt(f"{path} is no result of inarch: it has no {key!r} ({names}); found {there}")
    if not isinstance(fields[key], kinds) or isinstance(fields[key], bool):
        raise Corrupt(f"{path}: {key} is {fields[key]!r:.60}; expected {names}")
    return fields[key]


def _scores(metrics: Mapping[str, Any], path: Path) -> tuple[str, float | None, float | None]:
    """The headline metric's name and its value on test and on val; ``accuracy``, ``mAP`` of a many-label task, ``recall`` of captions."""
    parts = [metrics.get("test") or {}, metrics.get("val") or {}]
    name = next((name for name in ("mAP", "recall") if any(name in part for part in parts)), "accuracy")
    values = [part.get(name) for part in parts]
    for value in values:
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise Corrupt(f"{path}: {name} is {value!r}; expected a fraction from 0 to 1")
    return name, values[0], values[1]


def _settings(fields: Mapping[str, Any]) -> dict[str, Any]:
    """All that a number depends on and that has no column: two results with other settings are never averaged."""
    recipe = {key: value for key, value in (LATER | fields["recipe"]).items() if key not in NEUTRAL}
    told = {"epochs": fields["epochs"], "selection": fields.get("selection"), "trained numbers": fields["count"]["trainable"]}
    return recipe | told


def _data_name(address: str) -> str:
    """``eurosat10`` of ``../data/eurosat10.npz``; ``pets`` of ``datasets:org/pets``."""
    name = re.split(r"[/\\:]", address.rstrip("/\\"))[-1] or address
    return next((name.removesuffix(end) for end in SUFFIXES if name.lower().endswith(end)), name)


def line(method: str, config: Mapping[str, Any], *, whole: bool = False) -> str:
    """``ARC(rank=50, dropout=0.1)``: the rank, and every field that is not at its default; with ``whole`` all that are set.

    >>> line("arc", {"rank": 50, "dropout": 0.1, "bias": True})
    'ARC(rank=50, dropout=0.1)'
    """
    from inarch.methods import method_named

    try:
        known = method_named(method)
    except ConfigError:  # another library's method, or a later version's: every field is said
        return _call(method, config)
    usual = {f.name: list(f.default) if isinstance(f.default, tuple) else f.default for f in dataclasses.fields(known)}
    order = [name for name in usual if name in config] + sorted(config.keys() - usual.keys())
    usual = {name: None for name in usual} if whole else usual | {"rank": None}
    return _call(known.__name__, {name: config[name] for name in order if name not in usual or config[name] != usual[name]})


def _call(name: str, fields: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in fields.items())})" if fields else name
