"""What holds for every method on every model, whatever its maths; each law takes a stock and a method and raises where it is broken.

A method may refuse to be grafted on a stock (``CannotGraft`` with the reason); where it is grafted, no law has an exception.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

import inarch
from inarch.adapter import Method
from inarch.container import container_of
from inarch.errors import CannotFold, CannotGraft
from inarch.testing.stocks import Stock, pristine

TOLERANCE = 1e-12  # of what is computed in another order in fp64


class LawBroken(AssertionError):
    """A law does not hold; the message says where."""


def hold(fact: bool, otherwise: str) -> None:
    if not fact:
        raise LawBroken(otherwise)


@torch.no_grad()
def quiet(stock: Stock, model: nn.Module) -> Tensor:
    """What the model says, without a graph."""
    return stock.run(model)


def base_output(stock: Stock, like: nn.Module) -> Tensor:
    """The untouched base, frozen where ``like`` is: which fused kernels run depends on what requires a gradient, even without one."""
    flags = {name: parameter.requires_grad for name, parameter in like.named_parameters()}
    return _base_output(stock, tuple(flags[name] for name, _ in pristine(stock).named_parameters()))


@lru_cache(256)
def _base_output(stock: Stock, flags: tuple[bool, ...]) -> Tensor:
    model = copy.deepcopy(pristine(stock))
    for parameter, flag in zip(model.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)
    return quiet(stock, model)


def refusal(stock: Stock, method: Method) -> str | None:
    """Why the method cannot be grafted there; None where it can."""
    model = _spare(stock)
    try:
        inarch.graft(model, method)
        inarch.ungraft(model)
    except CannotGraft as reason:
        return str(reason)
    except BaseException:
        _spare.cache_clear()  # it may stand half grafted
        raise
    return None


@lru_cache(1)
def _spare(stock: Stock) -> nn.Module:
    """For grafts that are taken off at once, or refused: neither leaves anything behind."""
    return copy.deepcopy(pristine(stock))


def shake(model: nn.Module) -> None:
    """Move everything that trains away from its start."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def grafted(stock: Stock, method: Method, *, moved: bool = True) -> nn.Module:
    model = copy.deepcopy(pristine(stock))
    torch.manual_seed(1)
    inarch.graft(model, method)
    if moved:
        shake(model)
    return model


def identity(stock: Stock, method: Method) -> None:
    """Outputs of a fresh graft are bit-equal to the base's exactly where the method says that it starts as the identity."""
    model = grafted(stock, method, moved=False)
    same = torch.equal(quiet(stock, model), base_output(stock, model))
    says = container_of(model).scion("default").method.identity_at_start  # with what the backbone filled in
    hold(same == says, f"{method}: identity_at_start is {says}, and a fresh graft {'leaves' if same else 'changes'} the base's outputs")


def gradient(stock: Stock, method: Method, spared: Callable[[str], bool] = lambda name: False) -> None:
    """Backward reaches every trained tensor in each of its layers, and nothing else. ``spared``: names that may go without."""
    model = grafted(stock, method)
    stock.run(model).square().sum().backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            hold(parameter.grad is None, f"{name} is frozen and got a gradient")
        elif not spared(name):
            _reached(name, parameter.grad)


def _reached(name: str, grad: Tensor | None) -> None:
    if grad is None:
        raise LawBroken(f"{name} trains and got no gradient")
    layers = grad.flatten(1) if name.startswith("inarch.") and grad.dim() > 1 else grad.flatten()[None]
    hold(float(layers.abs().sum(-1).min()) > 0, f"{name} trains and a part of it got no gradient")


def hooks(model: nn.Module) -> list[int]:
    """How many each module has: a vision-language backbone has its own."""
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def taken_off(stock: Stock, method: Method) -> None:
    """``ungraft`` gives back outputs, names, weights, flags and hooks, bit for bit."""
    model, before = grafted(stock, method), pristine(stock)
    hold(not torch.equal(quiet(stock, model), base_output(stock, model)), f"{method}: trained numbers change nothing in the outputs")
    inarch.ungraft(model)
    hold(torch.equal(quiet(stock, model), base_output(stock, model)), "outputs are not the base's after ungraft")
    hold(list(model.state_dict()) == list(before.state_dict()), "names are not the base's after ungraft")
    _same_values(model, before.state_dict(), "after ungraft")
    hold([p.requires_grad for p in model.parameters()] == [p.requires_grad for p in before.parameters()], "flags differ after ungraft")
    hold(hooks(model) == hooks(before), "hooks are left behind by ungraft")


