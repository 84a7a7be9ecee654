"""Folders of images: ``root/CLASS/*.jpg``, or the same below ``root/train``, ``root/val`` and ``root/test``.

A class is a folder directly below its part; images deeper down belong to it too. Names that begin with a dot (and
``__MACOSX``) are ignored. Files that are no images are counted in the notes; images of a refused format are problems.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from inarch.data.draft import PART_NAMES, Draft, Options, class_name, file_part, twins, unprintable
from inarch.data.images import shown
from inarch.data.table import Problem
from inarch.errors import DataError

ACCEPTED = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp"})
REFUSED = frozenset(
    {".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".eps", ".ps", ".psd", ".svg", ".pdf"}
    | {".fits", ".fit", ".jp2", ".tga", ".ppm", ".pgm", ".ico"}
)
IMAGES = ACCEPTED | REFUSED  # the refused ones are kept as candidates, so that the check names them instead of dropping them


def read_folder(root: Path, options: Options) -> Draft:
    """Both layouts; the one with parts is recognised by its ``train`` folder."""
    walk = _Walk(root)
    draft = Draft(str(root), {}, problems=walk.problems, notes=walk.notes)
    below = walk.folders(root)
    parts = _part_folders(root, below, walk)
    if parts:
        walk.loose(root, has_classes=True)
    else:
        walk.read(root, below, "train", draft)
    for part, folder in parts.items():
        walk.read(folder, walk.folders(folder), part, draft)
    if walk.strays:
        walk.notes.append(f"{len(walk.strays)} files are not images and were not used (first: {shown(walk.strays[0])})")
    return draft


def _part_folders(root: Path, folders: list[Path], walk: _Walk) -> dict[str, Path]:
    found: dict[str, Path] = {}
    others = []
    for folder in folders:
        part = PART_NAMES.get(folder.name.casefold())
        if part is None:
            others.append(folder.name)
        elif part in found:
            raise DataError(f"{shown(root)}: both {found[part].name}/ and {folder.name}/ could be {part}; keep one of them")
        else:
            found[part] = folder
    if found and "train" not in found and walk.problems:
        raise DataError(str(walk.problems[0]))  # most likely train/ itself is the link that was refused
    if found and "train" not in found:
        there = ", ".join(f"{folder.name}/" for folder in found.values())
        raise DataError(f"{shown(root)}: has {there} but no train/; add train/, or name the classes of your data otherwise")
    if found and others:
        walk.notes.append(f"folders beside train/ are not used: {', '.join(map(shown, others))}")
    return found


class _Walk:
    """One pass below ``root``: collects images, strays and problems, and never leaves the root or runs in a circle."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.real = Path(os.path.realpath(root))
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.strays: list[Path] = []

    def read(self, folder: Path, classes: list[Path], part: str, draft: Draft) -> None:
        self.loose(folder, has_classes=bool(classes))
        self._names(folder, [c.name for c in classes])
        files: list[Path] = []
        labels: list[tuple[str, ...]] = []
        for path in classes:
            inside = self._class_files(path, part)
            files += inside
            labels += [(class_name(path.name),)] * len(inside)
        draft.parts[part] = file_part(self.root, files, labels)

    def folders(self, folder: Path) -> list[Path]:
        return [path for path in self._entries(folder) if path.is_dir() and self._stays(path)]

    def _entries(self, folder: Path) -> list[Path]:
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise DataError(f"{shown(folder)}: cannot be listed: {error.strerror}") from error
        return [folder / name for name in names if not name.startswith(".") and name != "__MACOSX"]

    def _stays(self, path: Path) -> bool:
        """Whether ``path``, if it is a link, ends inside the root; a problem otherwise."""
        target = Path(os.path.realpath(path))  # realpath, because Path.resolve raises on a looping link
        if not path.is_symlink() or target.is_relative_to(self.real):
            return True
        self._problem(path, f"a link that leaves the data folder (to {shown(target)}); copy the files instead")
        return False

    def _problem(self, path: Path, reason: str) -> None:
        self.problems.append(Problem(shown(path), reason))

    def loose(self, folder: Path, *, has_classes: bool) -> None:
        """Images beside the class folders belong to no class."""
        loose = [path for path in self._entries(folder) if not path.is_dir() and path.suffix.lower() in IMAGES]
        if loose and has_classes:
            reason = f"{len(loose)} images lie beside the class folders (first: {shown(loose[0].name)}); move them into one"
            self._problem(folder, reason)
        elif loose:
            self._problem(folder, f"{len(loose)} images but no class folders; expected {shown(folder.name)}/CLASS/image.jpg")
        self.strays += [path for path in self._entries(folder) if path.is_file() and path.suffix.lower() not in IMAGES]

    def _names(self, folder: Path, names: list[str]) -> None:
        for one, other in twins(names, ignore_case=True):
            self._problem(folder, f"class folders {one!a} and {other!a} differ only in case or Unicode form; rename one")
        for name in names:
            if reason := unprintable(name):
                self._problem(folder, f"class folder {name!a} {reason}; rename it")

    def _class_files(self, folder: Path, part: str) -> list[Path]:
        before = len(self.strays)
        files = list(self._files(folder, (Path(os.path.realpath(folder)),)))
        if not files and part == "train":  # an absent class in val or test is fine: the list comes from train
            strays = len(self.strays) - before
            self._problem(folder, f"a class folder without images ({strays} other files); add images or remove it")
        return files

    def _files(self, folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
        for path in self._entries(folder):
            if not self._stays(path):
                continue
            if path.is_dir():
                yield from self._below(path, above)
            elif path.suffix.lower() in IMAGES:
                yield path
            else:
                self.strays.append(path)

    def _below(self, path: Path, above: tuple[Path, ...]) -> Iterator[Path]:
        place = Path(os.path.realpath(path))
        if place in above:
            self._problem(path, "a link to a folder that contains it; remove the link")
        else:
            yield from self._files(path, (*above, place))
