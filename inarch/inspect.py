"""inspect: what an adapter on disk has learned, read from its folder alone, without the backbone.

    per site      H = U (I + dA) + b:   singular values of dA, its effective rank, |b|; for ARC also eigenvalues and c
    per stack     how much the leading input directions of its layers overlap (is one shared basis reasonable?)
    AdaRing       its cores, slices and gates instead (inarch/inspection/rings.py)
With the full-rank method this is the paper's Figures 3-4; with ARC, what became of its shared basis in every layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inarch import files
from inarch.adapter import Adapter, Method, Scale
from inarch.card import adapter_in, read_card
from inarch.container import Scion
from inarch.errors import CannotFold, ConfigError
from inarch.inspection import spectra
from inarch.inspection.lines import aligned
from inarch.inspection.ring_report import RingInspection, inspect_rings
from inarch.inspection.spectra import Spectrum
from inarch.methods import AdaRing, method_named
from inarch.methods.arc import ARC, ArcAdapter
from inarch.places import place
from inarch.ports import Port, Site, Span, Stack

ENERGIES = (0.5, 0.9, 0.99)
BINS = 20
INSPECTORS: dict[type[Method], Callable[..., RingInspection]] = {AdaRing: inspect_rings}  # of methods that a spectrum says too little of
_OUTSIDE = ("base/", "head/")  # thawed tensors of the base and a head: nothing that an adapter added


@dataclass(frozen=True, eq=False)
class SiteView:
    """One layer: the spectrum of its dA, the norm of its shift b, and for ARC its re-scaling c ``[r]``."""

    spectrum: Spectrum
    shift: float
    scale: Tensor | None

    def to_json(self) -> dict[str, Any]:
        found = self.spectrum
        ranks = {f"{share:.0%}": spectra.energy_rank(found.singular, share) for share in ENERGIES}
        return {
            "singular": found.singular.tolist(), "energy": spectra.energy(found.singular).tolist(),
            "effective_rank": spectra.effective_rank(found.singular), "energy_rank": ranks, "bias_norm": self.shift,
            "eigenvalues": None if found.eigenvalues is None else found.eigenvalues.tolist(),
            "scale": None if self.scale is None else self.scale.tolist(),
        }


@dataclass(frozen=True, eq=False)
class StackView:
    """The layers of one stack; ``leading`` is how many of the strongest input directions are compared between layers.

    ``room``: the dimension of the space they lie in, r where layers share one basis, else the width.
    """

    name: str
    width: int
    room: int
    sites: tuple[SiteView, ...]
    leading: int

    def overlaps(self) -> list[list[float | None]]:
        """``[L, L]``: mean squared cosine between leading subspaces; ``chance`` is what unrelated ones would show."""
        spaces = [site.spectrum.leading(self.leading) for site in self.sites]
        return [[spectra.overlap(a, b) for b in spaces] for a in spaces]

    @property
    def chance(self) -> float:
        return self.leading / self.room

    def angles(self) -> dict[str, list[float]]:
        """``"0-1"`` -> principal angles in degrees between the leading subspaces of layers 0 and 1, for every pair."""
        spaces = [site.spectrum.leading(self.leading) for site in self.sites]
        return {f"{i}-{j}": spectra.principal_angles(a, b).rad2deg().tolist()
                for i, a in enumerate(spaces) for j, b in enumerate(spaces) if i < j}

    def spectra(self) -> tuple[list[float], list[list[int]]]:
        """Edges common to the stack and, per layer, how many singular values of dA fall between them (the paper's Figure 3)."""
        return _histogram([site.spectrum.singular for site in self.sites])

    def histogram(self) -> tuple[list[float], list[list[int]]] | None:
        """Edges common to the stack and, per layer, how many ``|c|`` fall between them; None where there is no c."""
        scales = [site.scale.abs() for site in self.sites if site.scale is not None]
        return _histogram(scales) if scales else None

    def to_json(self) -> dict[str, Any]:
        bins, values = self.histogram(), self.spectra()
        return {
            "name": self.name, "width": self.width, "room": self.room, "leading": self.leading, "chance": self.chance,
            "overlap": self.overlaps(), "angles": self.angles(),
            "singular_histogram": {"edges": values[0], "counts": values[1]},
            "histogram": None if bins is None else {"edges": bins[0], "counts": bins[1]},
            "sites": [site.to_json() for site in self.sites],
        }


@dataclass(frozen=True, eq=False)
class Inspection:
    """What ``inspect`` found; prints as a table, ``to_json`` holds every number."""

    folder: str
    method: str
    config: dict[str, Any]
    stacks: tuple[StackView, ...]

    def to_json(self) -> dict[str, Any]:
        return {"folder": self.folder, "method": self.method, "config": self.config, "stacks": [s.to_json() for s in self.stacks]}

    def __str__(self) -> str:
        layers = self.config.get("layers")
        where = "" if layers is None else f", counted within layers={layers!r}"
        lines = [f"{self.folder}: {self.method}; layers from 0{where}"]
        for stack in self.stacks:
            lines += ["", *_lines(stack)]
        return "\n".join(lines)


def inspect(folder: str | Path, *, leading: int = 10) -> Inspection | RingInspection:
    """Read an adapter folder, or the run folder that holds one, and analyse every stack of its adapter.

    ``leading``: how many of the strongest directions to compare between layers. Raises ``ConfigError`` for a method that adds
    no matrices, ``CannotFold`` for one whose edit is no matrix, and what ``inarch.load`` raises for a damaged file.
    """
    if leading < 1:
        raise ConfigError(f"leading={leading}; expected at least one direction")
    folder = adapter_in(place(folder))
    card = read_card(folder)
    method = method_named(card["method"]).parse(card["config"])
    values = _values(folder, card)
    if type(method) in INSPECTORS:
        return INSPECTORS[type(method)](method, values, folder)
    scion = _rebuilt(method, values, folder)
    views = tuple(_view(scion, stack, leading) for stack in scion.stacks)
    return Inspection(str(folder), card["method"], card["config"], views)


def _histogram(layers: list[Tensor]) -> tuple[list[float], list[list[int]]]:
    top = float(torch.stack(layers).max()) or 1.0
    edges = torch.linspace(0, top, BINS + 1, dtype=torch.float64)
    return edges.tolist(), [torch.histogram(values.double(), edges).hist.int().tolist() for values in layers]


def _values(folder: Path, card: dict[str, Any]) -> dict[str, Tensor]:
    path = folder / card["weights"]
    data = files.read_sealed(path, size=card["bytes"], digest=card["sha256"])
    return {name: value.double() for name, value in files.tensors(data, path).items() if not name.startswith(_OUTSIDE)}


def _rebuilt(method: Method, values: dict[str, Tensor], folder: Path) -> Scion:
    """The method's own adapters around the values; widths and depths are those of the tensors."""
    owned: dict[str, dict[str, Tensor]] = {}
    for name, value in values.items():
        stack, _, leaf = name.partition(".")
        owned.setdefault(stack, {})[leaf] = value
    owned.pop("shared", None)
    if not owned:
        raise ConfigError(f"{folder}: {method} adds no matrices of its own, so there is nothing to inspect; "
                          "expected an adapter of a method such as arc, fullrank or lora")
    with torch.device("meta"):
        stacks = [_stack(name, _depth(leaves)) for name, leaves in owned.items()]
        stacks.sort(key=lambda stack: (stack.tower, stack.span, stack.width_in))
        scion = Scion(method, stacks, method.build(stacks), [])
    found = {name: ("F64", list(value.shape)) for name, value in values.items()}
    files.check_tensors(found, {name: list(p.shape) for name, p in scion.trained().items()}, folder)
    scion.load_state_dict(values, assign=True)
    return scion.eval()


def _depth(leaves: dict[str, Tensor]) -> int:
    """Everything but ARC's one W ``[D, r]`` is stacked over the layers, or once for all of them."""
    return max((value.shape[0] for leaf, value in leaves.items() if not (leaf == "down" and value.dim() == 2)), default=1)


def _stack(name: str, depth: int) -> Stack:
    """The stack that a name such as ``vision_attn_768`` or ``vision_fc1_768x3072`` stands for."""
    rest, _, widths = name.rpartition("_")
    tower, _, span = rest.rpartition("_")
    width_in, _, width_out = widths.partition("x")
    place = Span(span, Port("", "in"), Port("", "out"))
    return Stack(name, tuple(Site(place, tower, i, "", int(width_in), int(width_out or width_in)) for i in range(depth)))


def _view(scion: Scion, stack: Stack, leading: int) -> StackView:
    adapter, given = scion.adapters()[stack.name], scion.given(stack.name)
    with torch.no_grad():
        sites = tuple(_site(adapter, i, given) for i in range(stack.depth))
    one_basis = isinstance(scion.method, ARC) and scion.method.share in ("stack", "network")
    directions = len(sites[0].spectrum.singular)
    return StackView(stack.name, stack.width_in, directions if one_basis else stack.width_in, sites, min(leading, directions))


def _site(adapter: Adapter, i: int, given: Any) -> SiteView:
    fold = adapter.affine(i, given)
    if isinstance(fold, Scale):
        raise CannotFold(f"{type(adapter).__name__} rescales channels one by one: a diagonal, which has no directions to look at")
    shift = 0.0 if fold.shift is None else float(fold.shift.norm())
    if not isinstance(adapter, ArcAdapter):
        return SiteView(spectra.factored(fold.down, fold.up), shift, None)
    basis, up = adapter.factors(i, given)
    scale = adapter.rescale(torch.ones(basis.shape[1], dtype=basis.dtype), i)
    alike = torch.equal(basis.mT, up)
    return SiteView(spectra.symmetric(basis, scale) if alike else spectra.factored(fold.down, up), shift, scale)


def _lines(stack: StackView) -> list[str]:
    rows = [_cells(i, site) for i, site in enumerate(stack.sites)]
    table = aligned([tuple(rows[0]), *(tuple(row.values()) for row in rows)])
    return [f"{stack.name}: singular values of dA", *table, _overlap_line(stack)]


def _cells(i: int, site: SiteView) -> dict[str, str]:
    found, values = site.spectrum, site.spectrum.singular
    cells = {"layer": str(i), "largest": f"{values[0]:.4f}", "effective rank": f"{spectra.effective_rank(values):.1f}",
             "90 % energy": str(spectra.energy_rank(values, 0.9)), "|b|": f"{site.shift:.4f}"}
    if site.scale is not None:
        cells["mean |c|"] = f"{site.scale.abs().mean():.4f}"
    if found.eigenvalues is not None:
        cells["lowest eigenvalue"] = f"{found.eigenvalues.min():.4f}"
    return cells


def _overlap_line(stack: StackView) -> str:
    pairs = [value for i, row in enumerate(stack.overlaps()) for value in row[i + 1 :] if value is not None]
    if not pairs:
        return "no two layers with a dA to compare"
    return (f"the {stack.leading} strongest input directions of two layers overlap by {sum(pairs) / len(pairs):.3f} on average "
            f"({min(pairs):.3f} to {max(pairs):.3f}; 1: the same, {stack.chance:.3f}: chance)")

