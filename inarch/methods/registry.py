"""Methods by name: ours, those that installed packages declare, and anybody's as ``package.module:Class``.

A package declares its methods under the entry point ``inarch.methods``: ``shift = "package.module:Shift"`` makes ``--method shift`` work,
and its files can be read wherever it is installed. ``package.module:Class`` needs no declaration; as a file must not decide what is
imported, such a name in a recipe or an adapter file is understood once the module has been imported (``adopt``, or ``import``).
``peft:lora`` is a method of PEFT, through ``peft`` itself.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from inarch.adapter import Method
from inarch.errors import ConfigError, nearest
from inarch.methods.adaptformer import AdaptFormer
from inarch.methods.adaring import AdaRing
from inarch.methods.addedbias import AddedBias
from inarch.methods.arc import ARC
from inarch.methods.bottleneck import HOULSBY, PFEIFFER, Bottleneck
from inarch.methods.clip_adapter import CLIPAdapter
from inarch.methods.compacter import Compacter
from inarch.methods.context import Context
from inarch.methods.fact import FacT
from inarch.methods.fullrank import FullRank
from inarch.methods.hyperformer import HyperFormer
from inarch.methods.lora import LoRA
from inarch.methods.mma import MMA
from inarch.methods.prompt import Prompt
from inarch.methods.repadapter import RepAdapter
from inarch.methods.ssf import SSF
from inarch.methods.thawed import BitFit, Frozen, Full, Linear
from inarch.methods.vlpet import VLPET
from inarch.methods.vpt import VPT

GROUP = "inarch.methods"
LIBRARIES = {"peft": "inarch.peft.hosted"}  # word before a colon -> the module here whose ``named`` knows that library's methods by name
METHODS: dict[str, type[Method]] = {
    "arc": ARC, "adaring": AdaRing, "lora": LoRA, "fullrank": FullRank, "linear": Linear, "bitfit": BitFit, "full": Full,
    "vlpet": VLPET, "bottleneck": Bottleneck, "compacter": Compacter, "frozen": Frozen,
    "prompt": Prompt, "hyperformer": HyperFormer, "addedbias": AddedBias,
    "mma": MMA, "clipadapter": CLIPAdapter, "context": Context, "fact": FacT,
    "adaptformer": AdaptFormer, "repadapter": RepAdapter, "ssf": SSF, "vpt": VPT,
}


class Setting(NamedTuple):
    """A name of the literature: a method by its name here, the fields that make it so, and how it is written."""

    method: str
    fields: dict[str, Any]
    title: str


SETTINGS = {
    "houlsby": Setting("bottleneck", HOULSBY, "Houlsby"), "pfeiffer": Setting("bottleneck", PFEIFFER, "Pfeiffer"),
    "vpt-shallow": Setting("vpt", {"form": "shallow"}, "VPT-shallow"), "vpt-deep": Setting("vpt", {"form": "deep"}, "VPT-deep"),
    "fact-tt": Setting("fact", {"form": "tt"}, "FacT-TT"), "fact-tk": Setting("fact", {"form": "tk"}, "FacT-TK"),
    "dora": Setting("peft:lora", {"use_dora": True}, "DoRA"),
}


def known() -> list[str]:
    """Every name that ``method_named`` takes without a colon."""
    return [*METHODS, *SETTINGS, *(point.name for point in entry_points(group=GROUP))]


def configured(name: str, fields: dict[str, Any]) -> Method:
    """The method of a recipe's or flag's name with its fields: ``configured("pfeiffer", {"rank": 8})`` is a ``Bottleneck``."""
    setting = SETTINGS.get(name.lower())
    return method_named(name).parse({**(setting.fields if setting else {}), **fields})


def of_literature(name: str, config: Mapping[str, Any]) -> Setting | None:
    """The setting of this name, its fields as JSON has them, where ``config`` keeps all of them but the size; else None."""
    setting = SETTINGS.get(name.lower())
    if setting is None:
        return None
    method = configured(name, {})
    own = {field: value for field, value in method.fields().items() if field in setting.fields and field != method.size}
    return setting._replace(fields=own) if all(config.get(field, value) == value for field, value in own.items()) else None


def root(name: str) -> str:
    """The method behind a name of the literature; any other name stands for itself."""
    setting = SETTINGS.get(name.lower())
    return setting.method if setting else name


def method_named(name: str) -> type[Method]:
    """The method class of a name; raises ``ConfigError`` with the nearest known one."""
    name = root(name)
    if name.lower() in METHODS:
        return METHODS[name.lower()]
    library, _, inner = name.partition(":")
    if library in LIBRARIES:
        return import_module(LIBRARIES[library]).named(inner)
    if ":" in name:
        return _from_module(name)
    for point in entry_points(group=GROUP, name=name):
        return _loaded(point)
    raise ConfigError(f"no method {name!r}; {nearest(name.lower(), known())}; one of your own is written package.module:Class")


def adopt(name: str) -> None:
    """Import the module of ``package.module:Class``: where a user has typed the name, never on a file's word."""
    module, colon, _ = name.partition(":")
    if not colon or module in LIBRARIES:
        return
    try:
        import_module(module)
    except Exception as problem:  # whatever the module of somebody else raises
        raise ConfigError(f"method {name!r}: importing {module} failed ({type(problem).__name__}: {problem}); is its package installed, "
                          "or its folder in PYTHONPATH?") from None


def name_of(kind: type[Method]) -> str:
    """What a file calls a method class, so that ``method_named`` finds it again; raises ``ConfigError`` where nothing could."""
    ours = next((name for name, method in METHODS.items() if method is kind), None)
    if ours is not None:
        return ours
    address = f"{kind.__module__}:{kind.__qualname__}"
    declared = next((point.name for point in entry_points(group=GROUP) if point.value == address), None)
    known = kind.__module__ in LIBRARIES or _attribute(address) is kind
    if declared is None and not known:
        raise ConfigError(f"{address} is no class of a module, so no file could name it; define it at the top of one")
    return declared or address


def _from_module(name: str) -> type[Method]:
    module, _, inner = name.partition(":")
    if module not in sys.modules:
        raise ConfigError(f"method {name!r} is another package's, and what a file names is not imported: pass --method {name}, import "
                          f"{module} in Python, or let its package declare it as an entry point {GROUP!r}")
    found = _attribute(name)
    if found is None:
        raise ConfigError(f"method {name!r}: {module} has no {inner!r}; {nearest(inner, _methods_in(module))}")
    return _checked(found, name)


def _attribute(address: str) -> Any:
    module, _, inner = address.partition(":")
    found: Any = sys.modules.get(module)
    for part in inner.split("."):
        found = getattr(found, part, None)
    return found


def _methods_in(module: str) -> Iterable[str]:
    return [name for name, value in vars(sys.modules[module]).items() if isinstance(value, type) and issubclass(value, Method)]


def _loaded(point: EntryPoint) -> type[Method]:
    try:
        found = point.load()
    except Exception as problem:  # whatever the module of somebody else raises
        raise ConfigError(f"method {point.name!r}: loading {point.value} failed ({type(problem).__name__}: {problem}); mend or uninstall "
                          f"{point.dist.name if point.dist else 'its package'}") from None
    return _checked(found, point.value)


def _checked(found: Any, name: str) -> type[Method]:
    if not isinstance(found, type) or not issubclass(found, Method) or inspect.isabstract(found):
        raise ConfigError(f"method {name!r} is {found!r}; expected a class derived from inarch.adapter.Method that defines wanted, build "
                          "and identity_at_start")
    return found
