"""What a method supplies: a frozen configuration that builds adapters, and the adapters' three gestures before, after, affine."""

from __future__ import annotations

import dataclasses
import math
import types
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from torch import Tensor, nn

from inarch.errors import CannotFold, ConfigError, nearest
from inarch.ports import Layers, Stack, check_layers

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


NULL = "null"  # what a file or flag that has no word for None says for it


@dataclass(frozen=True)
class Pre:
    """``h = u (I + down up) + shift`` where u enters the span: folds into its readers. Shapes ``D r``, ``r D``, ``D``."""

    down: Float[Tensor, "dim rank"]
    up: Float[Tensor, "rank dim"]
    shift: Float[Tensor, " dim"] | None = None


@dataclass(frozen=True)
class Post:
    """``h = y (I + down up) + shift`` where y leaves the span: folds into its writers."""

    down: Float[Tensor, "dim rank"]
    up: Float[Tensor, "rank dim"]
    shift: Float[Tensor, " dim"] | None = None


@dataclass(frozen=True)
class Parallel:
    """``h = y + x down up + shift`` around one projection ``x -> y``: folds onto its own weight."""

    down: Float[Tensor, "dim rank"]
    up: Float[Tensor, "rank out"]
    shift: Float[Tensor, " out"] | None = None


@dataclass(frozen=True)
class Scale:
    """``h = y * gain + shift``, channel by channel: folds into the writers, of which one may be a norm or a convolution. Shapes ``D``."""

    gain: Float[Tensor, " dim"]
    shift: Float[Tensor, " dim"]


Fold = Pre | Post | Parallel | Scale


class Adapter(nn.Module):
    """The trained part on one stack; ``i`` counts the stack's sites from its first, ``given`` is what ``prepare`` returned.

    Define ``before`` (edits what enters span i), ``after`` (edits what leaves it, may look at what entered), or both.
    ``reads="residual"``: ``before`` is not used and ``after`` sees the tensor at the start of the span's skip connection.
    """

    reads: Literal["normed", "residual"] = "normed"
    rebuilds: bool = False  # ``before`` or ``after`` takes ``source=``, from which its node can make x again instead of keeping it
    rewrites: bool = False  # ``after`` takes ``wrote=``, the same for y
    strength: float | None = None  # multiple of its scale at present; None: it has none that could be changed

    @property
    def stochastic(self) -> bool:
        """True where a training-mode forward draws random numbers, so that only the evaluation operator can be folded."""
        return False

    def prepare(self, shared: nn.Module | None, visible: Bool[Tensor, "batch tokens"] | None) -> Any:
        """Once per forward of the tower: contract what all sites need. The default hands the shared module on.

        ``visible``: which tokens are not padding, None where all are or the tower was not told.
        """
        return shared

    def before(self, x: Float[Tensor, "*batch dim"], i: int, given: Any) -> Float[Tensor, "*batch dim"]:
        raise NotImplementedError(f"{type(self).__name__} does not edit what enters a span")

    def after(self, x: Float[Tensor, "*batch dim"], y: Float[Tensor, "*batch out"], i: int, given: Any) -> Float[Tensor, "*batch out"]:
        raise NotImplementedError(f"{type(self).__name__} does not edit what leaves a span")

    def affine(self, i: int, given: Any) -> Fold:
        """How site i folds; raises ``CannotFold`` with the reason when it is not affine."""
        raise CannotFold(f"{type(self).__name__} is not an affine map of what it reads")


def defines(adapter: Adapter, gesture: str) -> bool:
    """Whether the adapter's class supplies ``before``, ``after`` or ``prepare`` itself."""
    return getattr(type(adapter), gesture) is not getattr(Adapter, gesture)


