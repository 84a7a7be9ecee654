"""The same string or not.

    GQA                 score = weight of the label that the prediction equals, else 0      (the evaluator of LXMERT and VL-T5)
    TVQA, How2QA        score = 1 if the prediction is the letter of the right choice, a0 .. a4, else 0
    NLVR2               score = 1 if the chosen word is the label, true or false, else 0

Nothing is made normal: case, spaces and full stops count, as in those evaluators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def exact(predictions: Sequence[str], answers: Sequence[Mapping[str, float]]) -> list[float]:
    """Per example, the weight of the answer that was given: ``answers [n]`` map each right string to its weight.

    >>> exact(["red", "Red"], [{"red": 1.0, "dark red": 0.3}] * 2)
    [1.0, 0.0]
    """
    return [float(right.get(said, 0.0)) for said, right in zip(predictions, answers, strict=True)]


def accuracy(predictions: Sequence[str], answers: Sequence[Mapping[str, float]]) -> list[float]:
    """Per example, 1 where the choice is a right one, whatever its weight.

    >>> accuracy(["true", "false"], [{"true": 1.0}] * 2)
    [1.0, 0.0]
    """
    return [float(said in right) for said, right in zip(predictions, answers, strict=True)]
