"""The report of the ablations of our AdaRing, from the results that are there: docs/adaring-ablations.md and two figures.

    python scripts/ablation_report.py           writes            python scripts/ablation_report.py --check     says whether it is stale

Every number in it, also in its sentences, is computed here from results/fewshot, results/fewshot-trials and results/stand-in.json.
results/fewshot/*.txt hold what failed runs said: lines "SET/ENTRY-seedN failed: ...", as scripts/ablate_few_shot.py prints them.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # its neighbours, also when it is imported

from ablate_few_shot import ENTRIES, SEEDS, Entry
from stand_in import sentences
from stand_in.claims import CLAIMS, find, short
from stand_in.figures import draw
from stand_in.scores import MEASURES, Score, Study, mean, read_study
from stand_in.sources import REPORTED

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "fewshot"
TARGET = ROOT / "docs" / "adaring-ablations.md"
BESIDE = dict.fromkeys(("gates", "losses", "single or mixed ranks", "towers", "ring or dense, our recipe", "other methods"), "adaring")
WIDE = 140

HEAD = """# Ablations of our AdaRing

Made by `python scripts/ablation_report.py` from [results/fewshot](../results/fewshot); no number on this page is typed. AdaRing here is
*our* design after the paper's abstract ([methods](methods.md#adaring)); none of this says anything about the authors' code or tables.

## What stands in for CLIP

No CLIP could be had. The image tower is a real ViT-Tiny (AugReg, ImageNet), the text tower a real MiniLM sentence encoder, both as
they came; a projection between them was trained by contrast (`scripts/align_stand_in.py`) on the names and rows of the ViT's classifier
and on training images of {seen}. It saw no name and no image of fruits71 and eurosat10, and no image of the novel half of
emoji3; a test compares words and hashes ([tests/test_stand_in.py](../tests/test_stand_in.py)). {borrowed}
What the image tower met in its own pre-training (ImageNet has fruits and landscapes) is not undone. Before anything is adapted:

{zero_shot}

{poor}
**emoji3 is called *unadapted*, not zero-shot**: the alignment saw the training images and the names of its base half. So its base
column begins high, its validation images are known already (only the third vendor, who tests, is new), and its novel column is
about new names in pictures of a familiar kind. It has fewer training images of a name than the shots asked for: all are learned.
The stand-in's settings were chosen by names of the classifier that were held out, but the alignment also prints the table above at
every run: it was in sight.

## What these runs can say, and what not

- {runs} {missing}
- Base accuracy is few-shot learning by names, and on fruits71 and eurosat10 there is much to learn. Novel accuracy asks whether what
  the model knew survives or grows; where it knew nothing, there is nothing to keep. {at_chance}
- **Ties.** Two entries are *level* on a set if their ranges over the seeds that both have meet. If they do not, *ahead* or *behind* is
  said; with a question mark if the means differ by less than twice the standard error that so many test images have. Even so: {luck}
  and {count} comparisons are made below, so single ones of them are hints.
- The rate of each entry is the best of its trials on validation images of fruits71's base classes, one rate for all sets: novel names
  and the other sets had no say, which favours what fits base classes. {edge}
- {hardware}
- With the losses on, every entry is held near the same frozen model: this narrows what could tell parameterisations apart, and most
  pairs below have them on.
- Not run, though our design names them: other ranges of layers, the input router, ring against LoTR, a longer ring, the scale at test
  time, exchanged slices. A stand-in of this size cannot confirm or contradict the paper's averages on CLIP ViT-B/16.

## What the numbers support

In short, by the verdicts below (a claim is judged by the measures that it is about; `?` and *level* count as no difference):

{short}

Claim by claim, mean difference in points by set:

{claims}

### Unstable

{unstable}

![Harmonic mean against trained numbers, three sets](../results/fewshot/harmonic-by-numbers.png)

![Differences of the pairs above, three sets](../results/fewshot/differences.png)

## All entries

Accuracy in % on test images after the last update: mean [min, max] over the seeds named. The default stands beside what changes it.

{tables}
## All trials

Validation accuracy in % on fruits71's base classes, seed 42; bold: chosen. Entries that are not here have the rate of their recipe.

{trials}
## All runs

