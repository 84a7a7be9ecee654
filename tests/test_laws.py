"""The laws, over every method and every backbone row. A cell passes, or ``graft`` refuses it with a reason that is on review below."""

import copy
import pickle
from functools import cache
from pathlib import Path

import pytest
import torch
from families import FAMILIES, Family, pristine
from grid import CELLS, METHODS, STAY, soon

import inarch
import inarch.methods
from inarch.errors import CannotFold, CannotGraft

TABLE = Path(__file__).with_name("refusals.md")


@torch.no_grad()
def quiet(kind: Family, model: torch.nn.Module) -> torch.Tensor:
    return kind.run(model)


def base_output(family: str, like: torch.nn.Module) -> torch.Tensor:
    """The untouched base, frozen where ``like`` is: which fused kernels run depends on what requires a gradient, even without one."""
    flags = {name: parameter.requires_grad for name, parameter in like.named_parameters()}
    return _base_output(family, tuple(flags[name] for name, _ in pristine(family).named_parameters()))


@cache
def _base_output(family: str, flags: tuple[bool, ...]) -> torch.Tensor:
    model = copy.deepcopy(pristine(family))
    for parameter, flag in zip(model.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)
    return quiet(FAMILIES[family], model)


@cache
def refusal(family: str, method: str) -> str | None:
    try:
        inarch.graft(copy.deepcopy(pristine(family)), METHODS[method])
    except CannotGraft as reason:
        return str(reason)
    return None


def shake(model: torch.nn.Module) -> None:
    """Move everything that trains away from its start."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def grafted(family: str, method: str, *, moved: bool = True) -> tuple[Family, torch.nn.Module]:
    model = copy.deepcopy(pristine(family))
    torch.manual_seed(1)
    inarch.graft(model, METHODS[method])
    if moved:
        shake(model)
    return FAMILIES[family], model


def cells(law, *row: str):
    """Parametrise a law over the grid without the refused cells, which ``test_refusals`` reviews one by one.

    ``row``: of the fault table, that the cells of the default tier answer for.
    """
    marks = [pytest.mark.row(*row)] if row else []
    taken = [pytest.param(*cell, marks=marks if soon(*cell) else pytest.mark.long) for cell in CELLS if refusal(*cell) is None]
    return pytest.mark.parametrize(("family", "method"), taken)(law)


def answers_for(name: str, fault: str):
    return lambda law: cells(law, name, fault)


@answers_for("D7", "a fresh adapter of every method against the frozen base, in fp64")
def test_identity_at_the_start_iff_the_method_says_so(family, method):
    """Outputs are bit-equal to the base's exactly where the method says that it starts as the identity, and differ where it says not."""
    kind, model = grafted(family, method, moved=False)
    same = torch.equal(quiet(kind, model), base_output(family, model))
    assert same == model.inarch.scion("default").method.identity_at_start  # with what the backbone filled in


@cells
def test_gradient_reaches_every_trained_tensor_and_nothing_else(family, method):
    kind, model = grafted(family, method)
    out = kind.run(model)
    out.square().sum().backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
        elif not _no_gradient_by_nature(name, method):
            assert parameter.grad is not None, name
            rows = parameter.grad.flatten(1) if name.startswith("inarch.") and parameter.dim() > 1 else parameter.grad.flatten()[None]
            assert rows.abs().sum(-1).min() > 0, name


def _no_gradient_by_nature(name: str, method: str) -> bool:
    """Full fine-tuning and BitFit train tensors that a task may not touch: logit scales, mask tokens, unused poolers, key biases.

    A constant on all keys cancels in the softmax, so the last bias of an adapter on the keys gets none either.
    """
    if name.startswith("inarch."):
        return name == "inarch.default.decoder_cross_k_32.update.up_bias"
    return method in ("full", "bitfit")


def hooks(model: torch.nn.Module) -> list[int]:
    """How many each module has: a vision-language backbone has its own."""
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


