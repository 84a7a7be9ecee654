"""Hooks on and off: which ports a joint needs, and the watch at each tower's root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inarch import anatomy, roles
from inarch.container import Container
from inarch.errors import CannotGraft
from inarch.joint import Hook, Joint, NormHook, Trail, WriterHook


@dataclass(eq=False)
class Watch:
    """At a tower's root: prepares the adapters, and once, after the first forward, checks that every site reacted."""

    container: Container
    tower: str
    trail: Trail
    checked: bool = False

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict, output: object = None) -> None:
        self.trail.last = None
        if output is None:
            for scion in self.container.active().values():
                if scion.prepares:
                    scion.prepare(self.tower, visible(kwargs.get("attention_mask")))
        elif not self.checked and not torch.compiler.is_compiling():
            joints = [j for j in self.container.joints.values() if j.site.tower == self.tower and j.active()]
            self.checked = bool(joints)  # a forward of the bare base shows nothing
            _refuse_dead(joints, self.tower)


def visible(mask: Tensor | None) -> Tensor | None:
    """``[batch, tokens]``, True where a token is no padding, of a mask as towers take it: 1 = visible ``[batch, tokens]``, or one
    row per query ``[batch, heads, queries, tokens]``, boolean or added to the scores; its last row sees every token that is there.
    """
    if not isinstance(mask, Tensor) or mask.dim() == 2:
        return mask if mask is None else mask.bool()
    row = mask[:, 0, -1, :]
    return row if row.dtype == torch.bool else row > torch.finfo(row.dtype).min / 2


def _refuse_dead(joints: list[Joint], tower: str) -> None:
    dead = [f"{j.site.block} {h.port}" for j in joints for h in hooks(j) if h.gesture not in j.reached]
    if dead:
        raise CannotGraft(f"{len(dead)} ports were never reached in a forward of the {tower} tower, so nothing there would be adapted: "
                          f"{', '.join(dead[:10])}; mend the row in inarch/rows.py")


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
    norm = [NormHook(joint).attach(block)] if rebuilds(joint) else []
    norm += [WriterHook(joint).attach(block)] if rewrites(joint, block) else []
    container.handles[key] = norm + [hook.attach(block) for hook in hooks(joint)]


def rebuilds(joint: Joint) -> bool:
    """Is there a norm before the span, and an adapter that can make its output again?"""
    return joint.site.span.rebuilt and any(link.rebuilds for link in joint.links)


def rewrites(joint: Joint, block: nn.Module) -> bool:
    """Is what leaves the span one square product of what autograd keeps anyway, and is there an adapter that can make it again?"""
    path = joint.site.span.writer
    if not path or not any(link.rewrites for link in joint.links):
        return False
    weight = getattr(block.get_submodule(path), "weight", None)
    return isinstance(weight, Tensor) and weight.dim() == 2 and weight.shape[0] == weight.shape[1]


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
    watch(model, container)


def watch(model: nn.Module, container: Container) -> None:
    """Renew the watches of all towers that have joints."""
    for guard in container.guards:
        guard.remove()
    towers = {block.tower: block.root for block in anatomy.blocks(model)}
    adapted = {joint.site.tower for joint in container.joints.values()}
    container.guards = []
    for tower in adapted:
        trail = Trail()
        root, eye = model.get_submodule(towers[tower]), Watch(container, tower, trail)
        container.guards += _followed(model, container, tower, towers[tower], trail)
        container.guards += [root.register_forward_pre_hook(eye, with_kwargs=True), root.register_forward_hook(eye, with_kwargs=True)]


def _followed(model: nn.Module, container: Container, tower: str, root: str, trail: Trail) -> list[Any]:
    """The trail on all norms of a tower in which an adapter reads the residual stream and can make it again."""
    joints = [joint for joint in container.joints.values() if joint.site.tower == tower]
    for joint in joints:
        joint.trail = trail
    if not any(link.rebuilds and link.reads_residual for joint in joints for link in joint.links):
        return []
    owners = dict.fromkeys(name.rpartition(".")[0] for name in roles.resolve(model, ("norms",)))
    inside = [path for path in owners if path.startswith(f"{root}." if root else "")]
    return [model.get_submodule(path).register_forward_hook(trail, prepend=True) for path in inside]
