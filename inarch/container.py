"""The one container on a grafted model, ``model.inarch``: every trained tensor once, under a readable name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from inarch.adapter import Adapter, Built, Method, defines
from inarch.errors import CannotGraft, InarchError
from inarch.joint import Joint
from inarch.ports import Stack

MERGED = "_inarch_merged"


class Bag(nn.Module):
    """Tensors kept aside, by parameter name: they move and cast with the model, but are no part of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Tensor:
        return self._buffers[f"kept{self.names.index(name)}"]  # type: ignore[return-value]

    def put(self, name: str, value: Tensor) -> None:
        if name not in self.names:
            self.names.append(name)
            self.register_buffer(f"kept{len(self.names) - 1}", value.detach().clone(), persistent=False)
        else:
            self[name].copy_(value.detach())


class Prepared:
    """What ``prepare`` made for one tower, by stack. Written as a whole and read after that: a compiled forward depends on nothing left."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"made": {}}  # tensors of a forward belong to its graph, not to a copy


class Scion(nn.Module):
    """One named graft: its adapters by stack name, the module they share, and its own values of thawed base parameters.

    While active, thawed values live in the base; while not, in ``kept`` (or ``head``, when the graft brought its own).
    """

    rebuilds = True  # may its adapters make again in backward what need not be kept

    def __init__(self, method: Method, stacks: list[Stack], built: Built, thawed: list[str]) -> None:
        super().__init__()
        self.method, self.stacks, self.thawed, self.keys = method, stacks, thawed, list(built.adapters)
        for key, adapter in built.adapters.items():
            self.add_module(key, adapter)
        if built.shared is not None:
            self.add_module("shared", built.shared)
        self.kept = Bag()
        self.active = False
        self.prepared = {stack.tower: Prepared() for stack in stacks}
        self.homes = {stack.name: self.prepared[stack.tower] for stack in stacks}
        self.held: frozenset[str] = frozenset()  # trained tensors that stay as they are for now
        self.wish: tuple[str, ...] = ()  # the roles or patterns the user asked to thaw
        self.head: nn.Module | None = None  # the graft's own head while it is not in the model
        self.brought_head = False
        self.foreign = ""  # where another library holds the adapter: which of its verbs do what ours cannot
        self.prepares = any(defines(adapter, "prepare") for adapter in built.adapters.values())

    def adapters(self) -> dict[str, Adapter]:
        return {key: self._modules[key] for key in self.keys}  # type: ignore[misc]

    def parts(self) -> dict[str, nn.Module]:
        """The adapters and what they share: all that the method built."""
        return {key: self._modules[key] for key in (*self.keys, "shared") if key in self._modules}  # type: ignore[misc]

    def trained(self) -> dict[str, nn.Parameter]:
        """Adapter parameters by name, the thawed base parameters not among them."""
        return {n: p for n, p in self.named_parameters() if not n.startswith(("head.", "kept."))}

    def refuse_foreign(self, error: type[InarchError]) -> None:
        """Our verbs see nothing of numbers that another library holds, and would do half of what they say."""
        if self.foreign:
            raise error(self.foreign)

    @property
    def dtype(self) -> torch.dtype:
        return next((p.dtype for part in self.parts().values() for p in part.parameters()), torch.float32)

    def given(self, key: str) -> Any:
        """What ``prepare`` returned for this forward; computed on the spot where a block is called outside its tower."""
        made = self.homes[key].made
        return made[key] if key in made else self.fresh(key)

    def fresh(self, key: str, visible: Tensor | None = None) -> Any:
        """What ``prepare`` makes of the values as they are now."""
        return self.adapters()[key].prepare(self._modules.get("shared"), visible)

    def forget(self) -> None:
        """Let go of what was prepared."""
        for tower in self.prepared.values():
            tower.made = {}

    def prepare(self, tower: str, visible: Tensor | None) -> None:
        """Before a forward of the tower; what other towers hold stays, a decoder is called while its encoder's graph lives."""
        if tower in self.prepared:
            here = [stack.name for stack in self.stacks if stack.tower == tower]
            self.prepared[tower].made = {key: self.fresh(key, visible) for key in here if defines(self.adapters()[key], "prepare")}


class Container(nn.Module):
    """Scions by name, the joints their links hang on, and the base as it was."""

    def __init__(self) -> None:
        super().__init__()
        self.joints: dict[tuple[str, str], Joint] = {}  # (block path, span) -> joint
        self.handles: dict[tuple[str, str], list[Any]] = {}
        self.guards: list[Any] = []
        self.pristine = Bag()
        self.flags: dict[str, bool] = {}  # requires_grad of the base before the first graft
        self.base_head: nn.Module | None = None  # the model's own head while a graft's head stands in its place
        self.head_path = ""

    def forward(self, x: Any) -> Any:
        """What comes: a root that calls its children in turn, an ``nn.Sequential``, calls its container too."""
        return x

    def __getattr__(self, name: str) -> Any:
        """``model.inarch.vision_attn_768``: a stack's adapter in the only active scion; scions go by their own names."""
        active = [m for m in self.__dict__.get("_modules", {}).values() if isinstance(m, Scion) and m.active]
        if len(active) == 1 and name in active[0].keys:
            return active[0]._modules[name]
        return super().__getattr__(name)

    def insert(self, name: str, scion: Scion) -> None:
        """Own the scion's tensors under its name."""
        self.add_module(name, scion)

    def remove(self, name: str) -> None:
        del self._modules[name]

    def takes(self, name: str) -> bool:
        """Whether a scion may bear this name: it is no attribute of the container's own."""
        return not hasattr(self, name)

    def scions(self) -> dict[str, Scion]:
        return {name: m for name, m in self._modules.items() if isinstance(m, Scion)}

    def scion(self, name: str) -> Scion:
        try:
            return self.scions()[name]
        except KeyError:
            raise CannotGraft(f"no adapter named {name!r} on this model; known: {', '.join(self.scions()) or 'none'}") from None

    def active(self) -> dict[str, Scion]:
        return {name: scion for name, scion in self.scions().items() if scion.active}


def container_of(model: nn.Module) -> Container:
    """The model's container; raises ``CannotGraft`` when nothing is grafted."""
    found = model._modules.get("inarch")
    if not isinstance(found, Container):
        if MERGED in model.__dict__:
            raise CannotGraft(f"this {type(model).__name__} is merged: its adapters are folded away; call inarch.unmerge(model) first")
        raise CannotGraft(f"nothing is grafted on this {type(model).__name__}; call inarch.graft(model, method) first")
    return found