@cells
def test_ungraft_restores_outputs_names_and_flags(family, method):
    kind, model = grafted(family, method)
    assert not torch.equal(quiet(kind, model), base_output(family, model))
    inarch.ungraft(model)
    before = pristine(family)
    assert torch.equal(quiet(kind, model), base_output(family, model))
    assert list(model.state_dict()) == list(before.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.state_dict().values(), strict=True))
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in before.parameters()]
    assert hooks(model) == hooks(before)


@cells
def test_disabled_is_the_frozen_base(family, method):
    kind, model = grafted(family, method)
    after = quiet(kind, model)
    with inarch.disabled(model):
        assert torch.equal(quiet(kind, model), base_output(family, model))
    assert torch.equal(quiet(kind, model), after)


@cells
def test_save_and_load_round_trip(family, method, tmp_path):
    kind, model = grafted(family, method)
    inarch.save(model, tmp_path / "a", extra={"classes": ["x"]})
    fresh = copy.deepcopy(pristine(family))
    assert inarch.load(fresh, tmp_path / "a") == {"classes": ["x"]}
    assert torch.equal(quiet(kind, fresh), quiet(kind, model))
    assert {n for n, p in fresh.named_parameters() if p.requires_grad} == {n for n, p in model.named_parameters() if p.requires_grad}


@cells
@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_are_independent(family, method, copier):
    kind, model = grafted(family, method)
    before = quiet(kind, model)
    twin = copier(model)
    shake(twin)
    moved = quiet(kind, twin)
    assert torch.equal(quiet(kind, model), before) and not torch.equal(moved, before)
    inarch.ungraft(model)
    assert torch.equal(quiet(kind, twin), moved)
    inarch.ungraft(twin)
    assert torch.equal(quiet(kind, twin), base_output(family, twin))


@answers_for("F4", "merge of every method: what folds must agree to 1e-12 in fp64, what does not must refuse")
def test_merge_equals_the_graft_or_refuses_before_it_writes(family, method):
    """A ConfigError before a weight is changed where the method is not affine; never an approximation."""
    kind, model = grafted(family, method)
    expected = quiet(kind, model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        inarch.merge(model)
    except CannotFold:
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
        assert torch.equal(quiet(kind, model), expected)
        assert method in STAY
        return
    assert method not in STAY
    assert (quiet(kind, model) - expected).abs().max() < 1e-12
    assert not any(name.startswith("inarch") for name in model.state_dict())
    assert hooks(model) == hooks(pristine(family))
    inarch.unmerge(model)
    assert torch.equal(quiet(kind, model), expected)
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())


@cells
def test_grafting_the_same_name_twice_is_refused(family, method):
    _, model = grafted(family, method)
    with pytest.raises(CannotGraft, match="already on this model"):
        inarch.graft(model, METHODS[method])


@cells
def test_the_base_keeps_its_own_names(family, method):
    _, model = grafted(family, method)
    names = set(pristine(family).state_dict())
    assert names == {name for name in model.state_dict() if not name.startswith("inarch.")}
    model.load_state_dict(pristine(family).state_dict(), strict=False)


@cells
def test_counts_are_what_requires_a_gradient(family, method):
    _, model = grafted(family, method)
    count = inarch.count(model)
    assert count.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert count.adapter == sum(p.numel() for n, p in model.named_parameters() if n.startswith("inarch."))


def test_every_registered_method_is_under_the_laws():
    assert set(inarch.methods.METHODS.values()) <= {type(method) for method in METHODS.values()}


def test_refusals_are_the_reviewed_ones():
    """Which cells a method refuses, and why: regenerate with ``python tests/test_laws.py`` and review the diff."""
    assert TABLE.read_text() == refusal_table()


def refusal_table() -> str:
    lines = ["# Cells that `graft` refuses, with the reason it gives", "", "| family | method | reason |", "|---|---|---|"]
    lines += [f"| {f} | {m} | {refusal(f, m)} |" for f, m in CELLS if refusal(f, m) is not None]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(refusal_table())
