"""Where scion meets stock: hook objects at the ports of one site, and what the grafted adapters do there.

Hooks are objects of module-level classes, so a deep copy or a pickle of the model owns its own adapters.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inarch.adapter import Adapter, defines
from inarch.errors import CannotGraft
from inarch.narrow import in_width
from inarch.ports import Port, Site
from inarch.rebuild import Source, checkpointed, maker, plainly, usable

if TYPE_CHECKING:
    from inarch.container import Scion


@dataclass(eq=False)
class Link:
    """Adapter ``scion.key`` at its i-th site. Casts to the adapter's dtype and back here, once, never in a method."""

    scion: Scion
    key: str
    index: int

    def __post_init__(self) -> None:
        adapter = self.adapter
        self.edits_enter, self.edits_leave = defines(adapter, "before"), defines(adapter, "after")
        self.reads_residual = adapter.reads == "residual"
        self.rebuilds, self.rewrites = adapter.rebuilds, adapter.rewrites

    @property
    def adapter(self) -> Adapter:
        return self.scion._modules[self.key]  # type: ignore[return-value]

    def before(self, x: Tensor, source: Source | None = None) -> Tensor:
        given, more = self.scion.given(self.key), self._known(source=source)
        with self._keeping():
            return in_width(lambda x: self.adapter.before(x, self.index, given, **more), self.scion.dtype, x).to(x.dtype)

    def after(self, x: Tensor, y: Tensor, source: Source | None = None, wrote: Source | None = None) -> Tensor:
        given, more = self.scion.given(self.key), self._known(source=source, wrote=wrote)
        with self._keeping():
            return in_width(lambda x, y: self.adapter.after(x, y, self.index, given, **more), self.scion.dtype, x, y).to(y.dtype)

    def _known(self, **sources: Source | None) -> dict[str, Source | None]:
        """Those that the adapter takes, if it may make anything again."""
        takes = {"source": self.rebuilds, "wrote": self.rewrites}
        return {name: source for name, source in sources.items() if self.scion.rebuilds and takes[name]}

    def _keeping(self) -> AbstractContextManager[None]:
        """A compiler chooses itself what to keep."""
        return nullcontext() if self.scion.rebuilds or torch.compiler.is_compiling() else plainly()


def compose(x: Tensor, edited: list[Tensor]) -> Tensor:
    """Several adapters on one span add up, ``x + sum_a (a(x) - x)``, so that graft and merge agree; one stands for itself."""
    if len(edited) == 1:
        return edited[0]
    if any(e.shape != x.shape for e in edited):
        raise CannotGraft("an active adapter changes how many tokens there are, and another one edits the same tokens; use one at a time")
    return x + sum(e - x for e in edited) if edited else x


