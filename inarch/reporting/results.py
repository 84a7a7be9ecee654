"""Finished runs as numbers for one table: ``result.json`` read strictly, with everything that makes two of them differ."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inarch import files
from inarch.backbones.address import WEIGHTS
from inarch.errors import ConfigError, Corrupt
from inarch.reporting.shots import Shots, shots_of
from inarch.reporting.tasks import of_tasks
from inarch.seal import SEAL

FORMAT = 1
SEEN, UNKNOWN = "†", "‡"  # the backbone was pre-trained on images of this set; whether it was is not recorded
EMBEDDED = "mini-vit"
RECORD = WEIGHTS / EMBEDDED / "origin.json"  # ships with the weights
EXPECTED: dict[str, type | tuple[type, ...]] = {
    "format": int, "recipe": dict, "method": str, "config": dict, "backbone": dict, "data": dict, "count": dict,
    "metrics": dict, "epochs": int, "seconds": (int, float), "seed": int,
}
# what a number does not depend on, or what has a column of its own; every other recipe field tells two rows apart
NEUTRAL = frozenset((
    "data", "backbone", "method", "set", "out", "seed", "image_size", "image_column", "label_column", "device", "workers",
    "threads", "eval_batch_size", "cache_features", "test", "checkpoint_every", "keep", "tensorboard", "report_to",
    "features", "tower", "watch", "recompute", "rebuild", "cache_folder", "evaluate_every",
))
# fields that the first results did not have: where one is not stated, the run was as the default says
LATER: dict[str, Any] = {"limit": 0, "tasks": [], "visual_tokens": None, "beams": None, "data_order": "seeded", "schedule": "cosine",
                         "adam_eps": 1e-8, "decay": "all", "recipe": "", "protocol": "base-to-novel", "shots": 16,
                         "templates": ["a photo of a {}."], "transfer": [], "names_per_update": 0, "keep_text": 0.0, "keep_image": 0.0,
                         "keep_logits": 0.0, "keep_scale": 0.0, "probe": "off", "probe_share": 0.3, "least_updates": 0,
                         "most_updates": 0, "warmup_lr": None, "optimizer": "adamw", "split_seed": None, "cache_dtype": None,
                         "half_base": False, "quantised_base": None, "rebuild": True}
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
    name: str = ""  # the method's, as the recipe says it
    address: str = ""  # the backbone's
    recipe: Mapping[str, Any] = field(default_factory=dict)
    saved: float | None = None  # bytes kept for backward, per example of the first micro-batch; None where the run did not count them
    train_loss: float | None = None  # mean of the last epoch; None where nothing trained or the run did not say
    sealed: bool = False  # it would show if somebody had changed it
    trial: bool = False  # one of the runs that choose a setting on validation: it leaves the test part alone

    @property
    def headline(self) -> float | None:
        """What a run is judged by: the harmonic mean where it has base and novel classes, else its score."""
        return self.score if self.shots is None or self.shots.novel is None else self.shots.harmonic


def read_fields(path: Path) -> dict[str, Any]:
    return files.parse_json(files.read(path, cap=1 << 26), path)


def is_pretraining(fields: Mapping[str, Any]) -> bool:
    return "sets_seen" in fields and "recipe" not in fields


def pretraining(path: Path) -> tuple[str, ...]:
    """The data sets that a backbone's record of pre-training names."""
    return names_of(read_fields(path), path)


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


