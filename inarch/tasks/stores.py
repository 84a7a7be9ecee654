"""Where a run's image features come from, and that none is missing before anything is trained.

    features = "grids/"             one store, or a folder of stores that are read as one
    tower = "open_clip:RN101/..."   the grids of all images, made first; kept in ``features``, or beside the runs for all of them
    neither                         the backbone's own tower, or what the published layout has stored
A stop loses nothing of what was made, and images that were seen are not seen again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inarch import files
from inarch.backbones.address import backbone_tower
from inarch.data.pairs import Pairs, places
from inarch.errors import ConfigError, DataError
from inarch.tasks.task import Start
from inarch.training.machine import main_first

if TYPE_CHECKING:
    from inarch.features import FeatureStore

CACHE = "features"  # folder beside the run folders
OWN = ("index.json", "features.h5", "unfinished.json")  # a folder with one of these is a store
STORED = (".h5", ".hdf5", ".npz")
LISTED = 1000  # missing images that are named; of more, the number is said
PARTS = ("train", "val", "test")
Tasks = Mapping[str, Pairs]


def store_of(start: Start, tasks: Tasks, parts: Iterable[str] = PARTS) -> FeatureStore:
    """The features of every image of these parts; refuses when one is missing, and lists all that are."""
    found = _opened(start, tasks)
    needed = {image: f"{task} {part}" for task, pairs in tasks.items() for part in parts if part in pairs.parts
              for image in pairs.image_ids(part)}
    absent = found.missing(needed)
    if absent:
        shown = "\n  ".join(f"{image} ({needed[image]})" for image in absent[:LISTED])
        more = f"\n  and {len(absent) - LISTED:,} more" if len(absent) > LISTED else ""
        raise DataError(f"{len(absent):,} of {len(needed):,} images have no features in {found.path}:\n  {shown}{more}\n"
                        "extract them (inarch features), or leave out the examples that need them")
    return found


def _opened(start: Start, tasks: Tasks) -> FeatureStore:
    from inarch.features import open_store

    recipe = start.recipe
    given = start.locate(recipe.features)
    if given and (Path(given).exists() or not recipe.tower):
        return open_store(_places(Path(given)))
    stored = [] if recipe.tower else _published(Path(start.locate(recipe.data)), tasks)
    if stored:
        return open_store(stored)
    tower = tower_of(start)
    if not tower:
        raise ConfigError("a vision-language run needs image features: give features=FOLDER (see inarch features), or tower=ADDRESS of "
                          "an image tower, such as open_clip:RN101/openai, that makes them from the images")
    return extracted(start, tower, _at_hand(tasks), Path(given) if given else None)


def _places(path: Path) -> list[Path]:
    """The store itself, or all stores in a folder of such."""
    if not path.is_dir() or any((path / name).is_file() for name in OWN):
        return [path]
    if any(inside.suffix in STORED for inside in path.iterdir()):
        return [path]
    return sorted(inside for inside in path.iterdir() if inside.is_dir() and not inside.name.startswith(".")) or [path]


def _published(root: Path, tasks: Tasks) -> list[Path]:
    """Folders of stored features of the published layout."""
    if not root.is_dir():
        return []
    found = [places.features(root, pairs) for pairs in tasks.values()]
    return [*dict.fromkeys(folder for stored in found if stored is not None for folder in stored.folders)]


def tower_of(start: Start) -> str:
    """Address of the image tower: the recipe's, what the run recorded, or the one that the backbone was made with."""
    recorded = start.stored.data["features"].get("tower", "") if start.stored is not None else ""
    found = start.recipe.tower or recorded or backbone_tower(start.locate(start.recipe.backbone))
    return start.locate(found) if found else ""


def _at_hand(tasks: Tasks) -> dict[str, Any]:
    """Every image that is needed; refuses when one is not there."""
    needed = {image: pairs.images for pairs in tasks.values() for image in pairs.image_ids()}
    found = {image: images[image] for image, images in needed.items() if image in images}
    absent = [image for image in needed if image not in found]
    if absent:
        shown = ", ".join(absent[:LISTED]) + (f" and {len(absent) - LISTED:,} more" if len(absent) > LISTED else "")
        raise DataError(f"{len(absent):,} of {len(needed):,} images are not there, so no tower can look at them: {shown}; restore them, or "
                        "give stored features with features=FOLDER")
    return found


def extracted(start: Start, tower: str, images: dict[str, Any], place: Path | None) -> FeatureStore:
    """What the tower makes of the images, made now by one process, or made before."""
    from inarch.backbones.eyes import load_eyes
    from inarch.features import extract, open_store

    key = files.sha256(files.canonical({"tower": tower, "size": start.recipe.image_size, "images": sorted(images)}))
    folder = place or start.run.folder.parent / CACHE / key[:12]

    def tell(what: str, done: int, total: int) -> None:
        if start.tick is not None:
            start.tick(done, total)

    with main_first(start.engine):
        if getattr(start.engine, "is_main_process", True):
            eyes = load_eyes(tower, start.recipe.image_size, str(start.engine.device))
            extract(images, eyes, folder, batch_size=32, on_bad_image=start.recipe.on_bad_image, tell=tell)
    return open_store(folder)


def store_card(store: FeatureStore, tower: str) -> dict[str, Any]:
    """For the run card: enough to make features of a new image in the same way."""
    return {"width": store.width, "tokens": store.tokens, "sha256": store.sha256, "origin": store.origin,
            "tower": tower or str(store.origin.get("tower", ""))}
