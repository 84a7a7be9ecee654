"""graft and ungraft: put adapters on a frozen model, take them off bit for bit."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import nullcontext

import torch
from torch import nn

from inarch import anatomy, ports, roles
from inarch.adapter import Built, Method
from inarch.container import MERGED, Container, Scion, container_of
from inarch.errors import CannotGraft, ConfigError
from inarch.joint import Joint, Link
from inarch.packed import packed
from inarch.ports import Stack
from inarch.switching import disabled, use
from inarch.wiring import attach, detach, watch

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def graft(
    model: nn.Module,
    method: Method,
    *,
    name: str = "default",
    thaw: str | tuple[str, ...] | list[str] = (),
    head: nn.Module | None = None,
    into: Container | None = None,
) -> nn.Module:
    """Freeze ``model``, put the adapters of ``method`` on it under ``name``, make them the active ones; returns the model.

    ``thaw``: roles (``"head"``, ``"norms"``, ``"vision.norms"``, ``"biases"``, ``"all"``) or name patterns of base parameters that
    train too; what the backbone's row always trains (the projector of a vision-language backbone) trains beside them. ``head``: a
    module that takes the place of the model's task head while this adapter is active (and is trained). ``into``: a container that
    another library keeps on the model; that library trains base parameters itself, so none is thawed here.
    Raises ``CannotGraft`` (unknown model, span, layer, name in use) before anything is changed.
    """
    container = _ready(model, name, into)
    wish = (thaw,) if isinstance(thaw, str) else tuple(thaw)
    with disabled(model) if container.scions() else nullcontext():  # another graft's head must not pass for the base's
        method = settled(model, method)
        stacks = plan(model, method)
        head_path = _head_place(model, head)
        thawed = {} if into is not None else thawed_by(model, method, wish)
    if head_path is not None:
        thawed = {n: p for n, p in thawed.items() if not n.startswith(head_path + ".")}
    scion = _scion(model, method, stacks, list(thawed))
    scion.wish, scion.head, scion.brought_head = wish, head, head is not None
    if method.trains and not scion.keys and not thawed and head is None:
        raise CannotGraft(f"{method} would train nothing on {type(model).__name__}; name what to thaw, e.g. thaw='head'")

    _freeze(model, container)
    use(model)
    _keep(container, scion, thawed)
    if head_path is not None and container.base_head is None:
        container.base_head, container.head_path = model.get_submodule(head_path), head_path
    container.insert(name, scion)
    _join(model, container, scion)
    return use(model, name)


def thawed_by(model: nn.Module, method: Method, wish: Sequence[str]) -> dict[str, nn.Parameter]:
    """Base parameters that train beside the adapters, by name: the method's, those of ``wish``, and what the backbone always trains."""
    found = roles.resolve(model, (*method.thaws, *wish), roles.always(model))
    for name, parameter in found.items():
        if kind := packed(parameter):
            raise CannotGraft(f"{name} is quantised ({kind}) and cannot train; thaw what is not, or make the base plain")
    return found


def settled(model: nn.Module, method: Method) -> Method:
    """The method with what was left to the backbone filled in."""
    return method.settled(anatomy.published(model, type(method).__name__)) if method.unset else method


def plan(model: nn.Module, method: Method) -> list[Stack]:
    """The stacks that ``method`` would adapt on ``model``; raises ``CannotGraft`` when it cannot."""
    if not method.wanted():
        return []
    depths: dict[str, int] = {}
    for block in anatomy.blocks(model):
        depths[block.tower] = depths.get(block.tower, 0) + 1
    offered = list(anatomy.sites(model, method.wanted(), method.towers))
    wished = {tower: set(ports.select(method.layers, depths[tower])) for tower in {site.tower for site in offered}}
    return ports.stacks([site for site in offered if site.layer in wished[site.tower]])