{every}"""


def document(study: Study) -> str:
    found = [find(study, claim) for claim in CLAIMS]
    parts = {make.__name__: make(study) for make in (zero_shot, sentences.poor, sentences.borrowed, sentences.runs,
                                                     sentences.missing, sentences.at_chance, sentences.edge, sentences.hardware,
                                                     sentences.unstable, trials, every)}
    text = HEAD.format(seen=sentences.listed(study.stand_in["seen"][:-1]), luck=sentences.luck(),
                       count=len(CLAIMS) * len(MEASURES) * len(REPORTED), short=sentences.in_short(found),
                       claims="\n".join(map(sentences.said, sentences.told(study, found))),
                       tables="\n".join(table(study, *group) for group in groups().items()), **parts)
    return wrapped(text)


def wrapped(text: str) -> str:
    """Paragraphs and points within the width of a page; tables, headings and pictures as they are."""
    blocks: list[list[str]] = []
    for line in text.split("\n"):
        joins = line and line[0] not in "|!#-" and blocks and blocks[-1][0] and blocks[-1][0][0] not in "|!#"
        if joins:
            blocks[-1].append(line.strip())
        else:
            blocks.append([line])
    return "\n".join(filled(" ".join(block)) for block in blocks)


def filled(block: str) -> str:
    if not block or block[0] in "|!#":
        return block
    return textwrap.fill(block, WIDE, subsequent_indent="  " * block.startswith("- "), break_long_words=False, break_on_hyphens=False)


def groups() -> dict[str, list[str]]:
    """Question -> the entries that answer it, both recipes of ring or dense beside each other."""
    found: dict[str, list[str]] = {}
    for entry in ENTRIES:
        found.setdefault(entry.question, []).append(entry.name)
    return found


def rows(head: list[str], lines: list[list[str]], numbers: int) -> str:
    """A table whose last ``numbers`` columns stand to the right."""
    marks = ["---"] * (len(head) - numbers) + ["--:"] * numbers
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, marks, *lines]) + "\n"


def zero_shot(study: Study) -> str:
    found = study.stand_in["zero-shot"]
    return rows(["names", "top-1, %", "chance, %", "images"],
                [[name, f"{one['top1']:.1f}", f"{one['chance']:.1f}", str(one["images"])] for name, one in found.items()], 3).rstrip()


def table(study: Study, question: str, entries: list[str]) -> str:
    beside = [BESIDE[question]] if question in BESIDE else []
    lines = []
    for source in REPORTED:
        lines += [line(study, entry, source) for entry in [*beside, *entries]]
    head = ["set", "entry", "seeds", "trained", "rate", "base", "novel", "harmonic mean"]
    return f"### {question[0].upper()}{question[1:]}\n\n{rows(head, lines, 5)}"


def line(study: Study, entry: str, source: str) -> list[str]:
    scores = study.of(entry, source)
    some = study.some(entry)
    numbers = [f"{some.trained:,}" if some else "–", f"{some.rate:g}" if some and some.trained else "–"]
    return [source, entry, seeds(study, entry, source), *numbers, *(spread([*scores.values()], measure) for measure in MEASURES)]


def seeds(study: Study, entry: str, source: str) -> str:
    """Which are there, which collapsed, diverged or were not run."""
    here, said = study.of(entry, source), []
    for seed in SEEDS:
        if seed in here:
            said.append(f"{seed} collapsed" if study.collapsed(here[seed]) else str(seed))
        else:
            failure = study.failed.get((entry, source, seed))
            said.append(f"{seed} {short(failure).partition(' (')[0]}" if failure else f"{seed} not run")
    return ", ".join(said)


def spread(scores: list[Score], measure: str) -> str:
    values = [getattr(score, measure) for score in scores]
    if not values:
        return "–"
    return f"{mean(values):.1f} [{min(values):.1f}, {max(values):.1f}]" if len(values) > 1 else f"{values[0]:.1f}"


def trials(study: Study) -> str:
    lines = [[entry.name, ", ".join(trial(study, entry, one) for one in entry.rates)] for entry in ENTRIES if len(entry.rates) > 1]
    return rows(["entry", "rate: accuracy"], lines, 0)


def trial(study: Study, entry: Entry, one: str) -> str:
    score = study.trials.get((entry.name, one))
    text = f"{one}: {'not run' if score is None else f'{score:.1f}'}"
    return f"**{text}**" if study.some(entry.name) and sentences.rate(study, entry.name) == float(one) else text


def every(study: Study) -> str:
    order = {entry.name: place for place, entry in enumerate(ENTRIES)}
    lines = []
    for score in sorted(study.scores, key=lambda s: (REPORTED.index(s.source), order[s.entry], s.seed)):
        values = [f"{getattr(score, measure):.1f}" for measure in MEASURES]
        lines.append([score.source, score.entry, str(score.seed), score.hardware, *values])
    return rows(["set", "entry", "seed", "hardware", "base", "novel", "harmonic mean"], lines, 3)


def study_here() -> Study:
    return read_study(RESULTS, ROOT / "results" / "fewshot-trials", ROOT / "results" / "stand-in.json")


def stale() -> bool:
    """Whether the document is not what its results say now."""
    return not TARGET.exists() or TARGET.read_text("utf-8") != document(study_here())


def main(words: list[str]) -> int:
    if words == ["--check"]:
        old = stale()
        print(f"stale: {TARGET.name}; run python scripts/ablation_report.py" if old else "the report is current")
        return int(old)
    study = study_here()
    TARGET.write_text(document(study), "utf-8")
    for path in [TARGET, *draw(study, groups(), RESULTS)]:
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
