"""Where an adapter can sit: ports (a tensor enters or leaves a module), spans (enter port -> leave port), sites, stacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inarch.errors import ConfigError

Layers = str | int | tuple[int, ...] | None


@dataclass(frozen=True)
class Port:
    """One tensor at one module: ``attn:in``, ``mlp:out``; an empty path is the block itself (``:out``)."""

    path: str
    side: Literal["in", "out"]

    @staticmethod
    def parse(text: str) -> Port:
        path, _, side = text.partition(":")
        if side not in ("in", "out"):
            raise ConfigError(f"port {text!r}: expected 'module.path:in' or 'module.path:out'")
        return Port(path, side)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.path}:{self.side}"


@dataclass(frozen=True)
class Weight:
    """A matrix ``[out, in]`` of a block and the bias beside it, by tensor path relative to the block.

    ``part=(k, n)`` names the k-th of n equal groups of rows (q of a fused qkv). ``bias`` is one path, or several whose
    concatenation is the bias. ``cancels``: a constant added to the output changes nothing (keys under plain softmax),
    so a missing bias need not be created. ``called``: the owning module is really called, so that it has ports.
    """

    path: str
    bias: tuple[str, ...] = ()
    part: tuple[int, int] | None = None
    cancels: bool = False
    called: bool = True

    @property
    def module(self) -> str:
        return self.path.rpartition(".")[0]

    @property
    def biases(self) -> tuple[str, ...]:
        return self.bias or (self.path.removesuffix("weight") + "bias",)


@dataclass(frozen=True)
class Span:
    """A stretch of a block: what enters at ``enter``, read by ``readers``; what leaves at ``leave``, made by ``writers``.

    ``residual`` is where the block's skip connection over the span begins (None: there is none, or its tokens come in another
    order), ``norm`` the normalisation on the way in.
    ``carries``: the tensor at ``enter`` is also the skip, so whatever is added to it is added at ``leave`` again.
    ``width``: a tensor of the block whose last dimension is the width, where neither weights nor a norm tell it ("": ``weight``).
    ``axis``: where the channels are in what leaves (1 for a convolution). ``tower``: the only one that offers it ("": every one).
    A linear span is one projection: its reader is its writer.
    """

    name: str
    enter: Port
    leave: Port
    readers: tuple[Weight, ...] = ()
    writers: tuple[Weight, ...] = ()
    norm: str = ""
    residual: Port | None = Port("", "in")
    carries: bool = False
    width: str = ""
    axis: int = -1
    tower: str = ""

    @property
    def rebuilt(self) -> bool:
        """Is what enters the norm's output itself? Not where the norm comes behind it, nor where windows are cut in between."""
        if not self.norm or self.carries or self.enter == self.residual:
            return False
        return self.residual is not None or self.enter == Port(self.norm, "out")

    @property
    def writer(self) -> str:
        """Path of the one projection whose output leaves, "" where there are several, or it is never called."""
        only = self.writers[0] if len(self.writers) == 1 and self.readers != self.writers else None
        return only.module if only is not None and only.called and only.part is None else ""

    @property
    def linear(self) -> Weight | None:
        return self.readers[0] if self.readers and self.readers == self.writers else None


@dataclass(frozen=True)
class Site:
    """One span in one block of one model. ``block`` is the block's path, ``layer`` its 0-based index in the tower."""

    span: Span
    tower: str
    layer: int
    block: str
    width_in: int
    width_out: int
    decodes: bool = False  # in a decoder block


@dataclass(frozen=True)
class Stack:
    """All chosen sites of one span and width in one tower, in order of depth; "shared across layers" means within one."""

    name: str
    sites: tuple[Site, ...]

    @property
    def depth(self) -> int:
        return len(self.sites)

    @property
    def span(self) -> str:
        return self.sites[0].span.name

    @property
    def tower(self) -> str:
        return self.sites[0].tower

    @property
    def decodes(self) -> bool:
        return self.sites[0].decodes

    @property
    def width_in(self) -> int:
        return self.sites[0].width_in

    @property
    def width_out(self) -> int:
        return self.sites[0].width_out


def stacks(sites: list[Site]) -> list[Stack]:
    """Group sites into stacks, named ``tower_span_width`` (``vision_attn_768``); the out-width is added where it differs."""
    groups: dict[str, list[Site]] = {}
    for site in sites:
        name = f"{site.tower}_{site.span.name.replace('.', '_')}_{site.width_in}"
        if site.width_out != site.width_in:
            name += f"x{site.width_out}"
        groups.setdefault(name, []).append(site)
    return [Stack(name, tuple(group)) for name, group in groups.items()]


def select(layers: Layers, depth: int) -> list[int]:
    """The one grammar for layers: 0-based Python slices ``"4:12"``, ``"-6:"``, an index, a list of indices, or None for all.

    >>> select("-2:", 12), select([0, 5], 12), select(None, 2)
    ([10, 11], [0, 5], [0, 1])
    """
    if layers is None:
        return list(range(depth))
    chosen = _slice(layers, depth) if isinstance(layers, str) else _indices(layers, depth)
    if not chosen:
        raise ConfigError(f"layers={layers!r} selects none of {depth} layers; expected e.g. '4:12', '-6:' or [0, 5]")
    return chosen


def check_layers(layers: Layers) -> None:
    """Refuse what would be wrong on a backbone of any depth."""
    if isinstance(layers, str):
        start, stop, step = (*_numbers(layers), None, None)[:3]
        if start is not None and stop is not None and (start < 0) == (stop < 0) and (stop - start) * (step or 1) <= 0:
            raise ConfigError(f"layers={layers!r} selects no layer; expected e.g. '4:12', '-6:' or [0, 5]")
    elif isinstance(layers, tuple) and (not layers or len({*layers}) != len(layers)):
        raise ConfigError(f"layers={layers!r}; expected at least one layer, each once, such as [0, 5], or None for all")


def _slice(text: str, depth: int) -> list[int]:
    numbers = _numbers(text)
    if len(numbers) == 1:
        return _indices(numbers[0] or 0, depth)
    return sorted(range(depth)[slice(*numbers)])


def _numbers(text: str) -> list[int | None]:
    """The parts of a slice; a single one is an index."""
    try:
        numbers = [int(part) if part.strip() else None for part in text.split(":")]
    except ValueError:
        raise ConfigError(f"layers={text!r}: expected a 0-based slice such as '4:12' or '-6:', or a list of indices") from None
    if len(numbers) > 3 or numbers == [None] or (len(numbers) == 3 and numbers[2] == 0):
        raise ConfigError(f"layers={text!r}: expected 'start:stop' or 'start:stop:step'")
    return numbers


def _indices(layers: int | tuple[int, ...] | list[int], depth: int) -> list[int]:
    chosen = []
    for index in (layers,) if isinstance(layers, int) else layers:
        if isinstance(index, bool) or not isinstance(index, int) or not -depth <= index < depth:
            raise ConfigError(f"layer {index!r} is out of range; expected an integer from {-depth} to {depth - 1}")
        chosen.append(index % depth)
    if len(set(chosen)) != len(chosen):
        raise ConfigError(f"layers={layers!r} names a layer twice")
    return sorted(chosen)
