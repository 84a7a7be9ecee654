"""What AdaRing has learned, from its cores alone: what layers share, what they own, how the experts stand beside each other.

    D_le = F_le Bhat_e    U_le = Ahat_e H_le    dW_le = Ahat_e (S_le kron I) Bhat_e        Ahat_e = Q T, Bhat_e^T = Q' T'
    slices     cosine(S_l, S_k) per owner and expert: what the layers say in cores that another choice of cores could change
    matrices   cosine(D_l, D_k), effective rank, |D_l| of each expert and of all together: the same whatever the cores (D: F T'^T)
    factors    |C| |S_l| |B| / |D_l|: cores that grow and cancel each other (above 100: a larger weight decay is advised)
The mixture is D of all experts below each other, U of all side by side times their gates, dW the gated sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inarch import files
from inarch.errors import Mismatch
from inarch.inspection.alike import Alike, Square, cosines, triangle
from inarch.methods import tensor_ring as ring
from inarch.methods.adaring import AdaRing
from inarch.methods.ring_bank import Bank, Draw, Unit
from inarch.methods.ring_plan import EVERYBODY

WIDE = {"qkv": 3}  # blocks of d x d that a matrix is made of; of the MLP's what is left


@dataclass(frozen=True, eq=False)
class Kind:
    """``D``, ``U`` or ``dW`` of one unit: of each expert, of all, and the product of each expert's factor norms by layer."""

    experts: tuple[Alike, ...]
    mixture: Alike
    products: tuple[list[float], ...]

    def excess(self, expert: int) -> list[float | None]:
        """The norms of the factors over that of the matrix; None where it is zero."""
        return [p / n if n else None for p, n in zip(self.products[expert], self.experts[expert].norms, strict=True)]

    def to_json(self) -> dict[str, Any]:
        found = [_plain(e) | {"factors": self.products[k], "excess": self.excess(k)} for k, e in enumerate(self.experts)]
        return {"experts": found, "mixture": _plain(self.mixture)}


def _plain(of: Alike) -> dict[str, Any]:
    return {"norm": of.norms, "effective_rank": of.ranks, "cosine": of.cosines()}


@dataclass(frozen=True, eq=False)
class UnitView:
    """One tower: ``places`` named by layer (and matrix), gates ``[places, E]`` (None: a router chooses by the input)."""

    name: str
    places: tuple[str, ...]
    gates: Tensor | None
    kinds: Mapping[str, Kind]

    def worst(self, place: int) -> float | None:
        """The largest excess of any ring there."""
        found = [kind.excess(e)[place] for kind in self.kinds.values() for e in range(len(kind.experts))]
        return max((value for value in found if value is not None), default=None)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "places": [*self.places], "gates": None if self.gates is None else self.gates.tolist(),
                "matrices": {name: kind.to_json() for name, kind in self.kinds.items()}}


@dataclass(frozen=True, eq=False)
class OwnerView:
    """Slices that ``units`` have in common: name (``down``, ``up`` or ``slices``) -> per expert, cosine between places ``[P, P]``."""

    name: str
    units: tuple[str, ...]
    slices: Mapping[str, tuple[Square, ...]]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "units": [*self.units], "cosine": {name: [*each] for name, each in self.slices.items()}}


@torch.no_grad()
def views(method: AdaRing, values: Mapping[str, Tensor], folder: Path) -> tuple[tuple[UnitView, ...], tuple[OwnerView, ...]]:
    """Of an adapter's tensors in double precision, as ``inarch.save`` names them."""
    bank = _bank(method, {n.removeprefix("shared."): v for n, v in values.items() if n.startswith("shared.")}, folder)
    units = tuple(_unit(method, bank, name, folder) for name in bank.owners)
    owners = tuple(_owner(bank, name) for name in dict.fromkeys(bank.owners.values()))
    return units, owners


def _bank(method: AdaRing, values: dict[str, Tensor], folder: Path) -> Bank:
    """The cores in their modules; sizes are those of the tensors, and every tensor must be there."""
    units = [*_units(values, folder)]
    with torch.device("meta"):
        bank = Bank(method.experts, units, None if method.linear else method.bottleneck, method.tensorize == "heads64", Draw())
    learned = len(method.ranks) > 1 and method.gate != "uniform"
    for unit in units if learned else []:
        depth = values.get(f"gates.{unit.name}", torch.empty(unit.places)).shape[0]
        shape = (len(method.ranks), unit.dim) if method.gate == "router" else (depth, len(method.ranks))
        bank.gates[unit.name] = nn.Parameter(torch.empty(shape, device="meta"))
    found = {name: ("F64", list(value.shape)) for name, value in values.items()}
    files.check_tensors(found, {name: list(p.shape) for name, p in bank.named_parameters()}, folder)
    bank.load_state_dict(values, assign=True)
    return bank


def _units(values: dict[str, Tensor], folder: Path) -> Iterator[Unit]:
    names = sorted({name.split(".")[1] for name in values if name.startswith("features.")})
    for name in names:
        dim = int(name.rpartition("_")[2])
        own = EVERYBODY if any(n.startswith(f"between.{EVERYBODY}.") for n in values) else name
        slices = next((v for n, v in values.items() if n.startswith(f"between.{own}.0.") and "slices" in n), None)
        if slices is None or slices.dim() != 3:
            raise Mismatch(f"{folder}: no slices of {own}; expected between.{own}.0.slices or between.{own}.0.down_slices [b, L, c]")
        yield Unit(name, dim, slices.shape[1], own)