@dataclass(frozen=True)
class Built:
    """What a method makes for a model: an adapter per stack name, and at most one module that stacks share."""

    adapters: dict[str, Adapter]
    shared: nn.Module | None = None


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A frozen, validated configuration. It sees stacks (widths and depths), never a backbone.

    ``layers``: 0-based slice or indices, per tower (None: all). ``towers``: names of towers (None: all).
    """

    layers: Layers = None
    towers: tuple[str, ...] | None = None

    trains: ClassVar[bool] = True  # False: the frozen base as it comes is a method too, where a row thaws nothing of it
    paces: ClassVar[dict[str, float]] = {}  # component of a trained tensor's name -> multiple of the learning rate; it never decays
    probed: ClassVar[tuple[str, ...]] = ()  # components of names of tensors that held-out classes can choose instead of the training
    unset: ClassVar[dict[str, Any]] = {}  # fields that may stay None until a backbone is at hand -> their value where it states none
    size: ClassVar[str] = ""  # the whole-number field that makes it larger, where there is one: rank, length, width

    def __post_init__(self) -> None:
        check_types(self)
        check_layers(self.layers)
        if self.towers is not None and (not self.towers or len({*self.towers}) != len(self.towers) or not all(self.towers)):
            raise ConfigError(f"{type(self).__name__}: towers={self.towers!r}; expected names of towers, each once, or None for all")

    @property
    def thaws(self) -> tuple[str, ...]:
        """Roles of base parameters that the method itself trains."""
        return ()

    def settled(self, published: dict[str, Any]) -> Self:
        """With every field that was left unset filled: as published for the backbone, else by the method's own value."""
        left = {name: published.get(name, own) for name, own in self.unset.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **left)

    def resized(self, size: int) -> Self:
        """The same method with ``size`` in the field that makes it larger; raises ``ConfigError`` where that is out of range."""
        if not self.size:
            raise ConfigError(f"{type(self).__name__} has no field that makes it larger or smaller; choose its layers instead")
        larger: dict[str, Any] = {self.size: size}
        return dataclasses.replace(self, **larger)

    @abstractmethod
    def wanted(self) -> tuple[str, ...]:
        """Names of the spans or matrices to adapt, in order."""

    @abstractmethod
    def build(self, stacks: list[Stack]) -> Built:
        """Adapters for the stacks; raises ``CannotGraft`` for what the method cannot do on them."""

    @property
    @abstractmethod
    def identity_at_start(self) -> bool:
        """Whether a fresh graft leaves every output of the base bit for bit."""

    def fields(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def parse(cls, fields: dict[str, Any]) -> Method:
        """From JSON, TOML or flags: lists become tuples, ``a,b`` or a lone value fills a tuple field; an unknown key is refused."""
        known = {f.name for f in dataclasses.fields(cls)}
        for key in fields.keys() - known:
            raise ConfigError(f"{cls.__name__}: unknown key {key!r}; {nearest(key, known)}")
        hints = get_type_hints(cls)
        return cls(**{key: _read(value, hints[key]) for key, value in fields.items()})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _read(value: Any, hint: Any) -> Any:
    if value == NULL and type(None) in _options(hint):
        return None
    if isinstance(value, list):
        return tuple(value)
    items = [get_args(option)[0] for option in _options(hint) if get_origin(option) is tuple]
    if not items or type(value) not in (str, int) or type(value) in _options(hint):
        return value
    parts = str(value).split(",")
    return tuple(int(part) if items == [int] and part.strip().isdecimal() else part for part in parts)


def _options(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def check_types(config: Any) -> None:
    """Every field of a frozen dataclass holds a value of its annotated type; numbers are finite; nothing is coerced."""
    hints = get_type_hints(type(config))
    for name in (f.name for f in dataclasses.fields(config)):
        hint, value = hints[name], getattr(config, name)
        if not any(_fits(value, option) for option in _options(hint)):
            expected = " or ".join(_describe(option) for option in _options(hint))
            near = f"; {nearest(value, _choices(hint))}" if isinstance(value, str) and _choices(hint) else ""
            raise ConfigError(f"{type(config).__name__}: {name}={value!r}; expected {expected}{near}")


def _fits(value: Any, option: Any) -> bool:
    if get_origin(option) is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(option))
    if get_origin(option) is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(option)[0]) for item in value)
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return False  # no tensor, file or float could hold it
    if option is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return type(value) is option if option in (int, bool, str) else value is None and option is type(None)


def _describe(option: Any) -> str:
    if get_origin(option) is Literal:
        return "one of " + ", ".join(map(repr, get_args(option)))
    if get_origin(option) is tuple:
        return f"a list of {_describe(get_args(option)[0])}"
    return "None" if option is type(None) else f"a finite {option.__name__}" if option is float else f"{option.__name__}"


def _choices(hint: Any) -> list[str]:
    return [c for option in _options(hint) if get_origin(option) is Literal for c in get_args(option)]


def within(owner: str, name: str, value: float, low: float, high: float, *, open_above: bool = False) -> None:
    """Raise ``ConfigError`` unless ``low <= value <= high`` (``< high`` when ``open_above``)."""
    if value < low or value > high or (open_above and value == high):
        bracket = ")" if open_above else "]"
        raise ConfigError(f"{owner}: {name}={value!r} is out of range; expected [{low}, {high}{bracket}")


def each_once(owner: str, name: str, values: tuple[str, ...], expected: str) -> None:
    """Raise ``ConfigError`` unless something is named, and nothing twice."""
    if not values or len({*values}) != len(values):
        raise ConfigError(f"{owner}: {name}={values!r}; expected {expected}, each once")
