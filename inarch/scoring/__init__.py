"""What a text model said, in numbers: strings in, plain JSON out.

    metric      headline        scale                  what it is
    vqa         vqa_accuracy    0 .. 1                 official VQA accuracy over the people's answers (inarch/scoring/vqa.py)
    exact       exact_match     0 .. 1                 same string, times the label's weight (GQA, TVQA, How2QA)
    accuracy    accuracy        0 .. 1                 the right choice (NLVR2)
    cider       cider           0 .. 1000, as papers   CIDEr x100; with it BLEU-4 and METEOR x100 (inarch/scoring/caption.py)

Fractions are fractions, as in ``inarch.metrics``; the three caption metrics are x100, as every paper has them. What has no value is
``None``, and ``unavailable`` says why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inarch.errors import ConfigError, DataError, MissingExtra, nearest

if TYPE_CHECKING:
    from inarch.data.pairs import Example

HEADLINES = {"vqa": "vqa_accuracy", "exact": "exact_match", "accuracy": "accuracy", "cider": "cider"}

__all__ = ["score", "per_example", "headline", "points"]


def score(metric: str, predictions: Sequence[str], examples: Sequence[Example], *, quick: bool = False) -> dict[str, Any]:
    """Every number of ``metric`` ("vqa", "exact", "accuracy" or "cider"), the headline first; one prediction per example.

    ``groups`` has the headline of every ``Example.group`` where there are groups; ``empty`` counts predictions without a character.
    ``quick`` leaves out what selects no epoch: BLEU-4, and METEOR, which starts Java.
    """
    each = per_example(metric, predictions, examples)
    found: dict[str, Any] = {headline(metric): _mean(each), "n": len(each), "empty": sum(not said.strip() for said in predictions)}
    if metric == "vqa":
        found["vqa_accuracy_released"] = _mean(_vqa(predictions, examples, "released"))
    if metric == "cider":
        found |= _caption_facts(examples) | ({} if quick else _other_caption_metrics(predictions, examples))
    return found | _groups(headline(metric), each, examples)


def per_example(metric: str, predictions: Sequence[str], examples: Sequence[Example]) -> list[float]:
    """The score of each prediction, on the headline's scale: their mean is the headline."""
    headline(metric)
    _check(metric, predictions, examples)
    if metric == "vqa":
        return _vqa(predictions, examples, "official")
    if metric == "cider":
        from inarch.scoring.caption import cider

        return cider(predictions, [example.references for example in examples])[1]
    from inarch.scoring import exact

    return (exact.exact if metric == "exact" else exact.accuracy)(predictions, [_answers(example) for example in examples])


def headline(metric: str) -> str:
    """The key of the number that selects an epoch and leads a table.

    >>> headline("cider")
    'cider'
    """
    if metric not in HEADLINES:
        raise ConfigError(f"metric={metric!r} is not known; {nearest(metric, HEADLINES)}")
    return HEADLINES[metric]


def points(metric: str, value: float) -> float:
    """A headline on the papers' scale, on which tasks are averaged: fractions become percent, CIDEr is there already.

    >>> points("accuracy", 0.5), points("cider", 113.5)
    (50.0, 113.5)
    """
    return value if headline(metric) == "cider" else 100 * value


def _vqa(predictions: Sequence[str], examples: Sequence[Example], form: Any) -> list[float]:
    from inarch.scoring.vqa import vqa_accuracy

    return vqa_accuracy(predictions, [example.references for example in examples], form)


def _answers(example: Example) -> Mapping[str, float]:
    """What is right, and how much: the references, with the weights that the targets give them."""
    return dict.fromkeys(example.references, 1.0) | dict(example.targets)


def _caption_facts(examples: Sequence[Example]) -> dict[str, Any]:
    facts: dict[str, Any] = {"references": sum(len(example.references) for example in examples)}
    if len(examples) == 1:
        facts["notes"] = ["CIDEr of a set of one image is always 0: every n-gram is in every image"]
    return facts


def _other_caption_metrics(predictions: Sequence[str], examples: Sequence[Example]) -> dict[str, Any]:
    from inarch.scoring.caption import bleu4
    from inarch.scoring.meteor import meteor

    found: dict[str, Any] = {}
    missing = {}
    for name, measure in (("bleu4", bleu4), ("meteor", meteor)):
        try:
            found[name] = measure(predictions, [example.references for example in examples])[0]
        except MissingExtra as error:
            found[name], missing[name] = None, str(error)
    return found | ({"unavailable": missing} if missing else {})


def _groups(key: str, each: Sequence[float], examples: Sequence[Example]) -> dict[str, Any]:
    of: dict[str, list[float]] = defaultdict(list)
    for value, example in zip(each, examples, strict=True):
        of[example.group].append(value)
    if not any(of):
        return {}
    return {"groups": {name: {key: _mean(of[name]), "n": len(of[name])} for name in sorted(of)}}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _check(metric: str, predictions: Sequence[str], examples: Sequence[Example]) -> None:
    if len(predictions) != len(examples):
        raise DataError(f"{len(predictions)} predictions for {len(examples)} examples; expected one each, in the same order")
    if not examples:
        raise DataError("no predictions to score; expected at least one example")
    for said, example in zip(predictions, examples, strict=True):
        if not isinstance(said, str):
            raise DataError(f"example {example.key!r}: the prediction is {said!r}; expected text")
    bare = [example.key for example in examples if not (example.references or (metric in ("exact", "accuracy") and example.targets))]
    if bare:
        raise DataError(
            f"example {bare[0]!r}: no references, {len(bare)} of {len(examples)} examples have none; {metric!r} needs what a prediction "
            "is compared with, so a part without answers can be predicted, not scored"
        )
