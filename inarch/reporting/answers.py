"""What a run said, read back from its ``predictions-PART.jsonl``, and a few examples of it with their pictures.

    right      score >= 1/2 of what an example can have (captions: the higher half of CIDEr)       wrong      the others
Both are drawn by the run's seed, not chosen. Pictures come from the data once; the run folder keeps them.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from inarch import files
from inarch.data.images import open_image
from inarch.errors import CheckpointError, Corrupt, DataError, InarchError, Incomplete
from inarch.reporting.mistakes import SIDE, arrays_of, png
from inarch.run import Run
from inarch.training.order import some

MOST = 12  # examples of each kind, over all tasks
KEPT = "pictures.npz"
LINES = ("task", "key", "images", "text", "prediction", "references", "score")
GAP = 4  # pixels between two images of one example

Line = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """Examples of one kind, and their pictures, None where there is none."""

    lines: tuple[Line, ...]
    pictures: tuple[bytes | None, ...]


def said(run: Run, part: str) -> list[Line]:
    """Every line of a part; ``Incomplete`` or ``Corrupt`` where the file is not as it was written."""
    path = run.answers(part)
    if not path.is_file():
        raise Incomplete(f"{run} has no {path.name}; it is written at the end of training: restore it, or train again")
    lines = [files.parse_json(line, path) for line in files.read(path).splitlines()]
    odd = next((i for i, line in enumerate(lines, 1) if any(key not in line for key in LINES)), None)
    if odd is not None:
        raise Corrupt(f"{path}:{odd}: expected the keys {', '.join(LINES)}; restore the file, or train again")
    return lines


def halves(lines: Sequence[Line], metrics: Mapping[str, str], seed: int) -> tuple[list[Line], list[Line]]:
    """A few wrong ones and a few right ones of every task; ``metrics`` by task."""
    each = max(MOST // len(metrics), 2)
    wrong: list[Line] = []
    right: list[Line] = []
    for task, metric in metrics.items():
        own = [line for line in lines if line["task"] == task and line["score"] is not None]
        least = float(np.median([line["score"] for line in own])) if own and metric == "cider" else 0.5
        for chosen, good in ((wrong, False), (right, True)):
            kind = [line for line in own if (line["score"] >= least) == good]
            chosen += [kind[i] for i in some(len(kind), each, seed, "shown", task)]
    return wrong, right


def words(line: Line, prompt: str) -> tuple[str, str, str]:
    """What was asked, what was said, what is right."""
    text = line["text"].replace(prompt, "", 1).strip() or "a caption"
    return text, f"says: {line['prediction'] or 'nothing'}", f"is: {right_one(line['references'])}"


def right_one(references: Sequence[str]) -> str:
    """The only answer; the commonest of several people's, with how many gave it; the first of several captions.

    >>> right_one(["red", "red", "dark"])
    'red (2 of 3)'
    """
    if len(references) < 2:
        return references[0] if references else "not known"
    best, count = Counter(references).most_common(1)[0]
    return f"{best} ({count} of {len(references)})" if count > 1 else references[0]


def pictures(run: Run, lines: Sequence[Line], images: Mapping[str, Any] | None) -> tuple[list[bytes | None], str]:
    """A PNG per line, or None for each and the reason. ``images``: id -> path or array, where they are at hand."""
    kept = _kept(run, lines)
    if kept is not None:
        return kept, ""
    try:
        found = _images(run) if images is None else images
        if not found:
            raise DataError("the run has features of the images, not the images")
        drawn: list[bytes | None] = [drawing(found, line["images"]) for line in lines]
    except (InarchError, KeyError) as problem:
        return [None] * len(lines), f"image {problem} is not there" if isinstance(problem, KeyError) else str(problem)
    _keep(run, lines, drawn)
    return drawn, ""


def drawing(images: Mapping[str, Any], names: Sequence[str]) -> bytes:
    """The image in at most ``SIDE`` pixels a side; two of them side by side."""
    found = [open_image(images[name], name=name) for name in names]
    if len(found) == 1:
        return png(found[0])
    tall = max(image.height for image in found)
    whole = Image.new("RGB", (sum(image.width for image in found) + GAP * (len(found) - 1), tall), "white")
    left = 0
    for image in found:
        whole.paste(image, (left, 0))
        left += image.width + GAP
    return png(whole, (2 * SIDE, SIDE))


def _images(run: Run) -> dict[str, Any]:
    """The images of the run's own data, if it is still the data that was scored."""
    from inarch.tasks.generation import data_sha, read_tasks

    recipe, card = run.recipe(), run.card()
    tasks = read_tasks(recipe, run.locate(recipe.data, card.base), None)
    if data_sha(tasks) != card.data["sha256"]:
        raise DataError(f"{recipe.data} is not the data that was scored")
    return {image: pairs.images[image] for pairs in tasks.values() for image in pairs.images}


def _key(lines: Sequence[Line]) -> str:
    return json.dumps([[line["task"], line["key"]] for line in lines])


def _kept(run: Run, lines: Sequence[Line]) -> list[bytes | None] | None:
    path = run.folder / KEPT
    if not path.is_file():
        return None
    try:
        kept = arrays_of(path)
    except CheckpointError:
        return None  # they can be drawn anew
    same = str(kept.get("lines")) == _key(lines) and all(f"png_{i}" in kept for i in range(len(lines)))
    return [kept[f"png_{i}"].tobytes() for i in range(len(lines))] if same else None


def _keep(run: Run, lines: Sequence[Line], drawn: Sequence[bytes | None]) -> None:
    buffer = io.BytesIO()
    pngs = {f"png_{i}": np.frombuffer(data or b"", np.uint8) for i, data in enumerate(drawn)}
    np.savez(buffer, allow_pickle=False, lines=np.array(_key(lines)), **pngs)  # type: ignore[arg-type]
    files.write(run.folder / KEPT, buffer.getvalue())
