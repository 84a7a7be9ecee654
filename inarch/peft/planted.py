"""PEFT's layers in the places of a model's matrices, put there whole or not at all, and taken off again.

    wrapper = wrap(model, config, name)      every place holds a layer of PEFT around the module that stood there
    held = Held(wrapper, ...)                what PEFT's wrapper keeps for all layers, to be a child of the model's container
    unwrap(model, held)                      the modules that stood there stand there again
The frozen weights are the same tensors with the same values throughout; an init that rewrites them is refused.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import peft
import torch
from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from inarch.container import container_of
from inarch.errors import CannotGraft
from inarch.peft.guests import one_line


@dataclass(frozen=True, eq=False)
class Base:
    """The model before PEFT came: its numbers, who it was, the modules that were wrapped, and those that train beside whole."""

    numbers: int
    identity: dict[str, str]
    architecture: dict[str, str]
    modules: dict[str, nn.Module]
    whole: list[str]


class Held(nn.Module):
    """``model.inarch.default.shared``: PEFT's wrapper and what it keeps for all layers, which moves and trains with the model."""

    def __init__(self, wrapper: Any, base: Base) -> None:
        super().__init__()
        self.hosts, self.base = [wrapper], base  # in a list: the model lies in the wrapper, and must not be its own child
        for name, child in wrapper.base_model.named_children():
            if child is not wrapper.base_model.model:
                self.add_module(name, child)

    @property
    def wrapper(self) -> Any:
        """The ``PeftModel``."""
        return self.hosts[0]

    def layers(self) -> list[Any]:
        """PEFT's layers in the model, which are modules too."""
        return [module for module in self.wrapper.base_model.model.modules() if isinstance(module, BaseTunerLayer)]

    def own(self) -> list[nn.Parameter]:
        """What PEFT trains, each once: in its layers, around what they wrap, and shared."""
        found = [*self.parameters()]
        for layer in self.layers():
            found += layer.parameters(recurse=False)
            found += [p for name, child in layer.named_children() if name != "base_layer" for p in child.parameters()]
        return list({id(p): p for p in found if p.requires_grad}.values())

    def train(self, mode: bool = True) -> Held:
        """PEFT's parts learn while what they wrap stays in the mode that it is in."""
        super().train(mode)
        for layer in self.layers():
            layer.training = mode
            for name, child in layer.named_children():
                if name != "base_layer":
                    child.train(mode)
        return self


def held_by(model: nn.Module) -> Held:
    return container_of(model).scion("default").get_submodule("shared")  # type: ignore[return-value]


def wrap(model: nn.Module, config: PeftConfig, name: str) -> tuple[Any, dict[str, nn.Module]]:
    """``get_peft_model``, and the modules that it wrapped by path; ``CannotGraft`` with PEFT's reason, and nothing is changed.

    On the meta device an init that looks at weights is shown noise in their place.
    """
    before = dict(model.named_modules())
    kept = [(p, p.detach().clone()) for module in _touched(before, config) for p in module.parameters()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrapper = _shaped(model, config, before)
        _refuse_rewritten(model, kept)
        if not any(p.requires_grad and p.numel() for p in wrapper.parameters()):
            raise ValueError("it would train nothing on these modules")
    except Exception as problem:  # whatever one of PEFT's forty methods raises
        _put_back(model, before)
        for parameter, value in kept:
            parameter.data.copy_(value)
        raise CannotGraft(f"{name}: {one_line(problem)}") from None
    after = dict(model.named_modules())
    return wrapper, {path: module for path, module in before.items() if path in after and after[path] is not module}


def unwrap(model: nn.Module, held: Held) -> None:
    _put_back(model, held.base.modules)


def _touched(modules: dict[str, nn.Module], config: PeftConfig) -> list[nn.Module]:
    """What the configuration names, or everything where it names nothing in particular."""
    named = getattr(config, "target_modules", None)
    if not named or isinstance(named, str):
        return [modules[""]]
    ends = tuple(f".{name}" for name in named)
    return [module for path, module in modules.items() if f".{path}".endswith(ends)]


def _shaped(model: nn.Module, config: PeftConfig, before: dict[str, nn.Module]) -> Any:
    try:
        return peft.get_peft_model(model, config)  # type: ignore[arg-type]
    except NotImplementedError:
        if next(model.parameters()).device.type != "meta":
            raise
        _put_back(model, before)
        for module in _touched(before, config):
            module.to_empty(device="cpu")
            for parameter in module.parameters():
                nn.init.normal_(parameter)
        return peft.get_peft_model(model, config)  # type: ignore[arg-type]


def _refuse_rewritten(model: nn.Module, kept: list[tuple[nn.Parameter, Tensor]]) -> None:
    there = {id(p) for p in model.parameters()}
    for parameter, value in kept:
        if not value.is_meta and (id(parameter) not in there or not torch.equal(parameter, value)):
            raise ValueError("this configuration rewrites the frozen weights themselves, so that the adapter alone would not say what was "
                             "trained; choose another init")


def _put_back(model: nn.Module, modules: dict[str, nn.Module]) -> None:
    for path, module in modules.items():
        parent, _, leaf = path.rpartition(".")
        if path and parent in modules and modules[parent]._modules.get(leaf) is not module:
            modules[parent]._modules[leaf] = module
        elif path and parent not in modules:
            model.get_submodule(parent)._modules[leaf] = module
    model.__dict__.pop("peft_config", None)


__all__ = ["Base", "Held", "held_by", "unwrap", "wrap"]
