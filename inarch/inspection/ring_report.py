"""What ``inspect`` says of an AdaRing adapter: a table per tower, a line per owner of slices, and every number as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from inarch.inspection.alike import told
from inarch.inspection.lines import aligned
from inarch.inspection.rings import Kind, OwnerView, UnitView, views
from inarch.methods.adaring import AdaRing
from inarch.reporting import honesty

MOST = 100.0  # norms of the cores over that of their matrix, from where on they mostly cancel each other
HONESTY = honesty.of("adaring")


@dataclass(frozen=True, eq=False)
class RingInspection:
    """Prints as tables; ``to_json`` holds every number."""

    folder: str
    method: AdaRing
    units: tuple[UnitView, ...]
    owners: tuple[OwnerView, ...]

    @property
    def ranks(self) -> list[str]:
        return [f"R={rank}" for rank in self.method.ranks]

    @property
    def warnings(self) -> list[str]:
        """Where cores grew far beyond what they say together."""
        found = []
        for unit in self.units:
            over = [(place, worst) for k, place in enumerate(unit.places) if (worst := unit.worst(k)) is not None and worst > MOST]
            if over:
                told_of = ", ".join(f"{place}: {worst:,.0f}" for place, worst in over)
                found.append(f"{unit.name}: the cores are more than {MOST:.0f} times as large as their matrix ({told_of}), so they mostly "
                             "cancel each other; train with a larger weight_decay")
        return found

    def to_json(self) -> dict[str, Any]:
        return {"folder": self.folder, "method": "adaring", "about": HONESTY, "config": self.method.fields(),
                "units": [unit.to_json() for unit in self.units], "owners": [owner.to_json() for owner in self.owners],
                "warnings": self.warnings}

    def __str__(self) -> str:
        lines = [f"{self.folder}: adaring ({HONESTY}); experts {', '.join(self.ranks)}; layers from 0, counted within "
                 f"layers={self.method.layers!r}"]
        for unit in self.units:
            lines += ["", *self._unit(unit)]
        lines += ["", "cosine between the slices of two layers, mean (least to largest); another choice of cores could change it:"]
        lines += [f"  {owner.name} ({', '.join(owner.units)}): " + self._owner(owner) for owner in self.owners]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def _unit(self, unit: UnitView) -> list[str]:
        rows = [self._cells(unit, k) for k in range(len(unit.places))]
        notes = [f"cosine between layers, {name}: " + told([*zip(self.ranks, (e.cosines() for e in kind.experts), strict=True),
                                                            ("all", kind.mixture.cosines())]) for name, kind in unit.kinds.items()]
        routed = ["a router chooses the experts by the input; below, each counts alike"] if unit.gates is None else []
        return [f"{unit.name}: gates, and of each matrix its size and effective rank ({' / '.join(self.ranks)} / all)", *routed,
                *aligned([tuple(rows[0]), *(tuple(row.values()) for row in rows)]), *notes]

    def _cells(self, unit: UnitView, k: int) -> dict[str, str]:
        gates = {} if unit.gates is None else {f"gate {r}": f"{g:.3f}" for r, g in zip(self.ranks, unit.gates[k].tolist(), strict=True)}
        sizes: dict[str, str] = {}
        for name, kind in unit.kinds.items():
            sizes |= {f"|{name}|": f"{kind.mixture.norms[k]:.4f}", f"rank of {name}": _ranks(kind, k)}
        worst = unit.worst(k)
        return {"layer": unit.places[k], **gates, **sizes, "cores / matrix": "–" if worst is None else f"{worst:.1f}"}

    def _owner(self, owner: OwnerView) -> str:
        return "; ".join(f"{name} " + told([*zip(self.ranks, each, strict=True)]) for name, each in owner.slices.items())


def _ranks(kind: Kind, k: int) -> str:
    return " / ".join(f"{of.ranks[k]:.1f}" for of in (*kind.experts, kind.mixture))


def inspect_rings(method: AdaRing, values: Mapping[str, Tensor], folder: Path) -> RingInspection:
    """Of the tensors in an adapter folder."""
    return RingInspection(str(folder), method, *views(method, values, folder))