def ungraft(model: nn.Module, name: str | None = None) -> nn.Module:
    """Take the named adapter off (None: all), bit for bit as if it had never been there; returns the model."""
    container = container_of(model)
    drop(model, container, list(container.scions()) if name is None else [name])
    if not container.scions():
        _restore(model, container)
    return model


def drop(model: nn.Module, container: Container, names: list[str]) -> None:
    """Take the named adapters out of the container and off the model; the others go on as they were."""
    active = [n for n in container.active() if n not in names]
    going = [container.scion(n) for n in names]
    use(model, *active)
    for scion in going:
        for joint in container.joints.values():
            joint.links = [link for link in joint.links if link.scion is not scion]
    for gone in names:
        container.remove(gone)
    for key, joint in list(container.joints.items()):
        attach(model, container, key, joint)


def _join(model: nn.Module, container: Container, scion: Scion) -> None:
    for stack in scion.stacks:
        for index, site in enumerate(stack.sites):
            key = (site.block, site.span.name)
            joint = container.joints.setdefault(key, Joint(site))
            joint.links.append(Link(scion, stack.name, index))
            attach(model, container, key, joint)
    watch(model, container)


def _ready(model: nn.Module, name: str, into: Container | None) -> Container:
    if MERGED in model.__dict__:
        raise CannotGraft(f"this {type(model).__name__} is merged; call inarch.unmerge(model) before grafting again")
    existing = model._modules.get("inarch")
    if existing is not None and not isinstance(existing, Container):
        raise CannotGraft(f"{type(model).__name__} has a module of its own called 'inarch'; rename it")
    container = existing if existing is not None else into if into is not None else Container()
    refuse_name(name, container.scions())
    if not container.takes(name):
        raise ConfigError(f"adapter name {name!r} is taken by the container itself; choose another name")
    return container


def refuse_name(name: str, known: Collection[str]) -> None:
    """One rule for names, so that each can be an attribute and a file's name; and each once on a model."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"adapter name {name[:80]!r}; expected letters, digits, '-' or '_', at most 64, starting with a letter or digit")
    if name in known:
        raise CannotGraft(f"an adapter named {name!r} is already on this model; ungraft it first or choose another name")


def _head_place(model: nn.Module, head: nn.Module | None) -> str | None:
    if head is None:
        return None
    paths = roles.head_paths(model)
    if len(paths) != 1:
        raise CannotGraft(f"head=: {type(model).__name__} has {len(paths)} known heads ({', '.join(paths) or 'none'}); expected one")
    return paths[0]


def _scion(model: nn.Module, method: Method, stacks: list[Stack], thawed: list[str]) -> Scion:
    """Fresh adapters on the model's device and in its mode, fp64 where it is fp64."""
    like = next(model.parameters())
    with torch.device(like.device):
        built = method.build(stacks)
    if like.dtype == torch.float64:
        for module in [*built.adapters.values(), built.shared]:
            if module is not None:
                module.double()
    _refuse_residual(stacks, built)
    return Scion(method, stacks, built, thawed).train(model.training)


def _refuse_residual(stacks: list[Stack], built: Built) -> None:
    for stack in stacks:
        site = stack.sites[0]
        if built.adapters[stack.name].reads == "residual" and site.span.residual is None:
            raise CannotGraft(f"{type(built.adapters[stack.name]).__name__} reads the residual stream, which {site.block} does not "
                              f"offer at {site.span.name!r} in the same order of tokens")


def _freeze(model: nn.Module, container: Container) -> None:
    if "inarch" in model._modules:
        return
    container.flags = {name: p.requires_grad for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.add_module("inarch", container)


def _keep(container: Container, scion: Scion, thawed: dict[str, nn.Parameter]) -> None:
    """The base's own values of what will train, for ``ungraft``, and as the scion's to start from."""
    for name, parameter in thawed.items():
        if name not in container.pristine:
            container.pristine.put(name, parameter.data)
        scion.kept.put(name, container.pristine[name])


def _restore(model: nn.Module, container: Container) -> None:
    detach(container)
    del model._modules["inarch"]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(container.flags[name])



