"""Answers about images that no store knows: the run's tower looks at them, its net reads what the tower saw.

    >>> inarch.Predictor("runs/vqa").answer("kitchen.jpg", "what colour is the table ?")[0].text
    'brown'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inarch.data import Transform, open_image
from inarch.data.pairs import Example, Protocol
from inarch.errors import ConfigError, Mismatch, nearest
from inarch.tasks.generate import Prompt
from inarch.tasks.texts import choices, corpus, speak

if TYPE_CHECKING:
    from inarch.backbones.eyes import Eyes
    from inarch.evaluate import Rebuilt


@dataclass(frozen=True)
class Answer:
    """``text`` said to ``question`` about the image (or images) of this ``name``."""

    name: str
    question: str
    text: str


class Answering:
    """A finished run that generates, and the tower that made its features."""

    def __init__(self, rebuilt: Rebuilt) -> None:
        self.rebuilt, self.run = rebuilt, rebuilt.run
        data = rebuilt.card.data
        self.protocols = {task: _protocol(facts["protocol"]) for task, facts in data["tasks"].items()}
        self.seen = data["features"]

    def protocol(self, question: str, task: str = "") -> Protocol:
        """The task that is meant: the one named, or the first that takes a question, or none."""
        if task:
            if task not in self.protocols:
                raise ConfigError(f"task {task!r}; {self.run} was trained on {nearest(task, self.protocols)}")
            return self.protocols[task]
        asked = bool(question.strip())
        fits = [found for found in self.protocols.values() if (found.metric != "cider") == asked]
        if not fits:
            what = "describes images and takes no question; leave it out" if asked else "answers questions; give one (--question)"
            raise ConfigError(f"{self.run} {what}")
        return fits[0]

    @cached_property
    def eyes(self) -> Eyes:
        """The tower, proved to be the one whose features the run was trained on."""
        from inarch.backbones.eyes import load_eyes

        tower, origin = self.seen["tower"], self.seen["origin"]
        if not tower:
            raise ConfigError(f"{self.run} was trained on stored features and no image tower is recorded with them, so it cannot look at "
                              "a new image; train it with tower=ADDRESS, or extract the features with inarch features")
        view = origin.get("preprocess", {})
        found = load_eyes(self.run.locate(tower, self.rebuilt.card.base), view.get("size"), str(self.rebuilt.device),
                          resize="backbone" if view.get("fit") == "crop" else "squash")
        if origin.get("fingerprint", found.fingerprint) != found.fingerprint or found.width != self.seen["width"]:
            raise Mismatch(f"{tower} is not the tower that made the features of {self.run}; restore its weights")
        return found

    def __call__(self, named: Iterable[tuple[str, Any]], question: str, task: str, batch_size: int) -> list[Answer]:
        protocol = self.protocol(question, task)
        images, at_once = list(named), protocol.images
        if len(images) % at_once:
            raise ConfigError(f"{protocol.name} looks at {at_once} images at a time; found {len(images)}")
        sets = [images[i : i + at_once] for i in range(0, len(images), at_once)]
        found: list[Answer] = []
        for start in range(0, len(sets), batch_size):
            group = sets[start : start + batch_size]
            features = torch.stack([self._features(chosen) for chosen in group])
            said = self._said(protocol, protocol.frame(question.strip()), features)
            found += [Answer(", ".join(name for name, _ in chosen), question, text) for chosen, text in zip(group, said, strict=True)]
        return found

    @torch.no_grad()
    def _features(self, named: Sequence[tuple[str, Any]]) -> Tensor:
        """``[images, tokens, width]``, rounded as they are stored."""
        look = Transform(self.eyes.preprocess)
        pixels = torch.stack([look(open_image(image, name=name)) for name, image in named])
        return self.eyes(pixels.to(self.rebuilt.device)).half().float()

    def _said(self, protocol: Protocol, text: str, features: Tensor) -> list[str]:
        net, tokenizer = self.rebuilt.net, self.rebuilt.net.model.tokenizer
        words = corpus(tokenizer, protocol, [Example("", (), text, ())]).texts.ids
        ids = words.padded([0], int(words.lengths[0]), 0).expand(len(features), -1).to(features.device)
        prompt = Prompt(ids, torch.ones_like(ids), features, ids[:, :0], protocol.name)
        if protocol.decode == "choice":
            compared = choices(tokenizer, protocol)
            return [compared.words[i] for i in net.choose(prompt, compared).flatten().tolist()]
        beams = self.rebuilt.recipe.beams or protocol.beams
        return speak(tokenizer, net.generate(prompt, beams, protocol.max_length, tokenizer.pad_token_id).cpu())


def _protocol(fields: dict[str, Any]) -> Protocol:
    """As the run card has it: lists where there were tuples."""
    plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return Protocol(**plain)


__all__ = ["Answer", "Answering"]