class Joint:
    """All adapters at one site. ``entered``, ``carried`` and ``residual`` live from the enter port to the leave port of one forward,
    ``source`` from the norm on: how what enters can be made again; ``stream`` and ``wrote``: the same of the residual and of what
    leaves. ``trail``: of its tower's norms."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.links: list[Link] = []
        self.entered: Tensor | None = None
        self.carried: Tensor | None = None
        self.residual: Tensor | None = None
        self.source: Source | None = None
        self.trail = Trail()
        self.stream: Source | None = None
        self.wrote: Source | None = None
        self.reached: set[str] = set()  # gestures that a forward has reached

    def __getstate__(self) -> dict[str, Any]:
        """Tensors of a forward belong to its graph, not to a copy; a block computed again in backward leaves some behind."""
        return self.__dict__ | {"entered": None, "carried": None, "residual": None, "source": None, "stream": None, "wrote": None}

    def active(self) -> list[Link]:
        return [link for link in self.links if link.scion.active]

    def start(self, x: Tensor) -> None:
        self.residual, self.stream = x, self.trail.of(x)

    def enter(self, x: Tensor) -> Tensor:
        links = self.active()
        source, self.source = maker(self.source, x), None
        if any(link.edits_leave for link in links):
            self.entered, self.source = x, source
        edited = compose(x, [link.before(x, source) for link in links if link.edits_enter])
        self.carried = edited - x if self.site.span.carries and edited is not x else None
        return edited

    def leave(self, y: Tensor) -> Tensor:
        links = [link for link in self.active() if link.edits_leave]
        out = self._rows(y, links) if links else y
        if self.carried is not None:
            out = out + self.carried.reshape(out.shape)  # Swin folds its tokens back into a grid
        self.entered = self.carried = self.residual = self.source = self.stream = self.wrote = None
        return out

    def _rows(self, y: Tensor, links: list[Link]) -> Tensor:
        part = self.site.span.linear.part if self.site.span.linear else None
        if part is None:
            return self._after(y, links)
        rows = list(y.split(self.site.width_out, dim=-1))  # one split: a slice's backward fills a whole y with zeros
        rows[part[0]] = self._after(rows[part[0]], links)
        return torch.cat(rows, dim=-1)

    def _after(self, y: Tensor, links: list[Link]) -> Tensor:
        read = [(self.residual, self.stream) if link.reads_residual else (self.entered, self.source) for link in links]
        if any(x is None for x, _ in read):
            raise CannotGraft(f"{self.site.block}: nothing came through {self.site.span.enter} before {self.site.span.leave}, so what "
                              f"entered {self.site.span.name!r} is unknown; torch.fx traces no hooks of its leaf modules, such as norms")
        axis = self.site.span.axis
        y = y if axis == -1 else y.movedim(axis, -1)
        wrote = maker(self.wrote, y)  # before a link widens y
        new = compose(y, [link.after(x, y, source, wrote) for link, (x, source) in zip(links, read, strict=True)])  # type: ignore[arg-type]
        return new if axis == -1 else new.movedim(-1, axis)


class Hook:
    """A joint's gesture at one port, as a forward (pre-)hook; the tensor is the first argument or the first of a tuple."""

    def __init__(self, joint: Joint, gesture: str, port: Port) -> None:
        self.joint, self.gesture, self.port = joint, gesture, port

    def attach(self, block: nn.Module) -> Any:
        module = block.get_submodule(self.port.path)
        if self.port.side == "in":
            return module.register_forward_pre_hook(EnterHook(self), with_kwargs=True)
        return module.register_forward_hook(LeaveHook(self))

    def __call__(self, x: Tensor) -> Tensor | None:
        joint = self.joint
        if not torch.compiler.is_compiling():
            joint.reached.add(self.gesture)
        if self.gesture == "enter":
            return joint.enter(x)
        if self.gesture == "leave":
            return joint.leave(x)
        joint.start(x)
        return None


@dataclass(eq=False)
class NormHook:
    """The first forward hook on the norm before a span: behind an edit of another adapter, calling the norm again would not do."""

    joint: Joint

    def attach(self, block: nn.Module) -> Any:
        return block.get_submodule(self.joint.site.span.norm).register_forward_hook(self, prepend=True)

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> None:
        if args and usable(output) and any(link.rebuilds for link in self.joint.active()):
            self.joint.source = Source(module, args[0], output)


@dataclass(eq=False)
class WriterHook:
    """The first forward hook on the projection that makes a span's output: square, so that making it again costs little."""

    joint: Joint

    def attach(self, block: nn.Module) -> Any:
        return block.get_submodule(self.joint.site.span.writer).register_forward_hook(self, prepend=True)

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> None:
        if args and usable(output) and not any(p.requires_grad for p in module.parameters()):
            self.joint.wrote = Source(module, args[0], output)


@dataclass(eq=False)
class Trail:
    """A hook on every norm of a tower: the last one that was called, should what left it be the residual stream of a span."""

    last: Source | None = None

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> None:
        self.last = Source(module, args[0], output) if args and usable(output) else None

    def of(self, x: Tensor) -> Source | None:
        found = maker(self.last, x)
        return None if found is None or checkpointed() else found

    def __getstate__(self) -> dict[str, Any]:
        return {"last": None}


@dataclass(eq=False)
class EnterHook:
    """Pre-hook with keywords: some blocks pass ``hidden_states=`` by name."""

    hook: Hook

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        if args:
            new = self.hook(args[0])
            return None if new is None or new is args[0] else ((new, *args[1:]), kwargs)
        name = next(key for key, value in kwargs.items() if isinstance(value, Tensor))
        new = self.hook(kwargs[name])
        return None if new is None or new is kwargs[name] else (args, {**kwargs, name: new})


@dataclass(eq=False)
class LeaveHook:
    """Forward hook on the output, or on the first of a tuple of outputs."""

    hook: Hook

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> Any:
        if isinstance(output, tuple):
            new = self.hook(output[0])
            return None if new is None or new is output[0] else (new, *output[1:])
        new = self.hook(output)
        return None if new is None or new is output else new
