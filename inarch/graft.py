"""graft, use, disabled, ungraft: put adapters on a frozen model, switch between them, take them off bit for bit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from inarch import anatomy, ports, roles
from inarch.adapter import Built, Method
from inarch.container import Container, Scion, container_of
from inarch.errors import CannotGraft, ConfigError
from inarch.joint import Hook, Joint, Link
from inarch.ports import Stack

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MERGED = "_inarch_merged"


def graft(
    model: nn.Module,
    method: Method,
    *,
    name: str = "default",
    thaw: str | tuple[str, ...] | list[str] = (),
    head: nn.Module | None = None,
) -> nn.Module:
    """Freeze ``model``, put the adapters of ``method`` on it under ``name``, make them the active ones; returns the model.

    ``thaw``: roles (``"head"``, ``"norms"``, ``"vision.norms"``, ``"biases"``, ``"all"``) or name patterns of base parameters that
    train too. ``head``: a module that takes the place of the model's task head while this adapter is active (and is trained).
    Raises ``CannotGraft`` (unknown model, span, layer, name in use) before anything is changed.
    """
    container = _ready(model, name)
    wish = (thaw,) if isinstance(thaw, str) else tuple(thaw)
    with disabled(model) if container.scions() else nullcontext():  # another graft's head must not pass for the base's
        stacks = plan(model, method)
        head_path = _head_place(model, head)
        thawed = roles.resolve(model, tuple(dict.fromkeys(method.thaws + wish)))
    if head_path is not None:
        thawed = {n: p for n, p in thawed.items() if not n.startswith(head_path + ".")}
    built = _built(model, method, stacks)
    _refuse_residual(stacks, built)
    scion = Scion(method, stacks, built, list(thawed))
    scion.wish, scion.head, scion.brought_head = wish, head, head is not None
    if not scion.keys and not thawed and head is None:
        raise CannotGraft(f"{method} would train nothing on {type(model).__name__}; name what to thaw, e.g. thaw='head'")

    _freeze(model, container)
    use(model)
    for parameter_name, parameter in thawed.items():
        if parameter_name not in container.pristine:
            container.pristine.put(parameter_name, parameter.data)
        scion.kept.put(parameter_name, container.pristine[parameter_name])
    if head_path is not None and container.base_head is None:
        container.base_head, container.head_path = model.get_submodule(head_path), head_path
    container.add_module(name, scion)
    _join(model, container, scion)
    use(model, name)
    return model


def plan(model: nn.Module, method: Method) -> list[Stack]:
    """The stacks that ``method`` would adapt on ``model``; raises ``CannotGraft`` when it cannot."""
    if not method.wanted():
        return []
    depths: dict[str, int] = {}
    for block in anatomy.blocks(model):
        depths[block.tower] = depths.get(block.tower, 0) + 1
    wished = {tower: set(ports.select(method.layers, n)) for tower, n in depths.items() if method.towers is None or tower in method.towers}
    chosen = [site for site in anatomy.sites(model, method.wanted(), method.towers) if site.layer in wished[site.tower]]
    return ports.stacks(chosen)


def use(model: nn.Module, *names: str) -> nn.Module:
    """Make the named adapters the active ones (none: the frozen base); returns the model.

    Several active adapters add up at each site. Two that thaw the same parameter, or two heads, cannot be active together.
    """
    container = container_of(model)
    wanted = {name: container.scion(name) for name in names}
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


def ungraft(model: nn.Module, name: str | None = None) -> nn.Module:
    """Take the named adapter off (None: all), bit for bit as if it had never been there; returns the model."""
    container = container_of(model)
    names = list(container.scions()) if name is None else [name]
    active = [n for n in container.active() if n not in names]
    going = [container.scion(n) for n in names]
    use(model, *active)
    for scion in going:
        for joint in container.joints.values():
            joint.links = [link for link in joint.links if link.scion is not scion]
    for gone in names:
        del container._modules[gone]
    for key, joint in list(container.joints.items()):
        attach(model, container, key, joint)
    if not container.scions():
        _restore(model, container)
    return model


@dataclass(eq=False)
class Watch:
    """At a tower's root: prepares the adapters, and once, after the first forward, checks that every site reacted."""

    container: Container
    tower: str
    checked: bool = False

    def __call__(self, module: nn.Module, args: tuple, output: object = None) -> None:
        if output is None:
            for scion in self.container.active().values():
                if scion.prepares:
                    scion.prepare()
        elif not self.checked and not torch.compiler.is_compiling():
            self.checked = True
            _refuse_dead(self.container, self.tower)


def _refuse_dead(container: Container, tower: str) -> None:
    joints = [j for j in container.joints.values() if j.site.tower == tower and j.active()]
    dead = [f"{j.site.block} {h.port}" for j in joints for h in hooks(j) if h.gesture not in j.reached]
    if dead:
        raise CannotGraft(f"{len(dead)} ports were never reached in a forward of the {tower} tower, so nothing there would be adapted: "
                          f"{', '.join(dead[:10])}; mend the row in inarch/anatomy.py")