def _same_values(model: nn.Module, state: dict[str, Tensor], when: str) -> None:
    now = model.state_dict()
    different = [name for name, value in state.items() if not torch.equal(value, now[name])]
    hold(not different, f"{len(different)} tensors differ {when}, the first {different[:1]}")


def disabled(stock: Stock, method: Method) -> None:
    """Inside ``disabled`` the model is the frozen base, and afterwards what it was."""
    model = grafted(stock, method)
    after = quiet(stock, model)
    with inarch.disabled(model):
        hold(torch.equal(quiet(stock, model), base_output(stock, model)), "a disabled graft is not the base")
    hold(torch.equal(quiet(stock, model), after), "outputs differ after disabled()")


def saved(stock: Stock, method: Method, folder: Path | None = None) -> None:
    """A file holds everything: a fresh base that loads it says the same and trains the same."""
    model, fresh = grafted(stock, method), copy.deepcopy(pristine(stock))
    with tempfile.TemporaryDirectory() as place:
        inarch.save(model, (folder or Path(place)) / "a", extra={"classes": ["x"]})
        extra = inarch.load(fresh, (folder or Path(place)) / "a")
    hold(extra == {"classes": ["x"]}, f"the extra that was saved came back as {extra}")
    hold(torch.equal(quiet(stock, fresh), quiet(stock, model)), "a loaded adapter says something else")
    train = [{name for name, p in m.named_parameters() if p.requires_grad} for m in (fresh, model)]
    hold(train[0] == train[1], f"what trains differs after loading: {sorted(train[0] ^ train[1])[:3]}")


def copies(stock: Stock, method: Method, copier: Callable[[nn.Module], nn.Module] = copy.deepcopy) -> None:
    """A copy and its original change, and are taken off, without one another."""
    model = grafted(stock, method)
    before = quiet(stock, model)
    twin = copier(model)
    shake(twin)
    moved = quiet(stock, twin)
    hold(torch.equal(quiet(stock, model), before), "training a copy changes the original")
    hold(not torch.equal(moved, before), "training a copy does not change it")
    inarch.ungraft(model)
    hold(torch.equal(quiet(stock, twin), moved), "taking the adapter off the original changes the copy")
    inarch.ungraft(twin)
    hold(torch.equal(quiet(stock, twin), base_output(stock, twin)), "a copy is not the base after ungraft")


def merged(stock: Stock, method: Method) -> bool:
    """``merge`` equals the graft and ``unmerge`` undoes it, or nothing is written; returns whether it folded."""
    model = grafted(stock, method)
    expected, state = quiet(stock, model), {name: value.clone() for name, value in model.state_dict().items()}
    try:
        inarch.merge(model)
    except CannotFold:
        _same_values(model, state, "after a merge that was refused")
        hold(torch.equal(quiet(stock, model), expected), "outputs differ after a merge that was refused")
        return False
    apart = float((quiet(stock, model) - expected).abs().max())
    hold(apart < TOLERANCE, f"{method}: merged outputs differ from the graft's by {apart:.1e}; {TOLERANCE:.0e} is rounding")
    hold(not any(name.startswith("inarch") for name in model.state_dict()), "a merged model holds names of the adapter")
    hold(hooks(model) == hooks(pristine(stock)), "a merged model has hooks")
    inarch.unmerge(model)
    hold(torch.equal(quiet(stock, model), expected), "outputs differ after unmerge")
    hold(list(model.state_dict()) == list(state), "names differ after unmerge")
    _same_values(model, state, "after unmerge")
    return True


def once(stock: Stock, method: Method) -> None:
    """The same name twice on a model is refused."""
    model = grafted(stock, method)
    try:
        inarch.graft(model, method)
    except CannotGraft as reason:
        return hold("already on this model" in str(reason), f"the second graft of a name was refused for another reason: {reason}")
    raise LawBroken("a second graft under the same name was taken")


def names(stock: Stock, method: Method) -> None:
    """The base's own checkpoints still load."""
    model, own = grafted(stock, method), pristine(stock).state_dict()
    hold(set(own) == {name for name in model.state_dict() if not name.startswith("inarch.")}, "the base's names are not its own")
    model.load_state_dict(own, strict=False)


def counts(stock: Stock, method: Method) -> None:
    """``count`` says what requires a gradient."""
    model = grafted(stock, method)
    trains = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    count = inarch.count(model)
    hold(count.trainable == sum(trains.values()), f"count says {count.trainable}, {sum(trains.values())} numbers require a gradient")
    adapter = sum(p.numel() for name, p in model.named_parameters() if name.startswith("inarch."))
    hold(count.adapter == adapter, f"count says that the adapter has {count.adapter} numbers; it has {adapter}")
