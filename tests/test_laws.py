"""The laws, over every method and every backbone row. A cell passes, or ``graft`` refuses it with a reason that is on review below."""

import copy
import pickle

import pytest
from families import FAMILIES
from grid import CELLS, METHODS, REFUSED, STAY, TABLE, soon

import inarch.methods
from inarch.testing import laws


def cells(law, *row: str):
    """Parametrise a law over the grid without the refused cells of the table, which ``test_refusals_are_the_reviewed_ones`` tries.

    ``row``: of the fault table, that the cells of the default tier answer for.
    """
    marks = [pytest.mark.row(*row)] if row else []
    taken = [pytest.param(*cell, marks=marks if soon(*cell) else pytest.mark.long) for cell in CELLS if cell not in REFUSED]
    return pytest.mark.parametrize(("family", "method"), taken)(law)


def answers_for(name: str, fault: str):
    return lambda law: cells(law, name, fault)


@answers_for("D7", "a fresh adapter of every method against the frozen base, in fp64")
def test_identity_at_the_start_iff_the_method_says_so(family, method):
    """Outputs are bit-equal to the base's exactly where the method says that it starts as the identity, and differ where it says not."""
    laws.identity(FAMILIES[family], METHODS[method])


@cells
def test_gradient_reaches_every_trained_tensor_and_nothing_else(family, method):
    laws.gradient(FAMILIES[family], METHODS[method], lambda name: _no_gradient_by_nature(name, method))


def _no_gradient_by_nature(name: str, method: str) -> bool:
    """Full fine-tuning and BitFit train tensors that a task may not touch: logit scales, mask tokens, unused poolers, key biases.

    A constant on all keys cancels in the softmax, so the last bias of an adapter on the keys gets none either.
    """
    if name.startswith("inarch."):
        return name == "inarch.default.decoder_cross_k_32.update.up_bias"
    return method in ("full", "bitfit")


@cells
def test_ungraft_restores_outputs_names_and_flags(family, method):
    laws.taken_off(FAMILIES[family], METHODS[method])


@cells
def test_disabled_is_the_frozen_base(family, method):
    laws.disabled(FAMILIES[family], METHODS[method])


@cells
def test_save_and_load_round_trip(family, method, tmp_path):
    laws.saved(FAMILIES[family], METHODS[method], tmp_path)


@cells
@pytest.mark.parametrize("copier", [copy.deepcopy, pytest.param(lambda m: pickle.loads(pickle.dumps(m)), marks=pytest.mark.long)],
                         ids=["deepcopy", "pickle"])
def test_copies_are_independent(family, method, copier):
    laws.copies(FAMILIES[family], METHODS[method], copier)


@answers_for("F4", "merge of every method: what folds must agree to 1e-12 in fp64, what does not must refuse")
def test_merge_equals_the_graft_or_refuses_before_it_writes(family, method):
    """A ConfigError before a weight is changed where the method is not affine; never an approximation."""
    assert laws.merged(FAMILIES[family], METHODS[method]) == (method not in STAY)


@cells
def test_grafting_the_same_name_twice_is_refused(family, method):
    laws.once(FAMILIES[family], METHODS[method])


@cells
def test_the_base_keeps_its_own_names(family, method):
    laws.names(FAMILIES[family], METHODS[method])


@cells
def test_counts_are_what_requires_a_gradient(family, method):
    laws.counts(FAMILIES[family], METHODS[method])


def test_every_registered_method_is_under_the_laws():
    assert set(inarch.methods.METHODS.values()) <= {type(method) for method in METHODS.values()}


@pytest.mark.parametrize("family", FAMILIES)
def test_refusals_are_the_reviewed_ones(family):
    """Which cells a method refuses, and why: regenerate with ``python tests/test_laws.py`` and review the diff."""
    assert [line for (place, _), line in REFUSED.items() if place == family] == refusals(family)


def test_refusals_are_of_the_grid():
    assert set(REFUSED) <= set(CELLS)
    assert TABLE.read_text() == table([line for family in FAMILIES for (place, _), line in REFUSED.items() if place == family])


def refusals(family: str) -> list[str]:
    """Lines of the table."""
    found = {method: laws.refusal(FAMILIES[family], METHODS[method]) for place, method in CELLS if place == family}
    return [f"| {family} | {method} | {reason} |" for method, reason in found.items() if reason is not None]


def table(lines: list[str]) -> str:
    head = ["# Cells that `graft` refuses, with the reason it gives", "", "| family | method | reason |", "|---|---|---|"]
    return "\n".join([*head, *lines]) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table([line for family in FAMILIES for line in refusals(family)]))
