"""A PEFT configuration per method: the method's own fields, and what every PEFT configuration has.

What is adapted is said by role (``spans``, ``layers``, ``towers``), never by dotted names of modules, which change between releases.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from typing import Any, ClassVar

from peft.config import PeftConfig

from inarch.adapter import Method
from inarch.errors import ConfigError, nearest
from inarch.methods import ARC, VLPET, AdaRing
from inarch.peft.kinds import kind_of

ELSEWHERE = {  # what PEFT's other configurations have -> how it is said here
    "bias": "biases of the base train by role: inarch.graft(model, method, thaw='biases')",
    "target_modules": "places are named by role, with {roles}; inarch.sites(model) lists them",
    "layers_to_transform": "say layers='4:12' or [0, 5]",
}
RENAMED = {"bias": "adapter_bias"}  # field of a method -> its name here, where PEFT means something else by it


class UnknownField(ConfigError, TypeError):
    """A keyword that this configuration does not have; also a TypeError, as Python's own would be."""


@dataclass
class RoleConfig(PeftConfig):
    """``modules_to_save``: modules that train whole beside the adapters, e.g. ``["classifier"]``. ``thaw``: the same by role, e.g.
    ``["norms"]``; what a method trains of the base beside its adapters needs no mention.
    ``init_weights=False``: random values, for tests of what a trained adapter does. ``extra``: what ``inarch.save`` kept beside the
    adapter, such as class names.
    """

    modules_to_save: list[str] | None = None
    thaw: list[str] = field(default_factory=list)
    init_weights: bool = True
    extra: dict[str, Any] | None = None

    made_for: ClassVar[type[Method]]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = kind_of(type(self).made_for)  # type: ignore[assignment]
        asked = getattr(self, "r", None)
        if asked is not None:
            self.rank = asked
        self.method()

    def method(self) -> Method:
        """The method that these fields configure; raises ``ConfigError`` naming the field."""
        return self.made_for.parse({f.name: getattr(self, RENAMED.get(f.name, f.name)) for f in dataclasses.fields(self.made_for)})


def config_of(method: type[Method]) -> type[RoleConfig]:
    """``ARCConfig`` of ``ARC``: a dataclass whose fields are the method's; ``r`` stands for ``rank`` where there is one.

    The method's own ``bias`` is called ``adapter_bias``: PEFT's ``bias`` says which biases of the base train.
    """
    fields: list[tuple[str, Any, Any]] = [
        (RENAMED.get(f.name, f.name), f.type, dataclasses.field(default=f.default)) for f in dataclasses.fields(method)
    ]
    if "rank" in {name for name, *_ in fields}:
        fields.append(("r", "int | None", dataclasses.field(default=None)))
    made = dataclasses.make_dataclass(f"{method.__name__}Config", fields, bases=(RoleConfig,), namespace={"made_for": method})
    made.__init__ = _strict(made)  # type: ignore[misc]
    made.__module__ = "inarch.peft"
    made.__doc__ = f"{method.__name__} for PEFT: the fields of ``inarch.{method.__name__}``, and {RoleConfig.__doc__}"
    return made


def _strict(made: type[RoleConfig]) -> Any:
    """The dataclass's ``__init__``, which says of an unknown keyword what to write instead."""
    plain, known = made.__init__, {f.name for f in dataclasses.fields(made)}
    roles = ", ".join(name for name in ("spans", "targets", "site", "layers", "towers") if name in known)

    @functools.wraps(plain)
    def init(self: RoleConfig, *args: Any, **fields: Any) -> None:
        for name in fields.keys() - known:
            told = ELSEWHERE.get(name, nearest(name, known)).format(roles=roles)
            raise UnknownField(f"{made.__name__}: no field {name!r}; {told}")
        plain(self, *args, **fields)

    return init


ARCConfig, AdaRingConfig, VLPETConfig = config_of(ARC), config_of(AdaRing), config_of(VLPET)
CONFIGS = {ARC: ARCConfig, AdaRing: AdaRingConfig, VLPET: VLPETConfig}