def hooks(joint: Joint) -> list[Hook]:
    """The hooks that this joint needs for the links it has."""
    span = joint.site.span
    wanted = []
    if any(link.reads_residual for link in joint.links):
        wanted.append(Hook(joint, "start", span.residual))  # type: ignore[arg-type]
    if any(link.edits_enter or not link.reads_residual for link in joint.links):
        wanted.append(Hook(joint, "enter", span.enter))
    if span.carries or any(link.edits_leave for link in joint.links):
        wanted.append(Hook(joint, "leave", span.leave))
    return wanted if joint.links else []


def attach(model: nn.Module, container: Container, key: tuple[str, str], joint: Joint) -> None:
    """Renew the hooks of one joint; a joint without links is dropped."""
    for handle in container.handles.pop(key, []):
        handle.remove()
    if not joint.links:
        del container.joints[key]
        return
    block = model.get_submodule(joint.site.block)
    container.handles[key] = [hook.attach(block) for hook in hooks(joint)]


def detach(container: Container) -> None:
    """Take every hook off the model; the joints stay, so that ``join_again`` can put them back."""
    for handles in [*container.handles.values(), container.guards]:
        for handle in handles:
            handle.remove()
    container.handles, container.guards = {}, []


def join_again(model: nn.Module, container: Container) -> None:
    """Put the hooks of all joints and the watches of all towers back."""
    for key, joint in list(container.joints.items()):
        attach(model, container, key, joint)
    _watch(model, container)


def _join(model: nn.Module, container: Container, scion: Scion) -> None:
    for stack in scion.stacks:
        for index, site in enumerate(stack.sites):
            key = (site.block, site.span.name)
            joint = container.joints.setdefault(key, Joint(site))
            joint.links.append(Link(scion, stack.name, index))
            attach(model, container, key, joint)
    for guard in container.guards:
        guard.remove()
    _watch(model, container)


def _watch(model: nn.Module, container: Container) -> None:
    towers = {block.tower: block.root for block in anatomy.blocks(model)}
    adapted = {joint.site.tower for joint in container.joints.values()}
    container.guards = []
    for tower in adapted:
        root, watch = model.get_submodule(towers[tower]), Watch(container, tower)
        container.guards += [root.register_forward_pre_hook(watch), root.register_forward_hook(watch)]


def _ready(model: nn.Module, name: str) -> Container:
    if MERGED in model.__dict__:
        raise CannotGraft(f"this {type(model).__name__} is merged; call inarch.unmerge(model) before grafting again")
    if not _NAME.fullmatch(name) or name in ("base_head", "pristine"):
        raise ConfigError(f"adapter name {name!r}; expected letters, digits, '-' or '_', at most 64, starting with a letter or digit")
    existing = model._modules.get("inarch")
    if existing is None:
        return Container()
    if not isinstance(existing, Container):
        raise CannotGraft(f"{type(model).__name__} has a module of its own called 'inarch'; rename it")
    if name in existing.scions():
        raise CannotGraft(f"an adapter named {name!r} is already on this model; ungraft it first or choose another name")
    return existing


def _head_place(model: nn.Module, head: nn.Module | None) -> str | None:
    if head is None:
        return None
    paths = roles.head_paths(model)
    if len(paths) != 1:
        raise CannotGraft(f"head=: {type(model).__name__} has {len(paths)} known heads ({', '.join(paths) or 'none'}); expected one")
    return paths[0]


def _built(model: nn.Module, method: Method, stacks: list[Stack]) -> Built:
    like = next(model.parameters())
    with torch.device(like.device):
        built = method.build(stacks)
    if like.dtype == torch.float64:
        for module in [*built.adapters.values(), built.shared]:
            if module is not None:
                module.double()
    return built


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


def _restore(model: nn.Module, container: Container) -> None:
    detach(container)
    del model._modules["inarch"]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(container.flags[name])


def _refuse_clashes(wanted: dict[str, Scion]) -> None:
    owner: dict[str, str] = {}
    for name, scion in wanted.items():
        for thing in scion.thawed + (["its own head"] if scion.brought_head else []):
            if thing in owner:
                raise CannotGraft(f"adapters {owner[thing]!r} and {name!r} both train {thing}; use one of them at a time")
            owner[thing] = name


def _swap_head(model: nn.Module, container: Container, new: nn.Module) -> nn.Module:
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
        scion.head = _swap_head(model, container, container.base_head)
        scion.head.requires_grad_(False)
    for parameter in scion.trained().values():
        parameter.requires_grad_(False)
    scion.active, scion.prepared = False, {}


def _activate(model: nn.Module, container: Container, scion: Scion) -> None:
    if scion.brought_head:
        _swap_head(model, container, scion.head)
        scion.head.requires_grad_(True)
        scion.head = None
    parameters = dict(model.named_parameters())
    for name in scion.thawed:
        parameters[name].data.copy_(scion.kept[name])
        parameters[name].requires_grad_(True)
    for parameter in scion.trained().values():
        parameter.requires_grad_(True)
    scion.active = True


__all__ = ["disabled", "graft", "plan", "ungraft", "use"]
