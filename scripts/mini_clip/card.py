"""The section of WEIGHTS.md on mini-clip, written from the record of the run so that no number in it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shipped import put_section

HEADING = "## mini-clip\n"
SECTION = (
    HEADING
    + """
Generated from `results/mini-clip.json` by `python scripts/pretrain_mini_clip.py --write-card`.

`inarch/backbones/weights/mini-clip`: a CLIP of two small towers for demonstrations and tests without a network. It knows the names of
what it was shown, and little else: use it to try the library, not to publish results.

| | |
|---|---|
| architecture | `transformers` CLIPModel: 64 x 64 px, patch 8; text of at most 32 tokens, {pieces:,} pieces; both towers width 128, \
6 layers, 4 heads, MLP 512; 128 shared features |
| size | {parameters:,} numbers, {bytes:,} bytes (fp16) |
| sha256 of `model.safetensors` | `{sha256}` |
| input | RGB, both sides resized to 64 (bicubic), mean = std = 0.5 (`preprocess.json`); lower or upper case makes no difference |
| loads with | `CLIPModel.from_pretrained(folder)`, `AutoTokenizer.from_pretrained(folder)` |

**How it was made.** Pictures and their names were drawn together by the symmetric contrastive loss of CLIP, with a learned
temperature (it ended at {logit_scale}); equal texts in a batch are no negatives. The image tower starts from mini-vit, the text tower and
its tokenizer from nothing. A name is said in one of the templates {templates}.
Besides the training parts below it saw rendered pictures in the style `plain` alone. Crops, small turns and tones vary them all.
{steps:,} steps of {batch:,} pictures, seed {seed}, {seconds:,} s on one {hardware}, drawing included.{trials}

```
{command}
```

python {python}, torch {torch}, transformers {transformers}, tokenizers {tokenizers}, numpy {numpy}; commit {commit}.
The seed fixes every draw; on another device or with another library version the rounding differs, and with it the weights a little.
The trainer of the tokenizer breaks ties by chance: `--tokenizer inarch/backbones/weights/mini-clip` takes the pieces that shipped.
{amended}
| seen | pictures | names | share of a batch |
|---|---|---|---|
{seen}

Of the emoji, the *base* half was seen, nine tenths of it, by name and in all three drawings; of the *novel* half no picture, and no
name but {known}, which other sets say of pictures of theirs. Test parts
were only hashed, to keep their pictures out. Sources, licences and hashes of the files are those of mini-vit, above.

**Zero-shot.** Percent named rightly among all names of the row ("a photo of a NAME."), by the weights as written; one run, last step.

| pictures | right | by chance | pictures | names |
|---|---|---|---|---|
{rows}

The validation emoji are base emoji left out of training, with names that were never seen; the novel ones are the other half, less
{known}: what these are called was learned from fruits and shapes, so they are no novel names. Fruits
and clothes are new pictures of what it was trained on.

Things (`{measured_on}`): coloured shapes, 36 names. Only `plain` was shown in training.

| style | all 36 names | base, of 18 | novel, of 18 | colour | shape |
|---|---|---|---|---|---|
{styles}

Which style the demonstration adapts to was chosen on these validation pictures. By chance: 2.8, 5.6, 5.6, 16.7, 16.7. One
standard error is up to 2.6 points.

**Licence of the weights**: Apache-2.0, for the reasons given for mini-vit, from which they derive.
"""
)
REAL = {"clothing10", "fruits71", "eurosat10", "omniglot8", "emoji3", "easy_vqa"}


def section(record: dict[str, Any]) -> str:
    from mini_clip.words import TEMPLATES

    weights, zero = record["weights"], record["zero_shot"]
    return SECTION.format(
        parameters=weights["parameters"], bytes=sum(weights["bytes"].values()), sha256=weights["sha256"],
        seconds=record["wall_seconds_training"], measured_on=record["things_measured_on"],
        known=", ".join(zero["novel_emoji_known_otherwise"]), trials=trials(record), amended=record.get("amended", ""),
        templates=", ".join(f'"{template}"' for template in TEMPLATES),
        seen="\n".join(seen(name, record) for name in record["images"]), rows="\n".join(rows(zero)),
        styles="\n".join(styled(name, found) for name, found in zero["things_val"].items()),
        **{key: record[key] for key in ("pieces", "logit_scale", "hardware", "command", "commit")},
        **{key: record["settings"][key] for key in ("steps", "batch", "seed")}, **record["versions"],
    )


def trials(record: dict[str, Any]) -> str:
    """What else was tried, with what it scored on the validation pictures by which the choice was made."""
    tried = [(f"{one['steps']:,} steps from {origin(one['start'])}", one["zero_shot"]) for one in record.get("other_trials", [])]
    if not tried:
        return ""
    means = "; ".join(f"{name}: {mean(zero['val'])} and {mean(zero['things_val'])}" for name, zero in tried)
    own = f"this one: {mean(record['zero_shot']['val'])} and {mean(record['zero_shot']['things_val'])}"
    return (f" {len(tried) + 1} runs were made, side by side.\n"
            f"Mean over the six validation parts, and over the six styles of things: {own}; {means}.\n"
            "The shortest was kept, as it names the styles it never saw best.")


def mean(found: dict[str, Any]) -> float:
    return round(sum(numbers["accuracy"] for numbers in found.values()) / len(found), 1)


def origin(start: str) -> str:
    return "random weights" if start == "none" else start


def seen(name: str, record: dict[str, Any]) -> str:
    names, kind = record["names"].get(name), "" if name in REAL else ", rendered in the style `plain`"
    told = len(names) if names is not None else "true captions"
    return f"| {name}{kind} | {record['images'][name]:,} | {told} | {round(100 * record['shares'][name])} % |"


def rows(zero: dict[str, Any]) -> list[str]:
    found = {f"{name}, validation": numbers for name, numbers in zero["val"].items()}
    found |= {"emoji3, novel": zero["novel_emoji"], "handwritten digits of scikit-learn, never seen": zero["digits"]}
    return ["| " + " | ".join(map(str, (name, *(numbers[key] for key in ("accuracy", "chance", "pictures", "names"))))) + " |"
            for name, numbers in found.items()]


def styled(name: str, found: dict[str, Any]) -> str:
    return "| " + " | ".join(map(str, (name, *(found[key] for key in ("accuracy", "base", "novel", "colour", "shape"))))) + " |"


def write_section(record: dict[str, Any], page: Path) -> None:
    put_section(page, HEADING, section(record))
