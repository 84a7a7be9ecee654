"""``Predictor``: labels and probabilities for images, or answers about them, from a run folder alone.

    >>> predictor = inarch.Predictor("runs/pets")
    >>> predictor.predict(["cat.jpg", "holiday/"], top_k=2)[0].labels
    ('Birman', 'Siamese')
    >>> inarch.Predictor("runs/pets-clip").predict("zoo/", names=["okapi", "tapir"])[0].label
    'tapir'
    >>> inarch.Predictor("runs/vqa").answer("kitchen.jpg", "what colour is the table ?")[0].text
    'brown'
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from inarch import metrics
from inarch.data import Transform, open_image
from inarch.data.images import shown
from inarch.data.readers.folder import ACCEPTED
from inarch.errors import ConfigError, DataError
from inarch.evaluate import forward, rebuild

if TYPE_CHECKING:
    from inarch.answering import Answer

Input = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True)
class Prediction:
    """The likeliest ``labels`` of one image with their ``probabilities``, best first; ``name``: path, or place in the input."""

    name: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        return self.labels[0]


class Predictor:
    """A finished run, ready for images: backbone, adapter, preprocessing and class names come from its folder."""

    def __init__(self, run: str | Path, device: str = "cpu") -> None:
        self.rebuilt = rebuild(run, device)
        self.classes = self.rebuilt.card.classes
        self.multilabel = self.rebuilt.card.multilabel
        self.transform = Transform(self.rebuilt.card.view)
        self._answering: Any = None

    @property
    def model(self) -> torch.nn.Module:
        """The grafted model itself."""
        return self.rebuilt.net.model

    def predict(self, images: Input | Iterable[Input], top_k: int = 5, batch_size: int = 32, *,
                names: Sequence[str] = ()) -> list[Prediction]:
        """One ``Prediction`` per image, in order; a folder stands for the images in it, by name.

        ``names``: classes of your own, where the run has two towers; those it learned otherwise. With several labels per image each
        probability is a label's own; otherwise they sum to one over all classes.
        """
        self._refuse_other("predict", generates=False)
        if top_k < 1:
            raise ConfigError(f"top_k={top_k}; expected 1 or more")
        found: list[Prediction] = []
        with self._naming(names) as classes:
            for paths, logits in self._batches(images, batch_size):
                shares = metrics.probabilities(logits.astype(np.float64), multilabel=self.multilabel)
                found += [_best(path, share, top_k, classes) for path, share in zip(paths, shares, strict=True)]
        return found

    @contextmanager
    def _naming(self, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """For a moment these names, in the run's templates, instead of its classes."""
        run, kind = self.rebuilt.run, self.rebuilt.recipe.kind
        if not names:
            if kind == "retrieve":
                raise ConfigError(f"{run} learned captions and has no classes of its own; say what to choose from: names=['cat', 'dog']")
            yield self.classes
            return
        if kind not in ("match", "retrieve"):
            raise ConfigError(f"names: {run} has a head for its own classes, not a text tower to read names with; leave them out")
        from inarch.tasks.match import prompts_of

        own = checked_names(names)
        with self.rebuilt.net.naming(prompts_of(self.model, own, self.rebuilt.card.data["templates"])):  # type: ignore[arg-type]
            yield own

    def answer(self, images: Input | Iterable[Input], question: str = "", *, task: str = "", batch_size: int = 32) -> list[Answer]:
        """What a run that generates says to ``question`` about each image, in order, or without one how it describes it.

        ``task``: where the run knows several. A task that compares two images takes them in turn.
        """
        from inarch.answering import Answering

        self._refuse_other("answer", generates=True)
        if self._answering is None:
            self._answering = Answering(self.rebuilt)
        return self._answering(_named(images), question, task, batch_size)

    def _refuse_other(self, verb: str, generates: bool) -> None:
        if self.rebuilt.recipe.generates != generates:
            what = "classifies: use predict(images)" if generates else "generates text: ask it with answer(images, question)"
            raise ConfigError(f"{verb}: {self.rebuilt.run} {what}")

    def logits(self, images: Input | Iterable[Input], batch_size: int = 256) -> np.ndarray:
        """``[n, classes]``; equal to those of ``evaluate`` at the same batching."""
        pieces = [logits for _, logits in self._batches(images, batch_size)]
        return np.concatenate(pieces) if pieces else np.empty((0, len(self.classes)), dtype=np.float32)

    def _batches(self, images: Input | Iterable[Input], batch_size: int) -> Iterator[tuple[list[str], np.ndarray]]:
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}; expected 1 or more")
        stream = iter(_named(images))
        while batch := list(islice(stream, batch_size)):
            pixels = torch.stack([self.transform(open_image(image, name=name)) for name, image in batch])
            logits = forward(self.rebuilt, pixels)
            bad = np.flatnonzero(~np.isfinite(logits).all(1))
            if len(bad):
                raise DataError(f"{batch[bad[0]][0]}: the model's output for it is not finite; use the device it was trained on")
            yield [name for name, _ in batch], logits


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names to choose from: two at least, none empty, none twice."""
    own = tuple(name.strip() for name in names) if not isinstance(names, str) else (names,)
    if len(own) < 2 or not all(own) or len(set(own)) < len(own):
        raise ConfigError(f"names={list(own)!r}; expected two names or more to choose from, none empty, each once")
    return own


def _best(name: str, share: np.ndarray, top_k: int, classes: tuple[str, ...]) -> Prediction:
    order = np.argsort(-share, kind="stable")[:top_k]
    return Prediction(name, tuple(classes[i] for i in order), tuple(float(share[i]) for i in order))


def _named(images: Input | Iterable[Input]) -> Iterator[tuple[str, Any]]:
    """``(name, source)`` of every image that the input stands for."""
    alone = isinstance(images, str | os.PathLike | Image.Image) or (isinstance(images, np.ndarray) and images.ndim in (2, 3))
    for place, image in enumerate([images] if alone else images):  # type: ignore[arg-type]
        if not isinstance(image, str | os.PathLike):
            yield f"image {place}", image
        elif os.path.isdir(image):
            yield from _inside(Path(image))
        else:
            yield shown(image), Path(image)


def _inside(folder: Path) -> Iterator[tuple[str, Path]]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ACCEPTED and path.is_file())
    if not found:
        raise DataError(f"{shown(folder)}: no images in it; accepted are {', '.join(sorted(ACCEPTED))}")
    yield from ((shown(path), path) for path in found)


__all__ = ["Prediction", "Predictor"]
