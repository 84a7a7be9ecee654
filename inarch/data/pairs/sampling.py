"""Which of several answers an example is trained on in an epoch: a pure function of (seed, epoch, key).

    P(answer a) = w_a / sum of w        the weight w_a itself then scales the loss

The same in every worker and process, before and after a resume. An example without a scored answer gives ("", 0.0),
as in the released code: it counts in the batch mean and teaches nothing.
"""

from __future__ import annotations

from inarch.data.pairs.example import Example
from inarch.training.order import keyed

SPAN = 1 << 63  # keyed draws from 0 .. SPAN - 1


def sampled_target(example: Example, seed: int, epoch: int) -> tuple[str, float]:
    """One of the example's targets with its weight.

    >>> sampled_target(Example("7", ("cat.jpg",), "vqa: What is it?", (("cat", 1.0),)), seed=0, epoch=3)
    ('cat', 1.0)
    """
    targets = example.targets
    if len(targets) < 2:
        return targets[0] if targets else ("", 0.0)
    point = keyed(seed, "target", epoch, example.key) / SPAN * sum(weight for _, weight in targets)
    for target in targets:
        point -= target[1]
        if point < 0:
            return target
    return targets[-1]  # the last weight, lost to rounding