def _unit(method: AdaRing, bank: Bank, name: str, folder: Path) -> UnitView:
    depth = bank.between[bank.owners[name]][0]  # type: ignore[index]
    places = (depth.slices if method.linear else depth.down_slices).shape[1]
    learned = bank.gates.get(name) if method.gate == "static" else None
    layers = places if not method.linear else learned.shape[0] if learned is not None else None
    labels, rows = placed(method.wanted() if method.linear else (), places, layers)
    if learned is not None and rows is None:
        raise Mismatch(f"{folder}: {places} slices of {name} are not those of {', '.join(method.wanted())} in {layers} layers")
    if learned is not None and len(learned) != (layers or 0):
        raise Mismatch(f"{folder}: gates of {name} are of {len(learned)} layers, its slices of {layers}")
    uniform = torch.full((places, len(bank.experts)), 1 / len(bank.experts), dtype=torch.float64)
    gates = uniform if learned is None else torch.softmax(learned, dim=-1)[rows]
    kinds = {"dW": _line(bank, name, gates)} if method.linear else {"D": _down(bank, name), "U": _up(bank, name, gates)}
    return UnitView(name, labels, None if method.gate == "router" and bank.gates else gates, kinds)


def placed(spans: Sequence[str], places: int, layers: int | None) -> tuple[tuple[str, ...], list[int] | None]:
    """What each slice is called and the row of its layer, span by span as AdaRing lays them out; None where they cannot be told apart.

    >>> placed(("q", "fc1"), 10, 2)[0][:4], placed(("q", "v"), 4, 2)[1]
    (('q 0', 'q 1', 'fc1 0.0', 'fc1 0.1'), [0, 1, 0, 1])
    """
    if len(spans) <= 1 and layers in (None, places):
        return tuple(str(i) for i in range(places)), list(range(places))
    blocks = _blocks(spans, places, layers) if layers else None
    if blocks is None:
        return tuple(f"slice {i}" for i in range(places)), None
    found = [(span, layer, part, n) for span, n in zip(spans, blocks, strict=True) for layer in range(layers or 0) for part in range(n)]
    return tuple(f"{span} {layer}" + (f".{part}" if n > 1 else "") for span, layer, part, n in found), [layer for _, layer, _, _ in found]


def _blocks(spans: Sequence[str], places: int, layers: int) -> list[int] | None:
    """How many slices of a layer each span has."""
    wide = [span for span in spans if span.rpartition(".")[2].startswith("fc")]
    known = {span: WIDE.get(span, 1) for span in spans if span not in wide}
    left, odd = divmod(places, layers)
    left -= sum(known.values())
    if odd or left < len(wide) or (left % len(wide) if wide else left):
        return None
    return [known.get(span) or left // len(wide) for span in spans]


def _down(bank: Bank, unit: str) -> Kind:
    hidden: Any = bank.between[bank.owners[unit]]
    each, products = [], []
    for e, (into, _) in zip(hidden, bank.cores(unit), strict=True):
        each.append(Alike(ring.folded(e.down, e.down_slices) @ triangle(ring.columns(into).mT).mT))
        products.append(_products(e.down, e.down_slices, into))
    whole = bank.bottleneck(unit, slice(None))[0] @ triangle(bank.thin(unit)[0].mT).mT
    return Kind(tuple(each), Alike(whole), tuple(products))


def _up(bank: Bank, unit: str, gates: Tensor) -> Kind:
    hidden: Any = bank.between[bank.owners[unit]]
    each, products = [], []
    for e, (_, out) in zip(hidden, bank.cores(unit), strict=True):
        each.append(Alike(triangle(ring.rows(out)) @ ring.folded_up(e.up_slices, e.up)))
        products.append(_products(out, e.up_slices, e.up))
    mixed = bank.bottleneck(unit, slice(None))[1] * gates.repeat_interleave(hidden[0].up.shape[1], dim=1)[:, None]
    return Kind(tuple(each), Alike(triangle(bank.thin(unit)[1]) @ mixed), tuple(products))


def _line(bank: Bank, unit: str, gates: Tensor) -> Kind:
    lines: Any = bank.between[bank.owners[unit]]
    each, products = [], []
    for e, ranks, (into, out) in zip(lines, bank.experts, bank.cores(unit), strict=True):
        middle = ring.middles(e.slices, ranks.around)
        each.append(Alike(triangle(ring.rows(out)) @ middle @ triangle(ring.columns(into).mT).mT))
        products.append(_products(out, e.slices, into))
    into, out = bank.thin(unit)
    whole = triangle(out) @ bank.diagonal_line(unit, slice(None), gates) @ triangle(into.mT).mT
    return Kind(tuple(each), Alike(whole), tuple(products))


def _products(first: Tensor, slices: Tensor, last: Tensor) -> list[float]:
    """``|A| |S_l| |B|`` of every layer."""
    return (first.norm() * last.norm() * slices.transpose(0, 1).flatten(1).norm(dim=1)).tolist()


def _owner(bank: Bank, name: str) -> OwnerView:
    found: Any = bank.between[name]
    named = {"slices": "slices", "down": "down_slices", "up": "up_slices"}
    slices = {short: tuple(cosines(getattr(e, leaf).transpose(0, 1)) for e in found)
              for short, leaf in named.items() if hasattr(found[0], leaf)}
    return OwnerView(name, tuple(unit for unit, owner in bank.owners.items() if owner == name), slices)
