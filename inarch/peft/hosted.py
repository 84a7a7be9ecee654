"""A guest as a run: planted by PEFT, counted by our convention, written in PEFT's format, verified before it is read.

    graft(model, Frozen(), thaw)      the base is frozen; head and roles train as beside every method
    wrap(model, config)               PEFT's layers; what they share lies in model.inarch.default.shared
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from inarch import files, fit, roles
from inarch.card import GUEST
from inarch.container import Scion, container_of
from inarch.counting import Count, numbers
from inarch.errors import CannotGraft, CheckpointError, ConfigError, Mismatch
from inarch.fingerprint import architecture
from inarch.grafting import graft, thawed_by, ungraft
from inarch.methods import name_of
from inarch.methods.thawed import Frozen
from inarch.peft import folder as folders
from inarch.peft.convert import BASE
from inarch.peft.guests import Guest, named, refuse_whole
from inarch.peft.planted import Base, Held, held_by, unwrap, wrap
from inarch.peft.thawing import whole_modules
from inarch.planting import Planting, planting, seeded
from inarch.source import source_of


@dataclass(frozen=True)
class Hosted(Planting):
    """The planting of a guest."""

    method: Guest

    def plant(self, model: nn.Module, thaw: tuple[str, ...], seed: int) -> None:
        refuse_whole(self.method)
        config, present = self.method.config(model), [name for name, _ in model.named_parameters()]
        graft(model, Frozen(), thaw=thaw)
        scion = container_of(model).scion("default")
        try:
            whole = whole_modules(scion.thawed, present, f"{self.name}: thaw={list(thaw)}", "thaw the head, or modules by their names")
            base = _before(model, scion)
            with seeded(seed):
                wrapper, modules = wrap(model, config, self.name)
        except (CannotGraft, ConfigError):
            ungraft(model)
            raise
        held = Held(wrapper, Base(*base, modules, whole))
        scion.add_module("shared", held)
        scion.foreign = (f"{self.name}: the adapter is PEFT's, whose verbs are PeftModel.from_pretrained(base, 'RUN/adapter'), "
                         "merge_and_unload() and unload(); here inarch evaluate and predict read its run")
        self._thaw(model, scion, held)

    @property
    def name(self) -> str:
        return type(self.method).__name__

    def _thaw(self, model: nn.Module, scion: Scion, held: Held) -> None:
        """PEFT has frozen all but its own."""
        there = dict(model.named_parameters())
        if lost := [name for name in scion.thawed if name not in there]:
            self._withdraw(model)
            raise CannotGraft(f"{self.name} and thaw both take {lost[0]}; thaw less, or choose other targets")
        for name in scion.thawed:
            there[name].requires_grad_(True)

    def _withdraw(self, model: nn.Module) -> None:
        """The model as it was before ``plant``."""
        scion = container_of(model).scion("default")
        unwrap(model, held_by(model))
        scion.foreign = ""
        ungraft(model)

    def trained(self, model: nn.Module) -> set[str]:
        own = {id(p) for p in held_by(model).own()}
        return {name for name, p in model.named_parameters() if id(p) in own} | set(container_of(model).scion("default").thawed)

    def count(self, model: nn.Module) -> Count:
        thawed = _thawed(model)
        heads = tuple(path + "." for path in roles.head_paths(model))
        head = [p for name, p in thawed.items() if heads and name.startswith(heads)]
        held = held_by(model)
        adapter = numbers(held.own())
        return Count(adapter, numbers(thawed.values()), numbers(head), held.base.numbers + adapter)

    def save(self, model: nn.Module, folder: Path, extra: dict[str, Any]) -> None:
        held, scion = held_by(model), container_of(model).scion("default")
        values = _values(model, held)
        if broken := [name for name, value in values.items() if not files.finite(value)]:
            raise CheckpointError(f"{len(broken)} tensors hold values that are not finite, the first {broken[0]}; nothing was written")
        config = held.wrapper.peft_config["default"]
        config.modules_to_save = held.base.whole or None
        config.base_model_name_or_path = held.base.identity["source"] or None
        folders.write(folder, config, values, {
            "method": name_of(type(self.method)), "config": self.method.fields(), "thaw": list(scion.wish), "thawed": scion.thawed,
            "fingerprint": held.base.identity, "architecture": held.base.architecture, "backbone": type(model).__name__, "extra": extra})

    def load(self, model: nn.Module, folder: Path, seed: int) -> dict[str, Any]:
        card, values = folders.read(folder)
        if (card["method"], card["config"]) != (name_of(type(self.method)), self.method.fields()):
            raise Mismatch(f"{folder / GUEST} holds {card['method']} with other fields than the recipe's {self.method}; restore the run")
        thawed = {*thawed_by(model, Frozen(), card["thaw"])}
        if thawed != {*card["thawed"]}:
            raise Mismatch(f"{folder / GUEST}: thaw={card['thaw']} on this {type(model).__name__} is not what the adapter trained")
        fit.check_base(model, card, frozenset(thawed), folder, False)
        self.plant(model, tuple(card["thaw"]), seed)
        try:
            _fill(model, values, folder / folders.WEIGHTS)
        except CheckpointError:
            self._withdraw(model)
            raise
        return card["extra"]

    def size(self, folder: Path) -> int:
        return folders.read_card(folder)["files"][folders.WEIGHTS]["bytes"]


@planting.register
def _(method: Guest) -> Planting:
    return Hosted(method)


def _before(model: nn.Module, scion: Scion) -> tuple[int, dict[str, str], dict[str, str]]:
    """Numbers, fingerprint and architecture of the base; a shape alone has no fingerprint."""
    base, without = roles.base_parameters(model), frozenset(scion.thawed)
    known = {} if next(iter(base.values())).is_meta else fit.identity(model, without) | {"source": source_of(model)}
    return numbers(base.values()), known, architecture(model, without)


def _thawed(model: nn.Module) -> dict[str, nn.Parameter]:
    names = {*container_of(model).scion("default").thawed}
    return {name: p for name, p in model.named_parameters() if name in names}


def _values(model: nn.Module, held: Held) -> dict[str, Tensor]:
    """PEFT's tensors and what trains beside them, under PEFT's names."""
    own = get_peft_model_state_dict(held.wrapper, save_embedding_layers=False)
    return own | {BASE + name: p.data for name, p in _thawed(model).items()}


def _fill(model: nn.Module, values: dict[str, Tensor], path: Path) -> None:
    """All values in their places, or ``Mismatch``: PEFT itself would pass over what it does not know."""
    held = held_by(model)
    _refuse_other(values, _values(model, held), path)
    beside = {BASE + name: p.data for name, p in _thawed(model).items()}
    fit.fill(beside, {name: values[name] for name in beside})
    set_peft_model_state_dict(held.wrapper, {name: value for name, value in values.items() if name not in beside})
    found = _values(model, held)
    lost = [name for name, value in values.items() if not torch.equal(found[name].cpu(), value.to(found[name].dtype))]
    if lost:
        raise Mismatch(f"{path}: PEFT did not take {len(lost)} tensors, the first {lost[0]}; use the version of peft that wrote the file")


def _refuse_other(values: dict[str, Tensor], here: dict[str, Tensor], path: Path) -> None:
    odd = sorted(values.keys() ^ here.keys()) or sorted(name for name in here if here[name].shape != values[name].shape)
    if odd:
        raise Mismatch(f"{path}: {len(odd)} tensors are not those of this method on this backbone, the first {odd[0]}; use the version of "
                       "peft that wrote the file")


__all__ = ["Hosted", "named"]
