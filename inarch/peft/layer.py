"""The one tuner layer of a bridged model: a container on the base's root that PEFT can switch, merge and save.

    base.inarch.arc_vision_attn_768.default.down      every trained tensor once, under PEFT's naming: prefix, adapter, tensor
PEFT's own layers each wrap one module. Ours owns what all layers share, so that sharing survives saving, casts and sharding.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import nn

from inarch import roles
from inarch.container import MERGED, Container, Scion
from inarch.errors import CannotFold
from inarch.grafting import drop
from inarch.merging import fold, unfold
from inarch.peft.kinds import prefix_of
from inarch.switching import use


class RootLayer(Container, BaseTunerLayer):
    """``model``: the base on whose root it stands, under the name ``inarch``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.grafts: dict[str, Scion] = {}
        self.host = [model]  # in a list: the model is the parent, not a child
        self.folded: list[str] = []
        self._active_adapter: list[str] = []
        self._disable_adapters = False

    def insert(self, name: str, scion: Scion) -> None:
        self.grafts[name] = scion
        for key, part in scion.parts().items():
            attribute = f"{prefix_of(type(scion.method))}{key}"
            if attribute not in self._modules:
                self.add_module(attribute, nn.ModuleDict())
            self._modules[attribute][name] = part  # type: ignore[index, operator]

    def remove(self, name: str) -> None:
        del self.grafts[name]
        for attribute in self.adapter_layer_names:
            owners = self._modules[attribute]
            if name in owners:  # type: ignore[operator]
                del owners[name]  # type: ignore[operator, union-attr, attr-defined]
            if not len(owners):  # type: ignore[arg-type]
                del self._modules[attribute]

    def takes(self, name: str) -> bool:
        return True  # names are keys of dictionaries here, no attributes

    def scions(self) -> dict[str, Scion]:
        return self.grafts

    @property
    def adapter_layer_names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(name for name, module in self._modules.items() if isinstance(module, nn.ModuleDict))

    @property
    def merged_adapters(self) -> list[str]:  # type: ignore[override]
        return self.folded if MERGED in self.host[0].__dict__ else []

    @property
    def in_features(self) -> int:
        return self._width("width_in")

    @property
    def out_features(self) -> int:
        return self._width("width_out")

    def _width(self, side: str) -> int:
        widths = {getattr(site, side) for scion in self.grafts.values() for stack in scion.stacks for site in stack.sites}
        if len(widths) != 1:
            raise AttributeError(f"the adapted places have {len(widths)} different widths ({', '.join(map(str, sorted(widths)))})")
        return widths.pop()

    @property
    def weight(self) -> torch.Tensor:
        raise AttributeError("the layer adapts many modules; it has no weight of its own")

    @property
    def bias(self) -> torch.Tensor:
        raise AttributeError("the layer adapts many modules; it has no bias of its own")

    def set_adapter(self, adapter_names: str | list[str], inference_mode: bool = False) -> None:
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        self._active_adapter = names
        use(self.host[0], *([] if self._disable_adapters else [name for name in names if name in self.grafts]))
        if inference_mode:
            self.set_requires_grad(names, False)

    def enable_adapters(self, enabled: bool) -> None:
        if self.merged and not enabled:
            self.unmerge()
        self._disable_adapters = not enabled
        self.set_adapter(self.active_adapters)

    def set_requires_grad(self, adapter_names: str | Any, requires_grad: bool = True) -> None:
        wanted = {adapter_names} if isinstance(adapter_names, str) else set(adapter_names)
        for name in wanted & self.grafts.keys():
            for parameter in self.grafts[name].trained().values():
                parameter.requires_grad_(requires_grad)

    def delete_adapter(self, adapter_name: str) -> None:
        if adapter_name not in self.grafts:
            return
        merged = self.merged_adapters
        if merged:
            unfold(self.host[0])
        drop(self.host[0], self, [adapter_name])
        if merged:
            self._fold(merged)
        left = [name for name in self.active_adapters if name != adapter_name]
        if not left and adapter_name in self.active_adapters and self.grafts:
            left = sorted(self.grafts)[:1]
            warnings.warn(f"Adapter {adapter_name} was active which is now deleted. Setting active adapter to {left[0]}.", stacklevel=2)
        if adapter_name in self.active_adapters:
            self.set_adapter(left)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Fold the named adapters (None: the active ones), exactly, or raise ``CannotFold`` and change nothing.

        ``safe_merge`` is always on: weights that would not be finite are never written.
        """
        wanted = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.grafts]
        if not wanted:
            return
        before = self.merged_adapters
        if before:
            unfold(self.host[0])
        try:
            self._fold([*before, *wanted])
        except CannotFold:
            if before:
                self._fold(before)
            raise

    def _fold(self, names: list[str]) -> None:
        """What is folded is the operator without dropout, whatever mode the adapters are in."""
        modes = [(module, module.training) for name in names for module in self.grafts[name].modules()]
        use(self.host[0], *names)
        try:
            for module, _ in modes:
                module.training = False
            fold(self.host[0], self)
            self.folded = names
        finally:
            for module, training in modes:
                module.training = training
            use(self.host[0], *self.active_adapters)

    def unmerge(self) -> None:
        """Put the kept originals back, bit for bit."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        unfold(self.host[0])
        use(self.host[0], *([] if self._disable_adapters else self.active_adapters))

    def _get_available_adapters(self) -> set[str]:
        return set(self.grafts)

    def _all_available_adapter_names(self) -> list[str]:
        return sorted(self.grafts)

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        base = next(iter(roles.base_parameters(self.host[0]).values()))
        self.grafts[adapter_name].to(device or base.device)
