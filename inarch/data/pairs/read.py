"""``read_pairs``: read what is there, refuse what is wrong, draw missing parts by image, cut to a limit, hash the rest.

    read -> look at every image at hand -> refuse -> (split) -> (limit) -> sha256
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Container, Mapping
from pathlib import Path

from inarch.data.check import Progress
from inarch.data.images import MAX_PIXELS, shown
from inarch.data.pairs import places
from inarch.data.pairs.annotations import jsonl_rows
from inarch.data.pairs.arrays import read_arrays
from inarch.data.pairs.coco import FILE, read_coco
from inarch.data.pairs.draft import Draft
from inarch.data.pairs.example import Example, Pairs
from inarch.data.pairs.gqa import FILES as GQA
from inarch.data.pairs.gqa import read_gqa
from inarch.data.pairs.look import Seen, look_at, missing
from inarch.data.pairs.nlvr import FILES as NLVR
from inarch.data.pairs.nlvr import read_nlvr
from inarch.data.pairs.own import read_own
from inarch.data.pairs.protocols import PROTOCOLS, Protocol
from inarch.data.pairs.split import by_image, limited
from inarch.data.pairs.value import TASKS, read_value
from inarch.data.pairs.vqa import FILES as VQA
from inarch.data.pairs.vqa import read_vqa
from inarch.data.table import Problem
from inarch.errors import ConfigError, DataError, nearest

Reader = Callable[[Path, Draft], None]
PUBLISHED: dict[str, tuple[Reader, str]] = {  # task -> its reader, and the first of its training files
    "vqa": (read_vqa, VQA["train"][0]),
    "gqa": (read_gqa, GQA["train"][0]),
    "nlvr": (read_nlvr, NLVR["train"][0]),
    "caption": (read_coco, FILE),
    **{name: (read_value, task.files["train"][0]) for name, task in TASKS.items()},
}
JSONL, NPZ = (".jsonl", ".ndjson"), ".npz"
CAPTIONED = {"caption", "captions"}
ORDER = ("train", "val", "test")


def read_pairs(
    address: str | Path,
    task: str = "",
    *,
    prompt: str | None = None,
    limit: Mapping[str, int] | None = None,
    val_fraction: float = 0.2,
    test_fraction: float = 0.0,
    seed: int = 0,
    available: Container[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> Pairs:
    """The examples of one task, or ``DataError`` saying what is wrong before anything is trained.

    ``task`` names a published layout below the folder ``address``; for one's own ``.jsonl`` or ``.npz`` it may be left out,
    or name the protocol to use. ``prompt`` replaces the published one. ``limit`` cuts parts to that many examples, drawn by
    ``seed``. The fractions apply where the data has no parts of its own. ``available`` holds the ids of stored features.

    >>> read_pairs("datasets", "gqa").parts["train"][0].text
    'gpa: What is on the white wall?'
    """
    _check_fractions(val_fraction, test_fraction, seed)
    if str(address).startswith("scenes:"):
        from inarch.scenes.read import read_scenes  # which stands on this file

        return read_scenes(str(address), task, prompt=prompt, limit=limit, seed=seed)
    draft = read_draft(address, task, prompt)
    seen = look_at(draft, draft.images, max_pixels, progress) if is_file(address) else Seen()
    if available is not None:
        missing(draft, available)
    refuse(draft, address, task)
    parts = draft.parts
    if not draft.whole:
        parts = by_image(parts["train"], {"test": test_fraction, "val": val_fraction}, seed, seen.pixels)
    parts = limited({part: parts[part] for part in ORDER if part in parts}, limit or {}, seed, draft.notes)
    final = {part: tuple(examples) for part, examples in parts.items()}
    return Pairs(draft.protocol, final, fingerprint(draft.protocol, final, seen), draft.source, tuple(draft.notes), draft.images)


def read_draft(address: str | Path, task: str, prompt: str | None = None) -> Draft:
    """All that the annotations say, and all that is wrong with them."""
    place = Path(os.path.expanduser(address))
    if not place.exists():
        raise DataError(f"{shown(place)}: no such file or folder; expected one's own .jsonl or .npz, or a published layout")
    draft = _own(place, task, prompt) if is_file(place) else _published(place, task, prompt)
    if not draft.parts.get("train") and not draft.problems:
        draft.problems.append(Problem(draft.source, "no training examples found"))
    return draft


def _own(file: Path, task: str, prompt: str | None) -> Draft:
    arrays = file.suffix.lower() == NPZ
    kind = "qa" if arrays and not zipfile.is_zipfile(file) else own_kind(file)  # its reader says what is wrong with a damaged file
    if kind is None:
        keys = "question and answer, or sentence and label" if arrays else "question, caption or captions"
        raise DataError(f"{shown(file)}: no image-text data; expected {keys} among its keys")
    if task and task not in PROTOCOLS:
        raise ConfigError(f"task {task!r}; {nearest(task, PROTOCOLS)}")
    if task and (PROTOCOLS[task].metric == "cider") != (kind == "captions"):
        raise ConfigError(f"task {task!r} does not suit {shown(file)}, which holds {kind}; leave the task out")
    draft = Draft(_prompted(PROTOCOLS[task or kind], prompt), shown(file))
    (read_arrays if arrays else read_own)(file, draft)
    return draft


def _published(root: Path, task: str, prompt: str | None) -> Draft:
    if task not in PUBLISHED:
        found = ", ".join(tasks_at(root)) or "none of them"
        raise ConfigError(f"task {task!r} of {shown(root)}; expected one of {', '.join(PUBLISHED)}; found below it: {found}")
    draft = Draft(_prompted(PROTOCOLS[task], prompt), shown(root))
    PUBLISHED[task][0](root, draft)
    draft.images = places.images(root, draft) or {}
    return draft


def is_file(address: str | Path) -> bool:
    """Whether the data are one's own file rather than a published layout."""
    place = Path(os.path.expanduser(address))
    return place.suffix.lower() in (*JSONL, NPZ) and place.is_file()


