"""What trains of the base beside the adapters, in PEFT's terms: modules that are copied, trained and saved whole."""

from __future__ import annotations

from torch import nn

from inarch import roles
from inarch.adapter import Method
from inarch.errors import ConfigError
from inarch.peft.configs import RoleConfig


def modules_to_save(model: nn.Module, method: Method, config: RoleConfig) -> list[str] | None:
    """Paths of the modules that hold the method's, the user's and the backbone's thawed parameters, and what the user named.

    Raises ``ConfigError`` where a role takes some parameters of a module and not others: PEFT trains modules whole.
    """
    asked = tuple(dict.fromkeys((*method.thaws, *config.thaw)))
    named = config.modules_to_save or []
    free = nn.Module.named_parameters(model)
    plain = {name for name, _ in free if ".modules_to_save." not in name}
    thawed = {n.replace(".original_module.", ".") for n in roles.resolve(model, asked, roles.always(model)) if n in plain}
    owners = sorted({name.rpartition(".")[0] for name in thawed})
    present = {name.replace(".original_module.", ".") for name in plain}
    for owner in owners:
        whole = {name for name in present if name.startswith(owner + ".")}
        if not whole <= thawed:
            raise ConfigError(f"{type(config).__name__}: {', '.join(asked)} takes a part of {owner} and PEFT trains modules whole; "
                              "use inarch.graft(model, method, thaw=...), or name the module in modules_to_save")
    return [*named, *(owner for owner in owners if owner not in named)] or config.modules_to_save
