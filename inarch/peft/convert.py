"""One adapter, two files: what PEFT saved becomes a folder of ``inarch.save`` and back, tensor for tensor.

``model`` is the plain base in both directions, because ours names the backbone that it belongs to; it is left as it was found.
"""

from __future__ import annotations

from pathlib import Path

from peft.config import PeftConfig
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from torch import Tensor, nn

from inarch import files, fit, roles
from inarch.checkpoint import load, save
from inarch.container import container_of
from inarch.errors import Mismatch
from inarch.grafting import graft, thawed_by, ungraft
from inarch.peft.configs import CONFIGS, RENAMED, RoleConfig
from inarch.peft.kinds import prefix_of
from inarch.peft.thawing import modules_to_save

BASE = "base_model.model."


def to_inarch(folder: str | Path, model: nn.Module, out: str | Path) -> Path:
    """Write the adapter that PEFT saved in ``folder`` to ``out``; raises ``Mismatch`` where it is not of ``model`` or of a method here."""
    folder = Path(folder)
    config = PeftConfig.from_pretrained(str(folder))
    if not isinstance(config, RoleConfig):
        raise Mismatch(f"{folder} holds a {config.peft_type} adapter of PEFT; expected one of inarch.peft")
    path = folder / SAFETENSORS_WEIGHTS_NAME
    values = {name.removeprefix(BASE): value for name, value in files.tensors(files.read(path), path).items()}
    mark = f"inarch.{prefix_of(type(config).made_for)}"
    inner = {name.removeprefix(mark): value for name, value in values.items() if name.startswith(mark)}
    whole = {name: value for name, value in values.items() if not name.startswith(mark)}
    graft(model, config.method(), thaw=_wish(model, config, set(whole)))
    try:
        scion = container_of(model).scion("default")
        base = dict(model.named_parameters())
        _fill({name: p.data for name, p in scion.trained().items()}, inner, path)
        _fill({name: base[name].data for name in scion.thawed}, whole, path)
        return save(model, out, extra=config.extra or {})
    finally:
        ungraft(model)


def from_inarch(folder: str | Path, model: nn.Module, out: str | Path) -> Path:
    """Write the adapter that ``inarch.save`` wrote to ``folder`` as one that ``PeftModel.from_pretrained`` loads."""
    extra = load(model, folder)
    container = container_of(model)
    scion = container.scion("default")
    try:
        kind = CONFIGS.get(type(scion.method))
        if kind is None:
            raise Mismatch(f"{folder} holds {type(scion.method).__name__}; the bridge knows {', '.join(m.__name__ for m in CONFIGS)}")
        fields = {RENAMED.get(name, name): value for name, value in scion.method.fields().items()}
        config = kind(**fields, thaw=list(scion.wish), extra=extra or None)
        tensors = {f"{BASE}inarch.{prefix_of(kind.made_for)}{name}": p.data for name, p in scion.trained().items()}
        trained = {name: p.data for name, p in model.named_parameters() if name in scion.thawed}
        if scion.brought_head:
            head = container.head_path
            trained |= {f"{head}.{name}": p.data for name, p in model.get_submodule(head).named_parameters()}
            config.modules_to_save = [head]
        tensors |= {BASE + name: value for name, value in trained.items()}
        tensors = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    finally:
        ungraft(model)
    config.modules_to_save = modules_to_save(model, config.method(), config)
    config.base_model_name_or_path = model.__dict__.get("name_or_path")
    Path(out).mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(out))
    files.write(Path(out) / SAFETENSORS_WEIGHTS_NAME, files.tensor_bytes(tensors))
    return Path(out)


def _wish(model: nn.Module, config: RoleConfig, whole: set[str]) -> tuple[str, ...]:
    """Roles that thaw exactly ``whole`` beside what the method does; the head by its role, anything else by its name."""
    left = whole - thawed_by(model, config.method(), config.thaw).keys()
    heads = {name for name in left if name.startswith(tuple(f"{path}." for path in roles.head_paths(model)))} if left else set()
    return (*config.thaw, *(["head"] if heads else []), *sorted(left - heads))


def _fill(targets: dict[str, Tensor], values: dict[str, Tensor], path: Path) -> None:
    files.check_tensors({name: ("F32", list(value.shape)) for name, value in values.items()},
                        {name: list(value.shape) for name, value in targets.items()}, path)
    fit.fill(targets, values)


__all__ = ["from_inarch", "to_inarch"]
