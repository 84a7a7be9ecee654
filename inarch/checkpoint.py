"""save and load: one folder per adapter, ``adapter.json`` and the safetensors file it names; any change to either is refused.

The JSON carries format, method, thawed roles, the backbone's fingerprint, whatever the caller adds, the SHA-256 and size of the
weights, and a digest of itself. It is replaced last and in one rename, so a folder is the old adapter or the new one, never a mix.
docs/format.md says both so that another reader can be written.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from inarch import files, fit, folders
from inarch.adapter import Method
from inarch.card import CARD, CARD_CAP, FORMAT, NEEDS, adapter_in, read_card, sealed, weights_name
from inarch.container import Container, Scion, container_of
from inarch.errors import CannotGraft, CheckpointError, ConfigError, Incomplete, Mismatch
from inarch.fingerprint import architecture
from inarch.grafting import MERGED, graft, refuse_name
from inarch.methods import name_of
from inarch.places import place
from inarch.source import source_of
from inarch.structure import learned
from inarch.switching import use

log = logging.getLogger("inarch")


def save(model: nn.Module, folder: str | Path, *, name: str | None = None, extra: dict[str, Any] | None = None) -> Path:
    """Write the adapter ``name`` (None: the only active one) to ``folder``; returns the folder.

    ``extra``: JSON values that come back from ``load`` (class names, preprocessing). Raises ``CheckpointError`` on a merged
    model or a value that is not finite, ``StorageError`` when the disk refuses; an adapter that was there before stays whole until
    the last rename.
    """
    if MERGED in model.__dict__:
        raise CheckpointError("the model is merged: its adapter is folded away; call inarch.unmerge(model) before saving")
    container = container_of(model)
    name = _only(container) if name is None else name
    scion = container.scion(name)
    scion.refuse_foreign(CheckpointError)
    values = {n: p.data for n, p in scion.trained().items()} | _thawed_values(model, container, scion)
    _refuse_broken(values)
    data = files.tensor_bytes({n: v.detach().contiguous().cpu() for n, v in values.items()})
    digest, without = files.sha256(data), frozenset(scion.thawed)
    card = _sealed({
        "format": FORMAT, "needs": NEEDS, "method": name_of(type(scion.method)), "config": scion.method.fields(), "thaw": list(scion.wish),
        "head": _head_shape(scion, values), "thawed": sorted(n for n in values if n.startswith("base/")),
        "fingerprint": fit.identity(model, without) | {"source": source_of(model)},
        "architecture": architecture(model, without), "backbone": type(model).__name__,
        "extra": extra or {}, "weights": weights_name(digest), "bytes": len(data), "sha256": digest,
    }, data)
    _write(Path(folder), weights_name(digest), data, card)
    return Path(folder)


def load(model: nn.Module, folder: str | Path, *, name: str = "default", allow_base_mismatch: bool = False,
         replace: bool = False) -> dict[str, Any]:
    """Verify ``folder`` wholly, then graft what it holds onto ``model`` under ``name`` and make it active; returns ``extra``.

    ``replace``: where an adapter of this name and of the same configuration is on the model, put the values into it; nothing is
    grafted anew. ``folder``: of an adapter, or of the run that holds it; an address of the hub, ``hf:USER/NAME``, is fetched. Raises
    ``Corrupt``, ``Mismatch``, ``Unsafe`` or ``Incomplete``, and then has not touched the model.
    """
    standing = _standing(model, name, replace)
    folder = adapter_in(place(folder))
    card = read_card(folder)
    method, thawed = fit.method(card, folder), fit.thawed_names(model, card, folder)
    fit.check_base(model, card, frozenset(thawed.values()), folder, allow_base_mismatch)
    if standing is None:
        targets = fit.foreseen(model, method, thawed, card, folder)
    else:
        _refuse_other_adapter(standing, name, method, card, thawed, folder)
        targets = fit.targets(model, standing, thawed)
    try:
        values = _values(folder, card, targets)
    except Incomplete:
        if read_card(folder) == card:
            raise
        return load(model, folder, name=name, allow_base_mismatch=allow_base_mismatch, replace=replace)  # saved anew meanwhile
    if standing is None:
        graft(model, method, name=name, thaw=tuple(card["thaw"]), head=fit.new_head(model, card))
        standing = container_of(model).scion(name)
        targets = fit.targets(model, standing, thawed)
    fit.fill(targets, values)
    if not standing.active:
        use(model, name)
    return card["extra"]


def _standing(model: nn.Module, name: str, replace: bool) -> Scion | None:
    """The adapter whose values are replaced; None where one is to be grafted."""
    if MERGED in model.__dict__:
        raise CannotGraft(f"this {type(model).__name__} is merged; call inarch.unmerge(model) before loading an adapter")
    container = model._modules.get("inarch")
    known = container.scions() if isinstance(container, Container) else {}
    if replace and name in known:
        return known[name]
    refuse_name(name, known)
    return None


def _refuse_other_adapter(scion: Scion, name: str, method: Method, card: dict[str, Any], thawed: Mapping[str, str], folder: Path) -> None:
    same = scion.method == method and set(scion.thawed) == set(thawed.values()) and scion.brought_head == (card["head"] is not None)
    if not same:
        raise Mismatch(f"{folder} holds {method}, thaw={card['thaw']}; the adapter {name!r} on this model is {scion.method}, "
                       f"thaw={list(scion.wish)}, so its values cannot be replaced; ungraft it first, or load under another name")


def _values(folder: Path, card: dict[str, Any], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The file's tensors, verified: its bytes, the set of names, every shape, every value, also in the dtype it is to have."""
    path = folder / card["weights"]
    most = 8 + files.HEADER_CAP + sum(8 * target.numel() for target in targets.values())
    data = files.read_sealed(path, size=card["bytes"], digest=card["sha256"], most=most)
    found = files.tensors(data, path, {name: list(target.shape) for name, target in targets.items()})
    others = {name: value.dtype for name, value in found.items() if value.dtype != targets[name].dtype}
    for name, dtype in others.items():
        log.info("%s: %s converted from %s to %s", path, name, dtype, targets[name].dtype)
        found[name] = found[name].to(targets[name].dtype)
        if not files.finite(found[name]):
            raise Mismatch(f"{path}: {name} holds values too large for {targets[name].dtype}, which this model has; widen it")
    return found