def _prompted(protocol: Protocol, prompt: str | None) -> Protocol:
    return protocol if prompt is None else dataclasses.replace(protocol, prompt=prompt)


def own_kind(file: Path) -> str | None:
    """``qa``, ``nlvr`` or ``captions`` by the keys of a ``.jsonl`` or ``.npz`` file; None: it holds no image-text data."""
    if file.suffix.lower() == NPZ:
        try:
            with zipfile.ZipFile(file) as archive:
                keys = {Path(name).stem for name in archive.namelist()}
        except (OSError, zipfile.BadZipFile):
            return None
        return "nlvr" if {"sentence", "images"} <= keys else "qa" if {"question", "questions"} & keys else None
    for row in jsonl_rows(file, Draft(PROTOCOLS["qa"], "")):
        if "question" in row.cells:
            return "qa"
        if CAPTIONED & row.cells.keys():
            return "captions"
    return None


def tasks_at(address: str | Path) -> tuple[str, ...]:
    """The image-text tasks that ``inarch check-data`` finds there: published ones of a folder, ``("",)`` for one's own file."""
    place = Path(os.path.expanduser(address))
    if is_file(place):
        return ("",) if own_kind(place) else ()
    return tuple(task for task, (_, file) in PUBLISHED.items() if (place / file).is_file())


def refuse(draft: Draft, address: str | Path, task: str) -> None:
    if not draft.problems:
        return
    first = "\n  ".join(map(str, draft.problems[:3]))
    more = f"\n  and {len(draft.problems) - 3} more" if len(draft.problems) > 3 else ""
    cure = f"inarch check-data {shown(address)}{f' --task {task}' if task else ''}"
    raise DataError(f"{len(draft.problems)} problem(s) in the data:\n  {first}{more}\n`{cure}` lists all of them")


def _check_fractions(val_fraction: float, test_fraction: float, seed: int) -> None:
    for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= fraction < 1:
            raise ConfigError(f"{name} is {fraction}; expected 0 <= {name} < 1")
    if val_fraction + test_fraction >= 1:
        raise ConfigError(f"val_fraction {val_fraction} + test_fraction {test_fraction} leave no training examples")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; expected a whole number of at least 0")


def fingerprint(protocol: Protocol, parts: Mapping[str, tuple[Example, ...]], seen: Seen) -> str:
    """SHA-256 over the protocol, every example of every part in order, and the bytes of the images that were looked at."""
    total = hashlib.sha256(json.dumps(dataclasses.asdict(protocol), sort_keys=True).encode())
    used: dict[str, bytes] = {}
    for part, examples in sorted(parts.items()):
        total.update(json.dumps([part, len(examples)]).encode())
        for e in examples:
            total.update(ascii((e.key, e.images, e.text, e.targets, e.references, e.group)).encode())
            used |= {image: seen.content[image] for image in e.images if image in seen.content}
    for image, digest in sorted(used.items()):
        total.update(json.dumps(image).encode() + digest)
    return total.hexdigest()
