"""The tuner: PEFT's verbs said with graft, use, drop, fold. One class serves every method; a subclass names its prefix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTuner
from peft.utils.integrations import init_empty_weights
from peft.utils.other import set_additional_trainable_modules
from torch import nn

from inarch import roles
from inarch.adapter import Method
from inarch.container import MERGED
from inarch.errors import CannotGraft, ConfigError
from inarch.grafting import drop, graft, plan, settled
from inarch.peft.configs import RoleConfig
from inarch.peft.kinds import prefix_of
from inarch.peft.layer import RootLayer
from inarch.peft.thawing import modules_to_save
from inarch.wiring import detach, join_again


class RootTuner(BaseTuner):
    """``model``: the base. Its adapters live in ``model.inarch``, so that ``inject_adapter_in_model`` needs nothing but the base."""

    uses_shared_state = False  # of the tuner's own: what layers share lives on the base
    tuner_layer_cls = RootLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012  (declared so by PEFT)

    def inject_adapter(
        self, model: nn.Module, adapter_name: str, autocast_adapter_dtype: bool = True, low_cpu_mem_usage: bool = False,
        state_dict: dict[str, torch.Tensor] | None = None,
    ) -> None:
        """Graft ``adapter_name`` as its configuration says; raises before anything is changed.

        ``state_dict`` is not looked at: the configuration alone says where adapters sit.
        """
        config: RoleConfig = self.peft_config[adapter_name]  # type: ignore[assignment]
        method, layer = config.method(), root_layer(model)
        self._check_new_adapter_config(config)
        stacks = plan(model, settled(model, method))
        config.modules_to_save = modules_to_save(model, method, config)
        flags = [(p, p.requires_grad) for p in model.parameters()] if layer else []
        if layer:
            detach(layer)  # hooks must not be copied into what trains whole
        active = adapter_name in self.active_adapters
        with init_empty_weights() if low_cpu_mem_usage else nullcontext():
            set_additional_trainable_modules(model, config, self.get_model_config(model), adapter_name, activate_adapter=active)
            graft(model, method, name=adapter_name, into=layer or RootLayer(model))
        join_again(model, self._layer())
        if not config.init_weights:
            for parameter in self._layer().grafts[adapter_name].trained().values():
                nn.init.normal_(parameter, std=0.3)
        self.targeted_module_names = sorted({site.block for stack in stacks for site in stack.sites} | set(self.targeted_module_names))
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)

    def _create_and_replace(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("no module is replaced: adapters hang on ports of the base")

    def merge_adapter(self, adapter_names: list[str] | None = None, safe_merge: bool = False) -> None:
        self._layer().merge(safe_merge=safe_merge, adapter_names=adapter_names)

    def unmerge_adapter(self) -> None:
        self._layer().unmerge()

    def _unload_and_optionally_merge(  # type: ignore[override]
        self, merge: bool = True, progressbar: bool = False, safe_merge: bool = False, adapter_names: list[str] | None = None
    ) -> nn.Module:
        layer = self._layer()
        if merge:
            layer.merge(safe_merge=safe_merge, adapter_names=adapter_names)
        elif layer.merged:
            layer.unmerge()
        release(self.model, layer)
        base: Any = super()._unload_and_optionally_merge
        return base(merge, progressbar, safe_merge, adapter_names)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Adapters are made in fp32 (fp64 for fp64); without autocast they take the base's dtype."""
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        if not autocast_adapter_dtype:
            dtype = next(p.dtype for p in roles.base_parameters(self.model).values() if p.is_floating_point())
            self._layer().grafts[adapter_name].to(dtype)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        if kwargs.get("adapter_names") is not None:
            raise ConfigError("adapter_names=: a batch whose samples use different adapters is not supported by "
                              f"{type(self).__name__}; call the model once per adapter with set_adapter")
        yield

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """``inarch.arc_vision_attn_768.NAME.down`` -> ``inarch.arc_vision_attn_768.down``, however deep the tensor."""
        return re.sub(rf"((?:^|\.)inarch\.[^.]+)\.{re.escape(adapter_name)}\.", r"\1.", key, count=1)

    def _layer(self) -> RootLayer:
        layer = root_layer(self.model)
        if layer is None:
            raise CannotGraft("nothing is grafted on this model any more")
        return layer


def root_layer(model: nn.Module) -> RootLayer | None:
    found = model._modules.get("inarch")
    if found is not None and not isinstance(found, RootLayer):
        raise CannotGraft(f"this {type(model).__name__} was grafted with inarch.graft; call inarch.ungraft(model) before PEFT adapts it")
    return found


def release(model: nn.Module, layer: RootLayer) -> None:
    """Take the layer off; weights that hold a fold keep it."""
    if not model.__dict__.pop(MERGED, None):
        drop(model, layer, list(layer.grafts))
        detach(layer)
    del model._modules["inarch"]


def tuner_of(method: type[Method]) -> type[RootTuner]:
    """``ARCModel`` for ``ARC``."""
    made = type(f"{method.__name__}Model", (RootTuner,), {"prefix": prefix_of(method), "__doc__": RootTuner.__doc__})
    made.__module__ = "inarch.peft"
    return made
