"""The section of WEIGHTS.md on mini-vl and mini-eyes, written from the record of the run so that no number in it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shipped import put_section

HEADING = "## mini-vl and mini-eyes\n"
SECTION = (
    HEADING
    + """
Generated from `results/mini-vl/pretrain.json` by `python scripts/pretrain_mini_vl.py --write-card`.

`inarch/backbones/weights/mini-vl`: a small BART that reads visual tokens, and the projector through which it does.
`inarch/backbones/weights/mini-eyes`: the image tower that makes its features. Both know one small world: rendered scenes of coloured
shapes and digits, and the words to ask about them. They are for demonstrations and tests, not a model of language or of photographs.

| | mini-vl | mini-eyes |
|---|---|---|
| architecture | `transformers` BART: width 128, 3 encoder and 2 decoder layers, 4 heads, MLP 256 | \
`transformers` ResNet: stem 48, stages of 64 and 128, 1 and 2 blocks |
| size | {vl_parameters:,} numbers, {vl_bytes:,} bytes (fp16) | {eyes_parameters:,} numbers, {eyes_bytes:,} bytes (fp16, no head) |
| sha256 | `{vl_sha}` | `{eyes_sha}` |
| reads | {vocabulary} words, characters and special tokens; 36 x 128 features per picture, up to 2 pictures | \
48 x 48 RGB, mean = std = 0.5 |
| loads with | `inarch.backbones.load("mini-vl")` | `inarch.backbones.eyes.load_eyes("mini-eyes")` |

The sha256 of several files is that of their digests, joined in the order of their paths.

**How they were made.** From nothing but scenes drawn by `inarch.scenes` in the style `plain` (filled shapes, an even ground, digits as
strokes of a pen): {pictures:,} pictures. First the eyes alone learned what lies in each cell of their 6 x 6 grid ({eye_steps:,} steps of
{eye_batch}); then all weights together learned to answer questions, describe pictures and judge sentences on pairs of them ({steps:,}
steps). Seed {seed}, {seconds:,} s on a {hardware}, shared with other work. No photograph, no handwriting and no text of anybody was
used. It is one run, last step; but how varied plain pictures are, how hard the blackboard is and how long to train was settled on
pilots that looked at the other styles too, on other scenes.

```
{command}
```

python {python}, torch {torch}, transformers {transformers}, numpy {numpy}; commit {commit}.
The seed fixes every draw; another library version, CPU type or thread count changes the rounding, and with it the weights a little.

**Percent right** on {measured_on}.
A caption is right if it is one of the true ones word for word. Knowing each question's commonest answer, and no picture, would give
{question_only}. Every style but the first was never shown: what is missing there is what `inarch demo vqa` adapts to. *place* ("is
the star left of the circle?") was taught and not learned: half of the answers are yes.

| style | all questions | {groups} | captions | comparisons |
|---|---|---|{dashes}---|---|
{rows}

One standard error is about 1 point for all questions ({examples:,} of them), up to 5 for one type.

**Licence of the weights**: Apache-2.0, like the code; they derive from nothing else.
"""
)


def section(record: dict[str, Any]) -> str:
    groups = [name for name in record["answers"]["plain"] if name != "all"]
    vl, eyes = record["weights"]["mini-vl"], record["weights"]["mini-eyes"]
    return SECTION.format(
        vl_parameters=vl["parameters"], vl_bytes=sum(vl["bytes"].values()), vl_sha=vl["sha256"],
        eyes_parameters=eyes["parameters"], eyes_bytes=sum(eyes["bytes"].values()), eyes_sha=eyes["sha256"],
        seconds=record["wall_seconds_training"], groups=" | ".join(groups), dashes="---|" * len(groups),
        rows="\n".join(row(name, record, groups) for name in record["answers"]),
        **{key: record[key] for key in ("vocabulary", "hardware", "command", "commit", "measured_on", "question_only", "examples")},
        **{key: record["settings"][key] for key in ("pictures", "eye_steps", "eye_batch", "steps", "seed")},
        **record["versions"],
    )


def row(style: str, record: dict[str, Any], groups: list[str]) -> str:
    answers = record["answers"][style]
    cells = (style, answers["all"], *(answers[group] for group in groups), record["captions"][style], record["comparisons"][style])
    return "| " + " | ".join(map(str, cells)) + " |"


def write_section(record: dict[str, Any], page: Path) -> None:
    put_section(page, HEADING, section(record))
