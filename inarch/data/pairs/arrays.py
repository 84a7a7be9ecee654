"""Image-text sets as one ``.npz`` of plain arrays, read without pickle.

    images         uint8 [m, height, width] or [m, height, width, 3]
    image_id       int [n], row of ``images``; absent: question i is about image i          image_name    text [m], their ids
    question       text [n]            or  questions  text [k] and question_id  int [n]
    answer         text [n]            or  answers    text [k] and answer_id    int [n]
    sentence       text [n] and label  int [n], 0 or 1                                      instead of questions and answers
    split          int [n], 0 train, 1 val, 2 test; absent: drawn by seed, image by image
    answer_type or question_type  text [n], for break-downs          identifier  text [n], the ids of the examples
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from inarch.data.images import shown
from inarch.data.pairs.draft import Draft, Row, whole_target
from inarch.data.pairs.example import Example
from inarch.data.pairs.nlvr import WORDS
from inarch.data.readers.arrays import DAMAGED
from inarch.errors import DataError, nearest

TEXTS = ("question", "questions", "answer", "answers", "sentence", "image_name", "identifier", "answer_type", "question_type")
NUMBERS = ("image_id", "question_id", "answer_id", "label", "split")
PARTS = ("train", "val", "test")

Arrays = dict[str, np.ndarray]


def read_arrays(file: Path, draft: Draft) -> None:
    arrays, where = _load(file, draft), shown(file)
    questions = _column(where, arrays, "sentence" if "sentence" in arrays else "question")
    count, names = len(questions), _names(where, arrays)
    about = _rows(where, arrays, "image_id", count, len(names))
    parts = _rows(where, arrays, "split", count, len(PARTS)) if "split" in arrays else np.zeros(count, np.int64)
    keys = _texts_or(arrays, ("identifier",), count) or list(map(str, range(count)))
    groups = _texts_or(arrays, ("answer_type", "question_type"), count) or [""] * count
    for i, (question, answer) in enumerate(zip(questions, _answers(where, arrays, count), strict=True)):
        row = Row({"question": str(question), "answer": str(answer)}, (f"{where}: row ", i, ""), draft)
        said, text = draft.share(row.text("answer")), draft.share(draft.protocol.frame(row.text("question")))
        example = Example(keys[i], (names[about[i]],), text, draft.share(whole_target(said)), draft.share((said,)), draft.share(groups[i]))
        draft.add(PARTS[parts[i]], row, example)
    draft.whole = "split" in arrays
    draft.images = dict(zip(names, arrays["images"], strict=True))
    draft.protocol = dataclasses.replace(draft.protocol, images=1, share=(1, 1))


def _answers(where: str, arrays: Arrays, count: int) -> np.ndarray:
    if "sentence" in arrays:
        return np.array(WORDS)[_rows(where, arrays, "label", count, len(WORDS))]
    answers = _column(where, arrays, "answer")
    if len(answers) != count:
        raise DataError(f"{where}: {len(answers)} answers for {count} questions; expected as many")
    return answers


def _load(file: Path, draft: Draft) -> Arrays:
    """The arrays that mean something here, of the types they must have; the others are not unpacked."""
    where = shown(file)
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files if key in (*TEXTS, *NUMBERS, "images")}
            unused = sorted(set(archive.files) - arrays.keys())
    except DAMAGED as error:
        reason = f"{where}: cannot be read as an .npz of plain arrays: {error}"
        raise DataError(f"{reason}; write it with numpy.savez_compressed, without object arrays") from error
    if unused:
        draft.notes.append(f"arrays that are not used: {', '.join(unused)}")
    _check_types(where, arrays)
    return arrays


def _check_types(where: str, arrays: Arrays) -> None:
    if "images" not in arrays:
        raise DataError(f"{where}: no array 'images'; {nearest('images', arrays)}")
    images = arrays["images"]
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)) or 0 in images.shape:
        raise DataError(f"{where}: images is {images.dtype} {images.shape}; expected uint8 [m, h, w] or [m, h, w, 3]")
    for key, array in arrays.items():
        kind, word = ("U", "texts") if key in TEXTS else ("iu", "whole numbers")
        if key != "images" and (array.ndim != 1 or array.dtype.kind not in kind):
            raise DataError(f"{where}: {key} is {array.dtype} {array.shape}; expected one row of {word}")


def _column(where: str, arrays: Arrays, key: str) -> np.ndarray:
    """``key`` itself, or its plural looked up by ``key_id``."""
    if key in arrays:
        return arrays[key]
    plural, index = f"{key}s", f"{key}_id"
    if plural not in arrays:
        raise DataError(f"{where}: no array {key!r}; {nearest(key, arrays)}")
    if index not in arrays:
        return arrays[plural]
    return arrays[plural][_rows(where, arrays, index, len(arrays[index]), len(arrays[plural]))]


def _rows(where: str, arrays: Arrays, key: str, count: int, below: int) -> np.ndarray:
    """``count`` whole numbers from 0 to ``below`` - 1; an absent ``image_id`` counts up."""
    rows = arrays.get(key, np.arange(count) if key == "image_id" else None)
    if rows is None:
        raise DataError(f"{where}: no array {key!r}; {nearest(key, arrays)}")
    if len(rows) != count:
        raise DataError(f"{where}: {key} has {len(rows)} rows for {count} texts; expected as many")
    outside = np.flatnonzero((rows < 0) | (rows >= below))
    if len(outside):
        raise DataError(f"{where}: {key}[{outside[0]}] is {rows[outside[0]]}; expected 0 to {below - 1}")
    return rows.astype(np.int64)


def _names(where: str, arrays: Arrays) -> list[str]:
    names = [str(name) for name in arrays.get("image_name", range(len(arrays["images"])))]
    if len(names) != len(arrays["images"]) or len(set(names)) != len(names):
        raise DataError(f"{where}: image_name has {len(set(names))} names for {len(arrays['images'])} images; expected one for each")
    return names


def _texts_or(arrays: Arrays, keys: tuple[str, ...], count: int) -> list[str]:
    """The first of ``keys`` that has a text for each example, or nothing."""
    found = [arrays[key] for key in keys if key in arrays and len(arrays[key]) == count]
    return [str(text) for text in found[0]] if found else []
