"""Texts as numbers, once before training: what the encoder reads, and what may be told.

    texts [n] of different lengths  ->  values [sum of lengths], offsets [n + 1]          each different text is kept once
A text is cut to the protocol's number of tokens, special ones included, as the released code does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inarch.data.pairs.example import Example
from inarch.data.pairs.protocols import Protocol
from inarch.errors import ConfigError
from inarch.tasks.generate import Choices

CHUNK = 10_000  # texts handed to the tokenizer at a time
UNANSWERED = (("", 0.0),)  # an example without a scored answer: it counts in the mean and teaches nothing


class Ragged:
    """Rows of whole numbers of different lengths."""

    def __init__(self, rows: Iterable[Sequence[int]]) -> None:
        rows = list(rows)
        self.lengths = np.array([len(row) for row in rows], dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self.values = np.fromiter((token for row in rows for token in row), dtype=np.int32, count=int(self.offsets[-1]))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def padded(self, rows: Sequence[int], width: int, value: int) -> Tensor:
        """``[rows, width]``, filled up on the right."""
        found = torch.full((len(rows), width), value, dtype=torch.int64)
        for k, i in enumerate(rows):
            row = self[i]
            found[k, : len(row)] = torch.from_numpy(row.astype(np.int64))
        return found


@dataclass(frozen=True, eq=False)
class Words:
    """Different texts and their tokens."""

    index: dict[str, int]
    ids: Ragged

    def rows(self, texts: Iterable[str]) -> np.ndarray:
        return np.array([self.index[text] for text in texts], dtype=np.int64)


def words(tokenizer: Any, texts: Iterable[str], most: int | None) -> Words:
    """Each different text once."""
    index = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    return Words(index, Ragged(_tokens(tokenizer, list(index), most)))


def _tokens(tokenizer: Any, texts: list[str], most: int | None) -> Iterable[list[int]]:
    how = {"return_attention_mask": False, "verbose": False, "truncation": most is not None, "max_length": most}
    for start in range(0, len(texts), CHUNK):
        yield from tokenizer(texts[start : start + CHUNK], **how)["input_ids"]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Examples of one task and part: ``text[i]`` is the row of example i's text in ``texts``; ``targets`` are None where none is told."""

    protocol: Protocol
    examples: Sequence[Example]
    texts: Words
    text: np.ndarray
    targets: Words | None = None

    def __len__(self) -> int:
        return len(self.examples)


def corpus(tokenizer: Any, protocol: Protocol, examples: Sequence[Example], told: bool = False) -> Corpus:
    """``told``: with targets, for training."""
    texts = words(tokenizer, (example.text for example in examples), protocol.text_tokens)
    targets = None
    if told:
        answers = (target for example in examples for target, _ in (example.targets or UNANSWERED))
        targets = words(tokenizer, answers, protocol.target_tokens)
    return Corpus(protocol, examples, texts, texts.rows(example.text for example in examples), targets)


def choices(tokenizer: Any, protocol: Protocol) -> Choices:
    """The first tokens to compare; ``ConfigError`` where two choices begin alike."""
    bare = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in protocol.choices]
    first = tuple(ids[0] if ids else -1 for ids in bare)
    if len(set(first)) < len(first) or -1 in first or tokenizer.unk_token_id in first:
        raise ConfigError(f"{protocol.name}: the tokenizer does not tell the choices {', '.join(protocol.choices)} apart by their "
                          "first token; use another backbone")
    whole = tokenizer(protocol.choices[0])["input_ids"]
    return Choices(protocol.choices, first, tuple(whole[: whole.index(first[0])]))


def speak(tokenizer: Any, ids: Tensor) -> list[str]:
    """Generated tokens as text."""
    return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
