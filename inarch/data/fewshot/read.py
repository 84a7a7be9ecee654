"""``read_fewshot``: few images of some classes to learn from, and other classes that stay unseen until the end.

    read the list -> draw missing parts -> sample k per class over all classes -> keep a half -> look at its images

The rule: until ``held()`` is called, nothing is kept of the novel classes but their number and how many images they have. Their
names and paths pass through while the list is read, and are dropped; ``held`` reads it again and refuses a list that changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inarch.data.check import Progress
from inarch.data.fewshot.address import read_listing
from inarch.data.fewshot.drafts import draw
from inarch.data.fewshot.halves import Plan, Protocol, base_labels, check_halves, novel_labels, plan, unlearnable
from inarch.data.fewshot.listing import Listing, refuse
from inarch.data.fewshot.look import looked
from inarch.data.fewshot.sampling import items_sha256, sample, short_classes
from inarch.data.images import MAX_PIXELS, shown
from inarch.data.table import Table
from inarch.errors import ConfigError, DataError


@dataclass(frozen=True)
class Half:
    """Classes to tell apart, by name, with labels from 0; ``sha256`` identifies exactly these images, labels and parts."""

    name: str  # "base", "novel" or "all"
    classes: tuple[str, ...]  # names for prompts
    train: Table | None
    val: Table | None
    test: Table | None
    sha256: str
    source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What ``read_fewshot`` was asked for."""

    address: str | Path
    shots: int
    seed: int
    protocol: Protocol
    on_bad_image: str
    val_fraction: float
    test_fraction: float
    split_seed: int
    max_pixels: int
    progress: Progress | None


class FewShot:
    """A few-shot task. ``learn()`` may be used at once; ``held()`` only when nothing is learned any more."""

    def __init__(self, wish: Wish) -> None:
        listing = _prepared(wish)
        self._wish = wish
        self.source, self.dataset, self.protocol = shown(str(wish.address)), listing.dataset, wish.protocol
        self.about = _about(self.source, listing, wish)
        self._seal = self.about["listing_sha256"]
        sample(listing, wish.shots, wish.seed)
        self.about["items_sha256"] = items_sha256(listing)
        self._plan = _seen_plan(listing, wish)
        self.about["images"] = {self._plan.name: {part: len(pile) for part, pile in self._plan.parts.items()}} | _held_counts(listing, wish)
        self._learn: Half | None = None
        self._held: Half | None = None

    def __repr__(self) -> str:
        return f"FewShot({self.dataset}: {self.about['classes']}, shots={self._wish.shots}, seed={self._wish.seed})"

    def learn(self) -> Half:
        """The base classes (or all): what may be seen before evaluation. Opens their images, and no other."""
        if self._learn is None:
            self._learn = self._half(self._plan)
        return self._learn

    def held(self) -> Half | None:
        """The novel classes with their test images, first touched here; None where the protocol holds nothing back."""
        if self.protocol == "all":
            return None
        if self._held is None:
            listing = _prepared(self._wish)
            if listing.seal() != self._seal:
                raise DataError(f"{self.source}: the list of images changed since it was first read; restore it, or begin again")
            self._held = self._half(plan(listing, "novel", novel_labels(listing), ("test",)))
        return self._held

    def _half(self, chosen: Plan) -> Half:
        wish = self._wish
        tables, sha256, notes = looked(chosen.classes, chosen.parts, wish.address, skip=wish.on_bad_image == "skip",
                                       max_pixels=wish.max_pixels, progress=wish.progress)
        train, val, test = (tables.get(part) for part in ("train", "val", "test"))
        return Half(chosen.name, chosen.classes, train, val, test, sha256, self.source, (*chosen.notes, *notes))


def read_fewshot(
    address: str | Path,
    *,
    shots: int = 16,
    seed: int = 1,
    protocol: Protocol = "base-to-novel",
    on_bad_image: Literal["refuse", "skip"] = "refuse",
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> FewShot:
    """The few-shot task at ``address``, or ``DataError``/``ConfigError`` saying what is wrong.

    ``shots`` images per class are drawn with ``seed``; 0 takes all. The fractions apply where the data brings no such part, drawn
    with ``split_seed``, so that runs with several seeds are tested on the same images.

    >>> read_fewshot("coop:EuroSAT@datasets", shots=16, seed=1).learn().classes
    ('Annual Crop Land', 'Forest', 'Herbaceous Vegetation Land', 'Highway or Road', 'Industrial Buildings')
    """
    wish = Wish(address, shots, seed, protocol, on_bad_image, val_fraction, test_fraction, split_seed, max_pixels, progress)
    _check(wish)
    return FewShot(wish)


def _check(wish: Wish) -> None:
    for name in ("shots", "seed", "split_seed"):
        value = getattr(wish, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"{name} is {value!r}; expected a whole number of at least 0")
    for name in ("val_fraction", "test_fraction"):
        if not 0 <= getattr(wish, name) < 1:
            raise ConfigError(f"{name} is {getattr(wish, name)}; expected 0 <= {name} < 1")
    if wish.val_fraction + wish.test_fraction >= 1:
        raise ConfigError(f"val_fraction {wish.val_fraction} + test_fraction {wish.test_fraction} leave no training images")
    if wish.protocol not in ("base-to-novel", "all"):
        raise ConfigError(f"protocol is {wish.protocol!r}; expected 'base-to-novel' or 'all'")
    if wish.on_bad_image not in ("refuse", "skip"):
        raise ConfigError(f"on_bad_image is {wish.on_bad_image!r}; expected 'refuse' or 'skip'")


def _prepared(wish: Wish) -> Listing:
    """The whole list, judged, with its missing parts drawn; no image is opened."""
    listing = read_listing(wish.address, wish.split_seed)
    refuse(listing.problems or unlearnable(listing, wish.protocol), wish.address)
    draw(listing, {"test": wish.test_fraction, "val": wish.val_fraction}, wish.split_seed)
    if wish.protocol == "base-to-novel":
        check_halves(listing)
    if listing.sampled and wish.shots not in (0, listing.most()):
        found = f"{listing.most()} training images of a class, not shots={wish.shots}"
        raise ConfigError(f"{listing.source} holds a sample of up to {found}; set shots={listing.most()}")
    return listing


def _seen_plan(listing: Listing, wish: Wish) -> Plan:
    everything = wish.protocol == "all"
    labels = list(range(len(listing.classes))) if everything else base_labels(listing)
    chosen = plan(listing, "all" if everything else "base", labels)
    short = short_classes(chosen.parts["train"], chosen.classes, wish.shots) if "train" in chosen.parts else []
    return Plan(chosen.name, chosen.classes, chosen.parts, (*chosen.notes, *short))


def _about(source: str, listing: Listing, wish: Wish) -> dict[str, Any]:
    held = 0 if wish.protocol == "all" else len(novel_labels(listing))
    counts = {"all": len(listing.classes)} if wish.protocol == "all" else {"base": len(listing.classes) - held, "novel": held}
    return {"dataset": listing.dataset, "source": source, "protocol": wish.protocol, "shots": wish.shots, "seed": wish.seed,
            "split_seed": wish.split_seed, "classes": counts, "listing_sha256": listing.seal()}


def _held_counts(listing: Listing, wish: Wish) -> dict[str, dict[str, int]]:
    if wish.protocol == "all":
        return {}
    novel = {*novel_labels(listing)}
    return {"novel": {"test": sum(label in novel for label in listing.parts["test"].labels.tolist())}}
