"""The 33 damaged adapters that were tried on peers, made of a folder that ``inarch.save`` wrote: every one is refused."""

import pytest
from campaign.cases import CASES, Case
from campaign.libraries import BASES, Ours, base, resealable
from campaign.peers import Trial

ROWS = {
    "truncated to 5 bytes": "A1", "truncated to a half": "A1", "truncated by one byte": "A1", "empty": "A4", "random bytes": "A4",
    "trailing garbage": "A2", "header length": "A5", "offsets outside": "A6", "offsets overlapping": "A6", "wrong shape": "A10",
    "r changed": "A10", "r negative": "B3", "target not found": "B6", "config missing": "A20", "wider base": "A14",
    "pickle payload": "A15", "r as string": "B2", "bad type": "B2", "broken JSON": "A5", "weights missing": "A20",
    "one key missing": "A8", "half of the keys missing": "A8", "all keys renamed": "A8", "typo in the config": "B1",
    "one flipped bit": "A2", "NaN weight": "A12", "inf weight": "A12", "int8 weight": "A11", "alpha NaN": "B3", "alpha x100": "A2",
    "extra key": "A9", "other base of the same shape": "A13", "base with half the depth": "A14",
}


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Trial:
    return Trial(Ours(), tmp_path_factory.mktemp("peers"), {name: base(name) for name in BASES})


def param(case: Case):
    return pytest.param(case, id=case.name, marks=pytest.mark.row(ROWS[case.name], f"an adapter: {case.name}"))


@pytest.mark.parametrize("case", [param(case) for case in CASES])
def test_a_peer_s_case_is_refused(trial: Trial, case: Case, tried):
    """A ``CheckpointError`` that names the file, the model untouched, nothing run; also with every digest made right again, unless that
    makes another good adapter."""
    found = trial(case)
    assert (found["outcome"], found.get("model_untouched"), found["canary"]) == ("refused", True, False), found
    assert case.name in found["says"], "the message names the file"
    tried(1)
    if resealable(case):
        found = trial(case, resealed=True)
        assert found["outcome"] == ("silent" if case.legal else "refused") and found.get("model_untouched", True), found
        assert not found["canary"]
        tried(1)


def test_there_are_33():
    assert len({case.name for case in CASES}) == len(ROWS) == 33
