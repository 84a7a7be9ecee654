"""save and load: one folder per adapter, ``adapter.json`` and the safetensors file it names; any change to either is refused.

The JSON carries format, method, thawed roles, the backbone's fingerprint, whatever the caller adds, the SHA-256 and size of the
weights, and a digest of itself. It is replaced last and in one rename, so a folder is the old adapter or the new one, never a mix.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inarch import card as fields_of
from inarch import files, roles
from inarch.adapter import Method
from inarch.container import Container, Scion, container_of
from inarch.errors import CannotGraft, CheckpointError, ConfigError, Corrupt, Incomplete, Mismatch, Unsafe
from inarch.fingerprint import compare, fingerprint
from inarch.grafting import MERGED, graft, plan
from inarch.methods import METHODS, method_named

FORMAT = 1
CARD = "adapter.json"
CARD_CAP = 4 << 20
log = logging.getLogger("inarch")


def save(model: nn.Module, folder: str | Path, *, name: str | None = None, extra: dict[str, Any] | None = None) -> Path:
    """Write the adapter ``name`` (None: the only active one) to ``folder``; returns the folder.

    ``extra``: JSON values that come back from ``load`` (class names, preprocessing). Raises ``CheckpointError`` on a merged
    model, ``StorageError`` when the disk refuses; an adapter that was there before stays whole until the last rename.
    """
    if MERGED in model.__dict__:
        raise CheckpointError("the model is merged: its adapter is folded away; call inarch.unmerge(model) before saving")
    container = container_of(model)
    name = _only(container) if name is None else name
    scion = container.scion(name)
    values = {n: p.data for n, p in scion.trained().items()} | _thawed_values(model, container, scion)
    data = files.tensor_bytes({n: v.detach().contiguous().cpu() for n, v in values.items()})
    digest = files.sha256(data)
    card = {
        "format": FORMAT, "method": _method_name(scion.method), "config": scion.method.fields(), "thaw": list(scion.wish),
        "head": _head_shape(scion, values), "thawed": sorted(n for n in values if n.startswith("base/")),
        "fingerprint": _fingerprint(model, container, frozenset(scion.thawed)), "backbone": type(model).__name__,
        "extra": extra or {}, "weights": f"adapter-{digest[:12]}.safetensors", "bytes": len(data), "sha256": digest,
    }
    card["digest"] = files.sha256(files.canonical(card))
    folder, weights = Path(folder), str(card["weights"])
    _make(folder)
    files.write(folder / weights, data)
    files.write(folder / CARD, files.canonical(card))
    for stale in folder.glob("adapter-*.safetensors"):
        if stale.name != weights:
            stale.unlink(missing_ok=True)
    return folder


def load(model: nn.Module, folder: str | Path, *, name: str = "default", allow_base_mismatch: bool = False) -> dict[str, Any]:
    """Verify ``folder`` wholly, then graft what it holds onto ``model`` under ``name`` and make it active; returns ``extra``.

    Raises ``Corrupt``, ``Mismatch``, ``Unsafe`` or ``Incomplete``, and then has not touched the model.
    """
    if MERGED in model.__dict__:
        raise CannotGraft(f"this {type(model).__name__} is merged; call inarch.unmerge(model) before loading an adapter")
    folder = Path(folder)
    card = read_card(folder)
    data = files.read(folder / card["weights"])
    if len(data) != card["bytes"] or files.sha256(data) != card["sha256"]:
        files.header(data, folder / card["weights"])  # a pickle in disguise is named as what it is
        raise Corrupt(f"{folder / card['weights']}: {len(data)} bytes that are not the {card['bytes']} bytes written; restore the file")
    method, thawed = _method(card, folder), _thawed_names(model, card, folder)
    _check_base(model, card, frozenset(thawed.values()), folder, allow_base_mismatch)
    expected = _expected(model, method, thawed, card, folder)
    files.check_tensors(files.header(data, folder / card["weights"]), expected, folder / card["weights"])
    values = files.tensors(data, folder / card["weights"])
    graft(model, method, name=name, thaw=tuple(card["thaw"]), head=_new_head(model, card))
    _fill(model, container_of(model).scion(name), values, thawed)
    return card["extra"]


def read_card(folder: Path) -> dict[str, Any]:
    """The verified ``adapter.json`` of a folder; raises ``Incomplete``, ``Corrupt``, ``Mismatch`` (format) or ``Unsafe``."""
    path = folder / CARD
    if not folder.is_dir():
        raise Incomplete(f"{folder} is not a folder; expected one written by inarch.save, with {CARD} in it")
    data = files.read(path, cap=CARD_CAP)
    card = files.parse_json(data, path)
    if isinstance(card.get("format"), int) and card["format"] > FORMAT:
        raise Mismatch(f"{path}: format {card['format']} is newer than this inarch reads ({FORMAT}); upgrade inarch")
    if card.keys() != fields_of.KINDS.keys() or card["format"] != FORMAT:
        odd = ", ".join(sorted(card.keys() ^ fields_of.KINDS.keys())) or f"format {card.get('format')!r}"
        raise Corrupt(f"{path}: unexpected or missing: {odd}; the file is not as inarch wrote it")
    digest = card.pop("digest")
    if files.sha256(files.canonical(card)) != digest or files.canonical(card | {"digest": digest}) != data:
        raise Corrupt(f"{path} was changed after it was written (its digest does not fit); restore the file")
    if not isinstance(card["weights"], str) or Path(card["weights"]).name != card["weights"] or card["weights"].startswith("."):
        raise Unsafe(f"{path}: weights file {card['weights']!r} reaches outside the folder")
    fields_of.check(card, path)
    return card


def _only(container: Container) -> str:
    active = list(container.active())
    if len(active) != 1:
        raise CannotGraft(f"{len(active)} adapters are active ({', '.join(active) or 'none'}); say which one: name=...")
    return active[0]


def _method_name(method: Method) -> str:
    for name, known in METHODS.items():
        if known is type(method):
            return name
    raise ConfigError(f"{type(method).__name__} is not a registered method, so no file could name it; "
                      "register it in inarch.methods.METHODS")


def _thawed_values(model: nn.Module, container: Container, scion: Scion) -> dict[str, Tensor]:
    names, parameters = roles.canonical(model), roles.base_parameters(model)
    live = parameters if scion.active else scion.kept
    values = {f"base/{names[n]}": live[n].data for n in scion.thawed}
    if scion.brought_head:
        head = model.get_submodule(container.head_path) if scion.active else scion.head
        values |= {f"head/{n}": p.data for n, p in head.named_parameters()}  # type: ignore[union-attr]
    return values


def _head_shape(scion: Scion, values: dict[str, Tensor]) -> list[int] | None:
    """``[outputs, inputs]`` of a head that the graft brought; only a linear one can be rebuilt from a file."""
    if not scion.brought_head:
        return None
    if set(n for n in values if n.startswith("head/")) - {"head/weight", "head/bias"}:
        raise CheckpointError("the graft's own head is not a single linear layer, so a file could not rebuild it; "
                              "give the model that head first and use thaw='head'")
    return list(values["head/weight"].shape)


def _fingerprint(model: nn.Module, container: Container | None, without: frozenset[str]) -> dict[str, str]:
    if container is None:
        return fingerprint(model, without)
    pristine = {n: container.pristine[n] for n in container.pristine.names}
    return fingerprint(model, without, pristine)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise files.StorageError(f"{folder}: {problem.strerror}; choose a folder that can be written") from None


def _method(card: dict[str, Any], folder: Path) -> Method:
    try:
        return method_named(card["method"]).parse(card["config"])
    except ConfigError as problem:
        raise Mismatch(f"{folder / CARD}: {problem}") from None


def _new_head(model: nn.Module, card: dict[str, Any]) -> nn.Module | None:
    if card["head"] is None:
        return None
    outputs, inputs = card["head"]
    like = next(model.parameters())
    return nn.Linear(inputs, outputs, device=like.device, dtype=like.dtype)


def _thawed_names(model: nn.Module, card: dict[str, Any], folder: Path) -> dict[str, str]:
    """Canonical name in the file -> parameter name on this model."""
    here = {f"base/{role}": name for name, role in roles.canonical(model).items()}
    missing = [name for name in card["thawed"] if name not in here]
    if missing:
        raise Mismatch(f"{folder}: this {type(model).__name__} has no {', '.join(missing[:10])}, which the adapter trained; "
                       "give the model a head of the same kind")
    return {name: here[name] for name in card["thawed"]}


def _check_base(model: nn.Module, card: dict[str, Any], without: frozenset[str], folder: Path, allow: bool) -> None:
    container = model._modules.get("inarch")
    found = _fingerprint(model, container if isinstance(container, Container) else None, without)
    difference = compare(card["fingerprint"], found)
    if difference and not allow:
        raise Mismatch(f"{folder} was trained on another backbone ({card['backbone']}): {difference}; load that backbone, "
                       "or pass allow_base_mismatch=True if you know better")
    if difference:
        log.warning("%s: loaded onto another backbone as asked: %s", folder, difference)


def _expected(model: nn.Module, method: Method, thawed: dict[str, str], card: dict[str, Any], folder: Path) -> dict[str, list[int]]:
    """Names and shapes that method, thawed roles and head ask for on this model; nothing is allocated for it."""
    try:
        with torch.device("meta"):
            stacks = plan(model, method)
            probe = Scion(method, stacks, method.build(stacks), [])
        chosen = roles.resolve(model, (*method.thaws, *card["thaw"]), roles.always(model))
    except (ConfigError, ArithmeticError, RuntimeError, TypeError) as problem:  # of sizes that no tensor can have, too
        raise Mismatch(f"{folder / CARD}: {problem}") from None
    heads = tuple(f"{path}." for path in roles.head_paths(model)) if card["head"] is not None else ()
    if {name for name in chosen if not name.startswith(heads)} != set(thawed.values()):
        raise Mismatch(f"{folder / CARD}: thaw={card['thaw']} on this {type(model).__name__} is not what the adapter trained "
                       f"({', '.join(sorted(thawed)[:10]) or 'nothing of the base'}); load the backbone it was trained on")
    shapes = {n: list(p.shape) for n, p in probe.trained().items()}
    parameters = roles.base_parameters(model)
    shapes |= {name: list(parameters[here].shape) for name, here in thawed.items()}
    if card["head"] is not None:
        shapes |= {"head/weight": card["head"], "head/bias": card["head"][:1]}
    return shapes


def _fill(model: nn.Module, scion: Scion, values: dict[str, Tensor], thawed: dict[str, str]) -> None:
    targets: dict[str, Tensor] = {n: p.data for n, p in scion.trained().items()}
    parameters = roles.base_parameters(model)
    targets |= {name: parameters[here].data for name, here in thawed.items()}
    if scion.brought_head:
        path = container_of(model).head_path
        targets |= {f"head/{n}": p.data for n, p in model.get_submodule(path).named_parameters()}
    for name, value in values.items():
        if value.dtype != targets[name].dtype:
            log.info("%s: %s converted to %s", name, value.dtype, targets[name].dtype)
        targets[name].copy_(value)


__all__ = ["load", "read_card", "save"]
