"""Whether what an adapter file holds fits a model: the backbone, what is thawed, every name, shape and dtype; and where it goes."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inarch import roles
from inarch.adapter import Method
from inarch.card import CARD
from inarch.container import Container, Scion, container_of
from inarch.errors import ConfigError, Mismatch
from inarch.fingerprint import architecture, compare, differences, fingerprint
from inarch.grafting import plan, thawed_by
from inarch.methods import method_named
from inarch.source import source_of
from inarch.structure import learned

log = logging.getLogger("inarch")


def identity(model: nn.Module, without: frozenset[str]) -> dict[str, str]:
    """The fingerprint of the base as it was before anything was grafted on it; ``without``: names of what is thawed."""
    container = model._modules.get("inarch")
    if not isinstance(container, Container):
        return fingerprint(model, without)
    return fingerprint(model, without, {n: container.pristine[n] for n in container.pristine.names})


def method(card: dict[str, Any], folder: Path) -> Method:
    """The method that the card names, configured as it says."""
    try:
        return _parsed(method_named(card["method"]), json.dumps(card["config"], sort_keys=True))
    except ConfigError as problem:
        raise Mismatch(f"{folder / CARD}: {problem}") from None


@lru_cache(64)
def _parsed(kind: type[Method], config: str) -> Method:
    return kind.parse(json.loads(config))


def new_head(model: nn.Module, card: dict[str, Any]) -> nn.Module | None:
    if card["head"] is None:
        return None
    outputs, inputs = card["head"]
    like = next(model.parameters())
    return nn.Linear(inputs, outputs, device=like.device, dtype=like.dtype)


def thawed_names(model: nn.Module, card: dict[str, Any], folder: Path) -> dict[str, str]:
    """Canonical name in the file -> parameter name on this model."""
    if not card["thawed"]:
        return {}
    here = {f"base/{role}": name for name, role in learned(model)[0].roles.items()}
    missing = [name for name in card["thawed"] if name not in here]
    if missing:
        raise Mismatch(f"{folder}: this {type(model).__name__} has no {', '.join(missing[:10])}, which the adapter trained; "
                       "give the model a head of the same kind")
    return {name: here[name] for name in card["thawed"]}


def check_base(model: nn.Module, card: dict[str, Any], without: frozenset[str], folder: Path, allow: bool) -> None:
    verdict = compare(card["fingerprint"], identity(model, without), lambda: source_of(model))
    if verdict.note:
        log.warning("%s: %s", folder, verdict.note)
    if verdict.difference is None:
        return
    known = differences(card["architecture"], architecture(model, without)) if "architecture" in card else ""
    difference = f"{verdict.difference} ({known})" if known else verdict.difference
    if not allow:
        raise Mismatch(f"{folder} was trained on another backbone ({card['backbone']}): {difference}; load that backbone, "
                       "or pass allow_base_mismatch=True if you know better")
    log.warning("%s: loaded onto another backbone as asked: %s", folder, difference)


def foreseen(model: nn.Module, method: Method, thawed: Mapping[str, str], card: dict[str, Any], folder: Path) -> dict[str, Tensor]:
    """Names, shapes and dtypes that method, thawed roles and head ask for on this model; nothing is allocated for it."""
    try:
        with torch.device("meta"):
            stacks = plan(model, method)
            probe = Scion(method, stacks, method.build(stacks), [])
            head = {} if card["head"] is None else {"head/weight": torch.empty(card["head"]), "head/bias": torch.empty(card["head"][:1])}
        chosen = thawed_by(model, method, card["thaw"])
    except (ConfigError, ArithmeticError, RuntimeError, TypeError) as problem:  # of sizes that no tensor can have, too
        raise Mismatch(f"{folder / CARD}: {problem}") from None
    heads = tuple(f"{path}." for path in roles.head_paths(model)) if card["head"] is not None else ()
    if {name for name in chosen if not name.startswith(heads)} != set(thawed.values()):
        raise Mismatch(f"{folder / CARD}: thaw={card['thaw']} on this {type(model).__name__} is not what the adapter trained "
                       f"({', '.join(sorted(thawed)[:10]) or 'nothing of the base'}); load the backbone it was trained on")
    like = next(model.parameters()).dtype
    targets = {n: p.data.double() if like == torch.float64 else p.data for n, p in probe.trained().items()}
    if thawed:
        parameters = roles.base_parameters(model)
        targets |= {name: parameters[here].data for name, here in thawed.items()}
    return targets | {name: tensor.to(like) for name, tensor in head.items()}


def targets(model: nn.Module, scion: Scion, thawed: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors that hold an adapter's values: its own, and where its thawed ones and its head live at present."""
    targets = {n: p.data for n, p in scion.trained().items()}
    if thawed:
        known, tensors = learned(model)
        live = known.named(tensors) if scion.active else scion.kept
        targets |= {name: live[here].data for name, here in thawed.items()}
    if scion.brought_head:
        head = model.get_submodule(container_of(model).head_path) if scion.active else scion.head
        targets |= {f"head/{n}": p.data for n, p in head.named_parameters()}  # type: ignore[union-attr]
    return targets


def fill(targets: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        targets[name].copy_(value)


__all__ = ["check_base", "fill", "foreseen", "identity", "method", "new_head", "targets", "thawed_names"]