def _sealed(card: dict[str, Any], data: bytes) -> bytes:
    """The card's bytes; what could not be read again is not written."""
    try:
        found = sealed(card)
    except (TypeError, ValueError) as problem:
        raise ConfigError(f"extra holds what JSON cannot ({problem}); expected texts, finite numbers, lists and objects") from None
    if len(found) > CARD_CAP:
        raise ConfigError(f"extra makes a card of {len(found):,} bytes; at most {CARD_CAP:,} are read again")
    if struct.unpack("<Q", data[:8])[0] > files.HEADER_CAP:
        raise CheckpointError(f"the names of these tensors fill more than {files.HEADER_CAP:,} bytes, which no reader takes; thaw fewer")
    return found


def _write(folder: Path, weights: str, data: bytes, card: bytes) -> None:
    """The weights under a new name, then the card that names them, in one rename; then what nobody names any more goes."""
    try:
        folders.make_folder(folder)
    except OSError as problem:
        raise files.StorageError(f"{str(folder)!r}: {problem.strerror}; choose a folder that can be written") from None
    except ValueError:
        raise ConfigError(f"{str(folder)!r} is no name that a folder can have (a NUL or half a character in it)") from None
    with folders.alone(folder):
        files.write(folder / weights, data)
        files.write(folder / CARD, card)
        for stale in folder.glob("adapter-*.safetensors"):
            if stale.name != weights:
                folders.discard(stale)
        folders.sweep(folder, "adapter*")


def _refuse_broken(values: Mapping[str, Tensor]) -> None:
    broken = [name for name, value in values.items() if not files.finite(value)]
    if broken:
        raise CheckpointError(f"{len(broken)} tensors hold values that are not finite, the first {broken[0]}; nothing was written: "
                              "no reader would take them")


def _only(container: Container) -> str:
    active = list(container.active())
    if len(active) != 1:
        raise CannotGraft(f"{len(active)} adapters are active ({', '.join(active) or 'none'}); say which one: name=...")
    return active[0]


def _thawed_values(model: nn.Module, container: Container, scion: Scion) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    if scion.thawed:
        known, tensors = learned(model)
        live = known.named(tensors) if scion.active else scion.kept
        values |= {f"base/{known.roles[n]}": live[n].data for n in scion.thawed}
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


__all__ = ["load", "read_card", "save"]
