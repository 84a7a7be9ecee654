"""All that is wrong with image-text data in one list: ``check_pairs`` looks at the data, ``check_tokens`` at what a tokenizer makes of it.

    problems     must be mended before training: ``read_pairs`` refuses them
    counts       examples per part, images, missing images or features; texts and targets that are cut
    warnings     allowed, but should be known
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from inarch.data.check import Progress, Report
from inarch.data.images import MAX_PIXELS, shown
from inarch.data.pairs import places
from inarch.data.pairs.draft import Draft
from inarch.data.pairs.example import Example, Pairs, ordered_images
from inarch.data.pairs.look import look_at, missing
from inarch.data.pairs.protocols import Protocol
from inarch.data.pairs.read import is_file, read_draft
from inarch.data.table import Problem

CHUNK = 4096  # texts per call of the tokenizer

Measure = tuple[int, bool]  # tokens, special ones included; whether one of them stands for something unknown


def check_pairs(
    address: str | Path,
    task: str = "",
    *,
    prompt: str | None = None,
    available: Container[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> Report:
    """Every problem of the task's data at ``address``; raises only if there is nothing to read.

    ``available`` holds the ids of stored features. Without it, a published layout is compared with the features below it,
    or, where there are none, its images are opened.

    >>> check_pairs("datasets", "vqa").problems[0]
    Problem(file='datasets/vqa/karpathy_train.json[7]', reason="key 'sent' is not there; did you mean 'sents'?")
    """
    draft = read_draft(address, task, prompt)
    counts = {part: len(examples) for part, examples in draft.parts.items()}
    counts["images"] = len(ordered_images(example for part in draft.parts.values() for example in part))
    if available is not None:
        counts["missing"] = missing(draft, available)
    elif not is_file(address):
        counts["missing"] = _at_hand(draft, Path(os.path.expanduser(address)), max_pixels, progress)
    if is_file(address):
        look_at(draft, draft.images, max_pixels, progress)
    return Report(draft.problems, counts, draft.notes)


def _at_hand(draft: Draft, root: Path, max_pixels: int, progress: Progress | None) -> int:
    """How many images the published layout lacks, by its features or else by its images, which are then opened too."""
    stored = places.features(root, draft)
    if stored is not None:
        return missing(draft, stored, f"feature ({stored.suffix} file) in {' or '.join(map(shown, stored.folders))}")
    if not isinstance(draft.images, places.Files):
        draft.notes.append(f"neither features nor images below {shown(root)}; only the annotations were checked")
        return 0
    look_at(draft, draft.images, max_pixels, progress)
    return missing(draft, draft.images, f"image in {' or '.join(map(shown, draft.images.folders))}")


def check_tokens(pairs: Pairs, tokenizer: Any) -> Report:
    """What ``tokenizer`` cannot write, and what the protocol's limits cut off.

    An answer that holds an unknown token can never be given right: a training question all of whose answers are such is a
    problem. A caption with one odd character can still be scored, and is counted. What is longer than a limit is cut, as
    published, and counted; a text without a limit that is longer than the tokenizer's model takes is a problem.
    """
    report = Report()
    for part, examples in pairs.parts.items():
        _check_texts(report, pairs, part, examples, tokenizer)
        _check_targets(report, pairs, part, examples, tokenizer)
    return report


def _check_texts(report: Report, pairs: Pairs, part: str, examples: Sequence[Example], tokenizer: Any) -> None:
    limit = pairs.protocol.text_tokens
    longest = limit if limit is not None else int(getattr(tokenizer, "model_max_length", 1 << 40))
    found = measured(tokenizer, (example.text for example in examples))
    long = [example for example in examples if found[example.text][0] > longest]
    report.counts[f"{part} texts cut"] = len(long) if limit is not None else 0
    if long and limit is not None:
        count = f"{len(long)} of {len(examples)} texts of {part}"
        report.warnings.append(f"{count} have more than {limit} tokens; they are cut{_published(pairs.protocol)}")
    elif long:
        most = max(found[example.text][0] for example in long)
        reason = f"{len(long)} texts of {part} have more than {longest} tokens (up to {most}), which the model cannot take; shorten them"
        report.problems.append(Problem(pairs.source, f"{reason} (first: {long[0].key})"))


def _check_targets(report: Report, pairs: Pairs, part: str, examples: Sequence[Example], tokenizer: Any) -> None:
    found = measured(tokenizer, (answer for example in examples for answer, _ in example.targets))
    limit, total = pairs.protocol.target_tokens, sum(map(bool, (example.targets for example in examples)))
    long = sum(any(found[answer][0] > limit for answer, _ in example.targets) for example in examples)
    report.counts[f"{part} targets cut"] = long
    if long:
        count = f"{long} of {total} examples of {part}"
        report.warnings.append(f"{count} have a target of more than {limit} tokens; it is cut{_published(pairs.protocol)}")
    odd = [example for example in examples if any(found[answer][1] for answer, _ in example.targets)]
    hopeless = [example for example in odd if all(found[answer][1] for answer, _ in example.targets)]
    report.counts[f"{part} targets outside the tokenizer"] = len(odd)
    if part == "train" and pairs.protocol.metric != "cider":
        report.problems.extend(_unwritable(pairs.source, hopeless))
    elif odd:
        count = f"{len(odd)} of {total} examples of {part}"
        report.warnings.append(f"{count} have a target that the tokenizer cannot write wholly (first: {odd[0].targets[0][0]!r})")


def _published(protocol: Protocol) -> str:
    return "" if protocol.name in ("qa", "captions") else ", as published"


def _unwritable(source: str, examples: Iterable[Example]) -> list[Problem]:
    answers = Counter(" or ".join(repr(answer) for answer, _ in example.targets) for example in examples)
    return [Problem(source, f"the tokenizer cannot write the answer {answer}; {count} training example(s) have no other")
            for answer, count in answers.items()]


def measured(tokenizer: Any, texts: Iterable[str]) -> dict[str, Measure]:
    """Text -> its number of tokens, and whether one is unknown; each different text once."""
    unique = list(dict.fromkeys(texts))
    unknown = tokenizer.unk_token_id
    found: dict[str, Measure] = {}
    for at in range(0, len(unique), CHUNK):
        chunk = unique[at : at + CHUNK]
        for text, ids in zip(chunk, tokenizer(chunk, verbose=False)["input_ids"], strict=True):
            found[text] = (len(ids), unknown is not None and unknown in ids)
    return found
