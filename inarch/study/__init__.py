"""The comparison runner: which runs a comparison needs, the ones that are missing done by worker processes, one report.

    entries   a method at a size that meets the budget             jobs    trial (a rate on validation) | seed (the chosen rate, scored)
    agenda    trials -> the best rate -> seeds, for every entry and data set        crew    local processes, or a Ray cluster
A finished job is known by the hash of its recipe and data and is never done again, whoever stopped the comparison and when.
"""

from inarch.study.runner import Wish, study

__all__ = ["Wish", "study"]
