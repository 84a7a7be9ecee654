"""What trains of the base beside the adapters, in PEFT's terms: modules that are copied, trained and saved whole."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from inarch.adapter import Method
from inarch.errors import ConfigError
from inarch.grafting import thawed_by
from inarch.peft.configs import RoleConfig


def modules_to_save(model: nn.Module, method: Method, config: RoleConfig) -> list[str] | None:
    """Paths of the modules that hold the method's, the user's and the backbone's thawed parameters, and what the user named.

    Raises ``ConfigError`` where a role takes some parameters of a module and not others: PEFT trains modules whole.
    """
    named = config.modules_to_save or []
    plain = {name for name, _ in model.named_parameters() if ".modules_to_save." not in name}
    thawed = {name.replace(".original_module.", ".") for name in thawed_by(model, method, config.thaw) if name in plain}
    present = {name.replace(".original_module.", ".") for name in plain}
    asked = ", ".join(dict.fromkeys((*method.thaws, *config.thaw)))
    owners = whole_modules(thawed, present, f"{type(config).__name__}: {asked}", "use inarch.graft(model, method, thaw=...), or name the "
                           "module in modules_to_save")
    return [*named, *(owner for owner in owners if owner not in named)] or config.modules_to_save


def whole_modules(thawed: Collection[str], present: Collection[str], asked: str, instead: str) -> list[str]:
    """Paths of the modules whose parameters are the ``thawed`` ones; ``ConfigError`` where a module is not among them whole."""
    owners = sorted({name.rpartition(".")[0] for name in thawed})
    for owner in owners:
        if not {name for name in present if name.startswith(owner + ".")} <= {*thawed}:
            raise ConfigError(f"{asked} takes a part of {owner} and PEFT trains modules whole; {instead}")
    return owners
