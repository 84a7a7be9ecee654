"""What was learned of one model is used for another of the same structure alone: whatever roles could depend on is part of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from adapter_files import fresh
from torch import nn

import inarch
from inarch import ARC, roles, structure
from inarch.structure import learned, walk


def base() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Module())


def renamed(model: nn.Module) -> None:
    model._modules["first"] = model._modules.pop("0")


def renamed_tensor(model: nn.Module) -> None:
    model[0]._parameters["kernel"] = model[0]._parameters.pop("weight")


def tied(model: nn.Module) -> None:
    model[1].weight = model[0].weight


def another_class(model: nn.Module) -> None:
    model[0].__class__ = type("Linear", (nn.Linear,), {})


def another_root(model: nn.Module) -> None:
    model.__class__ = type("Sequential", (nn.Sequential,), {})


def moved_down(model: nn.Module) -> None:
    model[2].add_module("0", model._modules.pop("0"))


def without_bias(model: nn.Module) -> None:
    model[0].bias = None


def with_nothing(model: nn.Module) -> None:
    model[2].register_module("empty", None)


def narrowed(model: nn.Module) -> None:
    model[0].weight.data = model[0].weight.data.half()


def cut(model: nn.Module) -> None:
    model[0].weight.data = model[0].weight.data[:2]


CHANGES = [renamed, renamed_tensor, tied, another_class, another_root, moved_down, without_bias, with_nothing, narrowed, cut]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(change: Callable[[nn.Module], None]):
    changed = base()
    change(changed)
    assert walk(base())[0] == walk(base())[0] != walk(changed)[0]


def test_it_is_seen_which_tensors_are_tied():
    first, second = (nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(3))) for _ in range(2))
    first[1].weight, second[2].weight = first[0].weight, second[0].weight
    assert len(walk(first)[1]) == len(walk(second)[1]) and walk(first)[0] != walk(second)[0]


def test_tensors_are_met_once_and_none_of_an_adapter():
    model = base()
    tied(model)
    model.add_module("inarch", nn.Linear(3, 3))
    assert len(walk(model)[1]) == len({id(tensor) for tensor in walk(model)[1]}) == 3


def test_names_and_roles_are_those_of_the_model_itself():
    for model in (fresh(), fresh(seed=3)):
        known, tensors = learned(model)
        assert known.roles == roles.canonical(model) and all(tensors[place] is model.get_parameter(n) for n, place in known.places.items())
        mine = roles.base_parameters(model)
        named = known.named(tensors)
        assert named.keys() == mine.keys() and all(named[name] is tensor for name, tensor in mine.items())


def test_a_second_load_learns_nothing_anew(tmp_path, monkeypatch):
    """Not with a head either, which is found by its role."""
    model = fresh()
    inarch.save(inarch.graft(model, ARC(rank=4), thaw="head"), tmp_path / "a")
    head = model.classifier.weight.detach().clone()
    for module in (structure.roles, inarch.anatomy):
        for name in {"canonical", "blocks"} & vars(module).keys():
            monkeypatch.setattr(module, name, lambda *args: pytest.fail("learned again"))
    with torch.no_grad():
        model.classifier.weight.zero_()
    inarch.load(model, tmp_path / "a", replace=True)
    assert torch.equal(model.classifier.weight, head)
