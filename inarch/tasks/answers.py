"""What is said to the examples of a part, task by task: generated or chosen, decoded, scored and written down.

    one task       {headline: ..., ...}                       several      {task: {headline: ..., ...}, "mean": mean of their points}
The points of a task are its headline in percent, or CIDEr x 100, as papers average them. Examples without references are
answered and not scored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from inarch import scoring
from inarch.data.pairs.example import Example
from inarch.tasks.generate import Choices, Generator, Prompt
from inarch.tasks.task import Tick
from inarch.tasks.texts import Corpus, speak
from inarch.training.score import collect
from inarch.training.texts import TextFeed

Said = dict[str, list[str]]  # task -> what was said to each example


@dataclass(frozen=True, eq=False)
class Asked:
    """The examples of one task; ``beams`` of what is generated; ``choices`` where one of several words is chosen."""

    corpus: Corpus
    feed: TextFeed
    beams: int
    choices: Choices | None = None

    @property
    def task(self) -> str:
        return self.corpus.protocol.name

    @property
    def scored(self) -> list[int]:
        """The examples that a prediction can be compared with."""
        return [i for i, example in enumerate(self.corpus.examples) if example.references]

    def said(self, engine: Any, net: Generator, batch: int, tick: Tick | None) -> list[str]:
        """One text per example, each asked once, whatever the number of processes."""
        protocol = self.corpus.protocol
        tokenizer: Any = net.model.tokenizer
        if self.choices is not None:
            chosen = collect(engine, self.feed, batch, lambda prompt: net.choose(prompt, self.choices), tick)  # type: ignore[arg-type]
            return [self.choices.words[i] for i in chosen.flatten().tolist()]

        def generate(prompt: Prompt) -> Any:
            return net.generate(prompt, self.beams, protocol.max_length, tokenizer.pad_token_id)

        return speak(tokenizer, collect(engine, self.feed, batch, generate, tick))


@dataclass(frozen=True, eq=False)
class TextPart:
    """A part of every task that has it; ``quick`` scores leave out what selects no epoch."""

    name: str
    asked: tuple[Asked, ...]
    batch: int
    quick: bool = False

    def found(self, engine: Any, net: nn.Module, tick: Tick | None = None) -> Said:
        net.eval()
        return {asked.task: asked.said(engine, net, self.batch, tick) for asked in self.asked}  # type: ignore[arg-type]

    def metrics(self, found: Said) -> dict[str, Any]:
        each = {asked.task: self._score(asked, found[asked.task]) for asked in self.asked}
        return next(iter(each.values())) if len(each) == 1 else each | {"mean": mean_points(self.metric_names, each)}

    @property
    def metric_names(self) -> dict[str, str]:
        return {asked.task: asked.corpus.protocol.metric for asked in self.asked}

    def _score(self, asked: Asked, said: Sequence[str]) -> dict[str, Any]:
        rows, examples = asked.scored, asked.corpus.examples
        bare = {"unscored": len(examples) - len(rows)} if len(rows) < len(examples) else {}
        if not rows:
            return {"n": 0} | bare
        return scoring.score(asked.corpus.protocol.metric, [said[i] for i in rows], [examples[i] for i in rows], quick=self.quick) | bare

    def lines(self, found: Said) -> Iterator[dict[str, Any]]:
        """What is written of every example."""
        for asked in self.asked:
            said, examples, rows = found[asked.task], asked.corpus.examples, asked.scored
            each = scoring.per_example(asked.corpus.protocol.metric, [said[i] for i in rows], [examples[i] for i in rows]) if rows else []
            values = dict(zip(rows, each, strict=True))
            for i, (example, text) in enumerate(zip(examples, said, strict=True)):
                yield line(asked.task, example, text, values.get(i))

    def close(self) -> None:
        for asked in self.asked:
            asked.feed.close()


def line(task: str, example: Example, said: str, value: float | None) -> dict[str, Any]:
    found = {"task": task, "key": example.key, "images": [*example.images], "text": example.text, "prediction": said,
             "references": [*example.references], "score": value}
    return found | ({"group": example.group} if example.group else {})


def mean_points(names: Mapping[str, str], each: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Of all tasks' headlines; None as soon as one has none."""
    values = [points(metric, each[task]) for task, metric in names.items() if task in each]
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there and len(there) == len(names) else None


def points(metric: str, scores: Mapping[str, Any]) -> float | None:
    value = scores.get(scoring.headline(metric))
    return None if value is None else scoring.points(metric, value)


def text_of(lines: Iterator[dict[str, Any]]) -> bytes:
    """JSON lines."""
    return "".join(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n" for entry in lines).encode()
