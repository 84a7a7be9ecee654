"""Where the published layout keeps images and stored features of the image-text tasks, below one folder ``datasets``.

    COCO/images/{train2014,val2014}/<id>.jpg     vqa, caption     COCO/clip_features/data_clip_RN101_att/<id>.h5
    VG/{VG_100K,VG_100K_2,images}/<id>.jpg       gqa train        VG/clip_features/...
    GQA/images/<id>.jpg                          gqa val          GQA/clip_features/...
    nlvr/images/<id>.png                         nlvr             nlvr/clip_features/...
    (no videos)                                  video tasks      video/vis_features/{tv,how2,yc2}/clip-vit/<id>.npz
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from inarch.data.pairs.draft import Draft
from inarch.data.pairs.example import Pairs, ordered_images

COCO = ("COCO/images/train2014", "COCO/images/val2014")
IMAGES = {
    "vqa": (COCO, ".jpg"),
    "caption": (COCO, ".jpg"),
    "gqa": (("VG/VG_100K", "VG/VG_100K_2", "VG/images", "GQA/images"), ".jpg"),
    "nlvr": (("nlvr/images",), ".png"),
}
GRIDS = {"vqa": ("COCO",), "caption": ("COCO",), "gqa": ("VG", "GQA"), "nlvr": ("nlvr",)}
CLIPS = {"tvqa": "tv", "tvc": "tv", "how2qa": "how2", "yc2c": "yc2"}


class Files(Mapping[str, Path]):
    """Image id -> its file in the first of ``folders`` that has it; the disk is asked when an id is."""

    def __init__(self, ids: tuple[str, ...], folders: list[Path], suffix: str) -> None:
        self.ids, self.folders, self.suffix = ids, folders, suffix

    def __getitem__(self, image: str) -> Path:
        for folder in self.folders:
            if os.path.isfile(path := folder / f"{image}{self.suffix}"):
                return path
        raise KeyError(image)

    def __iter__(self) -> Iterator[str]:
        return (image for image in self.ids if image in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def images(root: Path, task: Draft | Pairs) -> Files | None:
    """The task's images, where there is a folder of them."""
    folders, suffix = IMAGES.get(task.protocol.name, ((), ""))
    return _files(task, [root / folder for folder in folders], suffix)


def features(root: Path, task: Draft | Pairs) -> Files | None:
    """The task's stored features, where there is a folder of them; of several towers that of the paper, RN101."""
    name = task.protocol.name
    if name in CLIPS:
        return _files(task, [root / "video/vis_features" / CLIPS[name] / "clip-vit"], ".npz")
    towers = [sorted((root / place / "clip_features").glob("data_clip_*_att")) for place in GRIDS.get(name, ())]
    return _files(task, [next((t for t in found if "_RN101_" in t.name), found[0]) for found in towers if found], ".h5")


def _files(task: Draft | Pairs, folders: list[Path], suffix: str) -> Files | None:
    there = [folder for folder in folders if folder.is_dir()]
    ids = ordered_images(example for part in task.parts.values() for example in part)
    return Files(tuple(ids), there, suffix) if there else None
