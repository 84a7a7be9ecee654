"""use, disabled, strength, rebuild: which adapter is on, with its own thawed values and head, how strongly, and what it keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from inarch.container import Container, Scion, container_of
from inarch.errors import CannotGraft, ConfigError


def use(model: nn.Module, *names: str) -> nn.Module:
    """Make the named adapters the active ones (none: the frozen base); returns the model.

    Several active adapters add up at each site. Two that thaw the same parameter, or two heads, cannot be active together.
    """
    container = container_of(model)
    wanted = {name: container.scion(name) for name in names}
    for scion in container.active().values():
        scion.refuse_foreign(CannotGraft)
    _refuse_clashes(wanted)
    for scion in container.active().values():
        _deactivate(model, container, scion)
    for scion in wanted.values():
        _activate(model, container, scion)
    return model


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """The frozen base, for a moment: no adapter, every thawed parameter and the head as they were before the first graft."""
    names = tuple(container_of(model).active())
    use(model)
    try:
        yield model
    finally:
        use(model, *names)


@contextmanager
def strength(model: nn.Module, value: float) -> Iterator[nn.Module]:
    """The active adapters at ``value`` times their scale, for a moment: 0 gives the frozen base's outputs, its thawed values aside.

    Raises ``ConfigError`` where the method has no scale that could be changed.
    """
    found = [adapter for scion in container_of(model).active().values() for adapter in scion.adapters().values()]
    if not found or any(adapter.strength is None for adapter in found):
        raise ConfigError("strength: the active adapters have no scale to change; AdaRing's have")
    before = [adapter.strength for adapter in found]
    for adapter in found:
        adapter.strength = value
    try:
        yield model
    finally:
        for adapter, old in zip(found, before, strict=True):
            adapter.strength = old


def rebuild(model: nn.Module, on: bool) -> nn.Module:
    """Whether the adapters that are on the model make again in backward what need not be kept, as they do unless told otherwise.

    Without it a step takes less time where their products are small, and more memory; the numbers are the same up to rounding.
    """
    for scion in container_of(model).scions().values():
        scion.rebuilds = on
    return model


def hold(model: nn.Module, names: Iterable[str]) -> None:
    """From now on these tensors of the active adapter (by their names in it) stay as they are, until it is taken off."""
    (scion,) = container_of(model).active().values()
    scion.held = frozenset(names)
    _learning(scion)


def _learning(scion: Scion) -> None:
    """What is not held takes a gradient."""
    for name, parameter in scion.trained().items():
        parameter.requires_grad_(name not in scion.held)


def _refuse_clashes(wanted: dict[str, Scion]) -> None:
    owner: dict[str, str] = {}
    for name, scion in wanted.items():
        for thing in scion.thawed + (["its own head"] if scion.brought_head else []):
            if thing in owner:
                raise CannotGraft(f"adapters {owner[thing]!r} and {name!r} both train {thing}; use one of them at a time")
            owner[thing] = name


def _swap_head(model: nn.Module, container: Container, new: nn.Module | None) -> nn.Module:
    """Put ``new`` in the head's place; returns what stood there."""
    parent, _, leaf = container.head_path.rpartition(".")
    owner = model.get_submodule(parent)
    old = owner._modules[leaf]
    owner._modules[leaf] = new
    return old  # type: ignore[return-value]


def _deactivate(model: nn.Module, container: Container, scion: Scion) -> None:
    parameters = dict(model.named_parameters())
    for name in scion.thawed:
        scion.kept.put(name, parameters[name].data)
        parameters[name].data.copy_(container.pristine[name])
        parameters[name].requires_grad_(False)
    if scion.brought_head:
        scion.head = _swap_head(model, container, container.base_head).requires_grad_(False)
    for parameter in scion.trained().values():
        parameter.requires_grad_(False)
    scion.active = False
    scion.forget()


def _activate(model: nn.Module, container: Container, scion: Scion) -> None:
    if scion.brought_head:
        _swap_head(model, container, scion.head).requires_grad_(False)
        model.get_submodule(container.head_path).requires_grad_(True)
        scion.head = None
    parameters = dict(model.named_parameters())
    for name in scion.thawed:
        parameters[name].data.copy_(scion.kept[name])
        parameters[name].requires_grad_(True)
    _learning(scion)
    scion.active = True