def names_of(fields: Mapping[str, Any], path: Path) -> tuple[str, ...]:
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
    head, trainable = _counts(count, path)
    return Result(
        path=str(path), method=line(fields["method"], fields["config"]),
        data=str(data.get("dataset") or data_name(want(data, "source", str, path))),
        data_sha=str(data.get("listing_sha256") or want(data, "sha256", str, path)),  # few-shot: every seed has images of its own
        backbone=str(source.get("name") or recipe.get("backbone")).removeprefix("./"), backbone_sha=source.get("sha256"),
        image_size=backbone.get("image_size") or recipe.get("image_size"), seed=fields["seed"],
        metric=metric, score=score, val=val,
        without_head=trainable - head, with_head=trainable, adapter_bytes=fields.get("adapter_bytes"),
        epoch_seconds=fields["seconds"] / fields["epochs"] if fields["epochs"] else None,
        settings=_settings(fields), selection=str(fields.get("selection")), hardware=str(fields.get("hardware")),
        commit=str(fields.get("commit")), finished=str(fields.get("finished")),
        sets_seen=names_of(source, path) if "sets_seen" in source else None, shots=shots_of(fields, path),
        name=fields["method"], address=str(backbone.get("address") or recipe.get("backbone")), recipe=recipe,
        saved=_saved(fields, path), train_loss=_train_loss(fields, path), sealed=SEAL in fields, trial=recipe.get("test") is False,
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


def _counts(count: Mapping[str, Any], path: Path) -> tuple[int, int]:
    """Numbers of the head and all that trained; ``Corrupt`` where they were counted by another convention than ours."""
    head, trainable = want(count, "head", int, path), want(count, "trainable", int, path)
    without = count.get("without_head", trainable - head)
    if not 0 <= head <= trainable or without != trainable - head:
        raise Corrupt(f"{path}: of {trainable} trained numbers {head} are the head's and {without} are not; these do not add up, so "
                      "they follow another convention and cannot stand beside others: train again")
    return head, trainable


def _saved(fields: Mapping[str, Any], path: Path) -> float | None:
    """Bytes per example; None where the run did not say, 0 where nothing trained."""
    if "saved_bytes" not in fields:
        return None
    size, examples = (want(fields, key, int, path) for key in ("saved_bytes", "saved_examples"))
    if size < 0 or examples < 0 or (size and not examples):
        raise Corrupt(f"{path}: saved_bytes is {size} for {examples} examples; expected bytes of at least one example")
    return size / examples if examples else 0.0


def _train_loss(fields: Mapping[str, Any], path: Path) -> float | None:
    return None if fields.get("train_loss") is None else float(want(fields, "train_loss", (int, float), path))


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


def data_name(address: str) -> str:
    """``eurosat10`` of ``../data/eurosat10.npz``; ``pets`` of ``datasets:org/pets``."""
    name = re.split(r"[/\\:]", address.rstrip("/\\"))[-1] or address
    return next((name.removesuffix(end) for end in SUFFIXES if name.lower().endswith(end)), name)


def line(method: str, config: Mapping[str, Any], *, whole: bool = False) -> str:
    """``ARC(rank=50, dropout=0.1)``: the rank, and every field that is not at its default, the size first; with ``whole`` all.

    >>> line("arc", {"rank": 50, "dropout": 0.1, "bias": True})
    'ARC(rank=50, dropout=0.1)'
    >>> line("pfeiffer", {"rank": 4, "spans": ["mlp"], "activation": "relu"})  # as the literature calls it, while it is that
    'Pfeiffer(rank=4)'
    """
    from inarch.methods import method_named
    from inarch.methods.registry import of_literature

    try:
        known, setting = method_named(method), of_literature(method, config)
    except ConfigError:  # another library's method, or a later version's: every field is said
        return _call(method, config)
    usual = {f.name: list(f.default) if isinstance(f.default, tuple) else f.default for f in dataclasses.fields(known)}
    order = sorted((name for name in usual if name in config), key=lambda name: name != known.size) + sorted(config.keys() - usual.keys())
    usual = {name: None for name in usual} if whole else usual | {"rank": None} | (setting.fields if setting else {})
    shown = {name: config[name] for name in order if name not in usual or config[name] != usual[name]}
    return _call(setting.title if setting else known.__name__, shown)


def _call(name: str, fields: Mapping[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in fields.items())})" if fields else name
