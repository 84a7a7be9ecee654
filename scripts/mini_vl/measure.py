"""How often mini-vl answers rightly, per question type and style, on pictures that it was not trained on.

    accuracy = share of generated answers that are the answer, word for word (greedy)
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch

from inarch.data.pairs.example import Example
from inarch.data.pairs.protocols import PROTOCOLS
from inarch.scenes.balance import Ledger, question_only
from inarch.scenes.questions import questions
from inarch.scenes.read import PICTURES, TASKS, Drawn, draw
from inarch.scenes.styles import STYLES
from inarch.scenes.world import imagine
from mini_vl.tower import cell_accuracy, grid, labels, pixels
from mini_vl.train import MiniVL, encoded

SEED, BATCH = 20_011, 200
KINDS = {"answers": "qa", "captions": "captions", "comparisons": "nlvr"}


def measured(whole: MiniVL) -> dict[str, Any]:
    """Percent right by style and question type; captions that are word for word one of the true ones; comparisons."""
    whole.eval()
    record: dict[str, Any] = {"question_only": blind(), "examples": 0, "cells": {}, **{kind: {} for kind in KINDS}}
    for style in STYLES:
        drawn = draw(style, SEED, "test", PICTURES["test"])
        record["cells"][style.name] = cells(whole, drawn)
        images = dict(zip(drawn.names(), drawn.images, strict=True))
        for kind, task in KINDS.items():
            examples = TASKS[task](drawn, PROTOCOLS[task])
            found = right(whole, examples, images)
            record["examples"] = max(record["examples"], len(examples))
            record[kind][style.name] = found if kind == "answers" else found["all"]
    return record


def blind(scenes: int = 4000) -> float:
    """What knowing each question's commonest answer is worth; the same for every style."""
    rng, ledger = np.random.default_rng([SEED, 4]), Ledger()
    asked = [(a.text, a.answer) for _ in range(scenes) for a in ledger.choose(questions(imagine(rng)), 4, rng)]
    return percent(question_only(asked[::2], asked[1::2]))


@torch.inference_mode()
def right(whole: MiniVL, examples: list[Example], images: Any) -> dict[str, float]:
    hits: dict[str, list[bool]] = defaultdict(list)
    for first in range(0, len(examples), BATCH):
        some = examples[first : first + BATCH]
        for example, answer in zip(some, answers(whole, some, images), strict=True):
            hits[example.group].append(answer in example.references)
    by_group = {group: percent(np.mean(found)) for group, found in sorted(hits.items()) if len(hits) > 1}
    return by_group | {"all": percent(np.mean([hit for found in hits.values() for hit in found]))}


def answers(whole: MiniVL, examples: list[Example], images: Any) -> list[str]:
    seen = grid(whole.tower, pixels(np.stack([images[name] for e in examples for name in e.images])))
    ids, mask, _ = encoded(whole.model.tokenizer, [e.text for e in examples], [e.references[0] for e in examples])
    said = whole.model.generate(ids, mask, seen.unflatten(0, (len(examples), -1)), max_length=40)
    return [text.strip() for text in whole.model.tokenizer.batch_decode(said, skip_special_tokens=True)]


@torch.inference_mode()
def cells(whole: MiniVL, drawn: Drawn) -> dict[str, float]:
    """What the eyes alone make of it."""
    wanted = torch.from_numpy(np.stack([labels(scene) for scene in drawn.scenes]))
    return cell_accuracy(whole.heads(grid(whole.tower, pixels(np.stack(drawn.images)))), wanted)


def percent(share: Any) -> float:
    return round(100 * float(share), 1)
