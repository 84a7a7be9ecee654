"""TVQA, How2QA, TVC and YC2C in the format of the VALUE benchmark, below ``video/ann/``; the subtitle is part of the text.

    TVQA, How2QA   [Subs] s [Q] q [TS] (t) [Choices] a0: x. a1: x. ...     then the prompt; target a0 .. a4, a0 .. a3
    TVC            [Subs] s [TS] (t)                                       then the prompt; target a caption
    YC2C           [Subs] s                                                then the prompt; target a caption

    tv_subtitles.jsonl             {"vid_name", "sub": [{"text", "start", "end"}, ...]}
    tvqa/tvqa_train.jsonl          {"qid", "vid_name", "q", "ts", "a0", ..., "a4", "answer_idx", "show_name"}
    tvc/tvc_train_release.jsonl    {"clip_id", "vid_name", "duration", "ts", "descs": [{"desc", "desc_id"}, ...]}

Test parts carry no answers. In validation a clip is one example scored against all its captions, as VALUE's server does
it; the released training code scores each caption alone. VALUE merged TVQA's public test questions into its test file, so
that one is read, and the public file only where it is absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch.data.images import shown
from inarch.data.pairs.annotations import Files, jsonl_parts, jsonl_rows, present
from inarch.data.pairs.coco import add_captions, captions_of
from inarch.data.pairs.draft import Draft, Row, whole_target
from inarch.data.pairs.example import Example

ANN = "video/ann"


@dataclass(frozen=True)
class Task:
    """Where a task's annotations are, and how many choices its questions have (0: it is captioning)."""

    subtitles: str
    files: Files
    choices: int = 0
    timed: bool = True  # the text says which seconds are meant


def _files(task: str, train: str, val: str, test: str) -> Files:
    return {part: (f"{ANN}/{task}/{task}_{name}.jsonl",) for part, name in (("train", train), ("val", val), ("test", test))}


TASKS = {
    "tvqa": Task("tv", _files("tvqa", "train", "val", "test_release"), 5),
    "how2qa": Task("how2", _files("how2qa", "train_release", "val_release", "test_public_release"), 4),
    "tvc": Task("tv", _files("tvc", "train_release", "val_release", "test_release")),
    "yc2c": Task("yc2", _files("yc2c", "train_release", "val_release", "test_release"), timed=False),
}
PUBLIC_TEST = f"{ANN}/tvqa/tvqa_test_public.jsonl"


def read_value(root: Path, draft: Draft) -> None:
    task = TASKS[draft.protocol.name]
    subtitles = _subtitles(root, task, draft)
    add = _add_question if task.choices else _add_clip
    for part, row in jsonl_parts(root, _there(root, task), draft):
        clip = draft.share(row.text("vid_name"))
        if row.sound and subtitles and clip not in subtitles:
            row.wrong(f"clip {clip} has no line in {ANN}/{task.subtitles}_subtitles.jsonl")
        add(draft, part, row, task, clip, f"[Subs] {subtitles.get(clip, '')}")


def _there(root: Path, task: Task) -> Files:
    older = task.choices == 5 and (root / PUBLIC_TEST).is_file() and not (root / task.files["test"][0]).is_file()
    return {**task.files, "test": (PUBLIC_TEST,)} if older else task.files


def _subtitles(root: Path, task: Task, draft: Draft) -> dict[str, str]:
    """Clip -> all it says, in one line; without the file, a problem and nothing."""
    found: dict[str, str] = {}
    for _, file in present(root, {"train": (f"{ANN}/{task.subtitles}_subtitles.jsonl",)}, draft):
        for row in jsonl_rows(file, draft):
            clip, lines = row.text("vid_name"), [_said(line) for line in row.items("sub")]
            if None in lines:
                row.wrong("sub holds a line without text; expected [{'text': ...}, ...]")
            found[clip] = " ".join(line or "" for line in lines)
        if not found:
            draft.notes.append(f"{shown(file)} holds no subtitles")
    return found


def _said(line: Any) -> str | None:
    text = line.get("text") if isinstance(line, dict) else None
    return text.strip() if isinstance(text, str) else None


def _add_question(draft: Draft, part: str, row: Row, task: Task, clip: str, said: str) -> None:
    names = [f"a{i}" for i in range(task.choices)]
    choices = " ".join(f"{name}: {row.words(name).strip('. ')}." for name in names)
    text = f"{said} [Q] {row.text('q').strip()} [TS] ({row.cell('ts')}) [Choices] {choices}"
    labelled = part == "train" or "answer_idx" in row.cells
    answer = draft.share(f"a{row.number('answer_idx', below=task.choices)}") if labelled else ""
    targets, references = (draft.share(whole_target(answer)), draft.share((answer,))) if labelled else ((), ())
    group = draft.share(row.words("show_name")) if "show_name" in row.cells else ""
    draft.add(part, row, Example(row.ident("qid"), (clip,), draft.protocol.frame(text), targets, references, group))


def _add_clip(draft: Draft, part: str, row: Row, task: Task, clip: str, said: str) -> None:
    text = f"{said} [TS] ({row.cell('ts')})" if task.timed else said
    records = row.items("descs") if part == "train" or "descs" in row.cells else []
    captions = captions_of(row, records, "desc") if records or part == "train" else ()
    keys = [str(record.get("desc_id", "")) if isinstance(record, dict) else "" for record in records]
    if part == "train" and row.sound and not all(keys):
        row.wrong("a caption has no desc_id; expected one per caption")
    add_captions(draft, part, row, row.ident("clip_id"), (clip,), captions, keys, text)
