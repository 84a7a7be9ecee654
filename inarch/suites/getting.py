"""Data sets of the suites: fetched by a public library into a layout that a reader here reads, or told how to get by hand.

    digits               scikit-learn, no network           ROOT/digits.npz
    FGVCAircraft         torchvision.datasets               ROOT/fgvc_aircraft/ as CoOp's code expects it
    torchvision:DTD      torchvision.datasets               ROOT/DTD/{train,val,test}/CLASS/*.png: the whole set, no benchmark's draw of it
    datasets:NAME        the hub, by the datasets library   ROOT/NAME/ as that library saves it
Everything is made in a folder of its own beside the target and renamed at the end: what fails leaves nothing.
"""

from __future__ import annotations

import errno
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inarch.data.readers.hub import PREFIX, named
from inarch.errors import ConfigError, DataError, InarchError, StorageError, nearest, need
from inarch.suites import load_suite, names

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}
Maker = Callable[[Path], None]  # writes the finished set to a path that does not exist yet


@dataclass(frozen=True)
class Source:
    """Who brings a set, how it is made, and what it is called below the root."""

    library: str
    make: Maker
    target: str


WHOLE = "torchvision:"
FOLDERS: dict[str, dict[str, dict[str, Any]]] = {  # class of torchvision.datasets -> part -> what its constructor is told
    "CIFAR100": {"train": {"train": True}, "test": {"train": False}},
    "DTD": {part: {"split": part} for part in ("train", "val", "test")},
    "Flowers102": {part: {"split": part} for part in ("train", "val", "test")},
    "Food101": {part: {"split": part} for part in ("train", "test")},
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "SVHN": {part: {"split": part} for part in ("train", "test")},
}


def sources() -> dict[str, Source]:
    """What a library can fetch, by name."""
    whole = {f"{WHOLE}{kind}": Source("torchvision", _folders(kind, parts), kind) for kind, parts in FOLDERS.items()}
    return {"digits": Source("scikit-learn", _digits, "digits.npz"),
            "FGVCAircraft": Source("torchvision", _aircraft, "fgvc_aircraft"), **whole}


def fetch(name: str, root: str | Path) -> Path | None:
    """Get the set ``name`` below ``root`` and return where it is; None where no library can, and ``instructions`` tell how.

    ``ConfigError`` for an unknown name, ``MissingExtra`` for an absent library, ``DataError`` where the download fails or something
    is there already.
    """
    source = _hub(name) if name.startswith(PREFIX) else sources().get(name)
    if source is None:
        instructions(name)  # refuses an unknown name
        return None
    target = Path(root).expanduser() / source.target
    if target.exists():
        raise DataError(f"{target} is there already; use it, move it away, or choose another --root")
    with _beside(target) as temporary:
        try:
            source.make(temporary)
        except Exception as problem:  # network, archive and format errors of three libraries share no base class
            raise _failed(name, source, problem) from problem
        temporary.replace(target)
    return target


def _failed(name: str, source: Source, problem: Exception) -> InarchError:
    if isinstance(problem, InarchError):
        return problem
    reason = " ".join(f"{type(problem).__name__}: {problem}".split())
    if isinstance(problem, OSError) and problem.errno in FULL:
        return StorageError(f"{name}: {reason}; free space or choose another --root, nothing was written")
    return DataError(f"{name}: {source.library} could not fetch it ({reason}); check the network and try again, nothing was written")


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A path in a hidden folder beside ``target``, on the same disk; the folder goes whatever happens."""
    folder = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    folder.mkdir(parents=True)
    try:
        yield folder / target.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def instructions(name: str) -> list[str]:
    """How to get a set that no library here fetches, from every suite that has a task of that name (or of a suite's name: all of it)."""
    found = []
    for suite in map(load_suite, names()):
        for task in suite.tasks if name != suite.name else ():
            if task.name == name:
                found += [f"{name}, of suite {suite.name}: {task.download}".rstrip(": "), *_of_suite(suite)]
        if name == suite.name:
            found += [f"suite {name}: {suite.title}", *_of_suite(suite)]
    if not found:
        everything = {task.name for suite in map(load_suite, names()) for task in suite.tasks} | {*names(), *sources()}
        raise ConfigError(f"no data set {name!r}; {nearest(name, everything)}; one of the hub is written datasets:NAME")
    return found


def _of_suite(suite: Any) -> list[str]:
    about = [f"{key}: {suite.about[key]}" for key in ("layout", "reader") if key in suite.about]
    return [*suite.about.get("download", "").strip().splitlines(), *about]


def listing() -> list[tuple[str, str, str]]:
    """Name, who fetches it, and the suites that have a task of that name: of everything that is known."""
    tasks: dict[str, list[str]] = {name: [] for name in sources()}
    for suite in map(load_suite, names()):
        for task in suite.tasks:
            tasks.setdefault(task.name, []).append(suite.name)
    libraries = {name: source.library for name, source in sources().items()}
    return [(name, libraries.get(name, "by hand"), ", ".join(suites)) for name, suites in sorted(tasks.items())]


def _digits(target: Path) -> None:
    from inarch.data.draft import Options
    from inarch.data.readers.arrays import read_digits

    draft = read_digits("digits", Options())
    arrays: dict[str, Any] = {"classes": np.array(draft.classes)}
    for name, part in draft.parts.items():
        arrays |= {f"x_{name}": part.sources, f"y_{name}": np.array([int(label) for (label,) in part.labels])}
    with target.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _torchvision() -> Any:
    from inarch.backbones.torchvision import mend_torchvision

    mend_torchvision()
    try:
        import torchvision.datasets
    except ImportError as problem:
        raise need("torchvision", "timm") from problem  # the extra that brings it
    return torchvision.datasets


def _folders(kind: str, parts: dict[str, dict[str, Any]]) -> Maker:
    """Class folders below a folder per part, pictures as PNG, so that no pixel changes."""

    def make(target: Path) -> None:
        library = getattr(_torchvision(), kind)
        for part, options in parts.items():
            rows = library(root=str(target.parent / "download"), download=True, **options)
            for number in range(len(rows)):
                image, label = rows[number]
                folder = target / part / _class(rows, int(label))
                folder.mkdir(parents=True, exist_ok=True)
                image.save(folder / f"{number:06}.png")

    return make


def _class(rows: Any, label: int) -> str:
    """The name of a class as a folder can have it; its number where the library knows no names."""
    classes = getattr(rows, "classes", None)
    return re.sub(r"[\\/:\x00-\x1f]", "-", str(classes[label])).strip(". ") if classes else str(label)


def _aircraft(target: Path) -> None:
    """The official archive, whose data/ is the layout that CoOp's code expects."""
    _torchvision().FGVCAircraft(root=str(target.parent), download=True)
    (target.parent / "fgvc-aircraft-2013b" / "data").replace(target)


def _hub(address: str) -> Source:
    name, _, config = address.removeprefix(PREFIX).partition(":")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or ".." in name:
        raise ConfigError(f"{address}: expected datasets:NAME or datasets:USER/NAME, and a configuration after another colon")

    def make(target: Path) -> None:
        try:
            import datasets
        except ImportError as problem:
            raise need("datasets", "data") from problem
        named(datasets, name, config).save_to_disk(str(target))

    return Source("datasets", make, name.rpartition("/")[2])
