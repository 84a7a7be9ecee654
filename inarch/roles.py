"""Names that survive a renaming of modules: roles of parameters (``head``, ``vision.norms``, ``biases``) and canonical tensor names."""

from __future__ import annotations

import fnmatch

from torch import nn

from inarch import anatomy
from inarch.errors import CannotGraft, nearest

ROLES = ("head", "norms", "biases", "projector", "all")


def head_paths(model: nn.Module) -> list[str]:
    """Paths of the task heads that the model's rows know and the model has (a bare feature extractor has none)."""
    known = dict.fromkeys(path for block in anatomy.blocks(model) for path in block.row.heads)
    modules = dict(model.named_modules())
    return [path for path in known if any(True for _ in modules.get(path, nn.Identity()).parameters())]


def base_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The model's own parameters, without the container's."""
    return {name: p for name, p in model.named_parameters() if not name.startswith("inarch.")}


def thawed(model: nn.Module) -> list[str]:
    """Names of the base's parameters that train now."""
    return [name for name, p in base_parameters(model).items() if p.requires_grad]


def always(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that train beside every method, as the model's rows say: a vision-language backbone's projector."""
    paths = tuple({path + "." for block in anatomy.blocks(model) for path in block.row.always})
    return {name: p for name, p in base_parameters(model).items() if name.startswith(paths)} if paths else {}


def resolve(model: nn.Module, thaw: tuple[str, ...], beside: dict[str, nn.Parameter] | None = None) -> dict[str, nn.Parameter]:
    """Parameters that the roles or name patterns in ``thaw`` stand for, by name.

    A role may carry a tower (``vision.norms``), or all ``encoders`` or ``decoders``. A pattern is an escape
    (``vit.embeddings.*``); one that matches nothing is refused. ``beside``: parameters that train in any case.
    """
    parameters = base_parameters(model)
    chosen = dict(beside or {})
    for wish in thaw:
        names = _names(model, wish, parameters)
        if not names:
            raise CannotGraft(f"thaw={wish!r} matches no parameter of {type(model).__name__}; roles: {', '.join(ROLES)}, "
                              f"each also per tower; or a pattern on parameter names: {nearest(wish, parameters)}")
        chosen |= {name: parameters[name] for name in names}
    return chosen


def _names(model: nn.Module, wish: str, parameters: dict[str, nn.Parameter]) -> list[str]:
    tower, _, role = wish.rpartition(".")
    if role not in ROLES or (tower and tower not in anatomy.KINDS and tower not in {b.tower for b in anatomy.blocks(model)}):
        return fnmatch.filter(parameters, wish)
    heads = tuple(path + "." for path in head_paths(model))
    if role == "head":
        return [name for name in parameters if name.startswith(heads)] if heads else []
    if role == "projector":
        return [*always(model), *(block.path + "." + name for block in anatomy.blocks(model) if block.tower == "projector"
                                  for name, _ in block.module.named_parameters())]
    inside = _inside_tower(model, tower)
    if role == "all":
        return [name for name in parameters if inside(name)]
    if role == "biases":
        return [n for n in parameters if inside(n) and not n.startswith(heads) and n.rpartition(".")[2].endswith("bias")]
    norms = tuple(path + "." for path, module in model.named_modules() if "Norm" in type(module).__name__)
    return [name for name in parameters if inside(name) and not name.startswith(heads) and name.startswith(norms)]


def _inside_tower(model: nn.Module, tower: str):
    if not tower:
        return lambda name: True
    kind = anatomy.KINDS.get(tower)
    found = [block for block in anatomy.blocks(model) if (block.tower == tower if kind is None else block.row.decodes == kind)]
    prefixes = tuple({block.root + "." if block.root else "" for block in found})
    return lambda name: name.startswith(prefixes)


def canonical(model: nn.Module) -> dict[str, str]:
    """Parameter name -> role, layer and tensor: ``vision.3.q.weight``, ``vision.3.norm1.bias``, ``base.0.weight``, ``head.weight``.

    Never a module path, so that a library that renames its modules does not turn a good adapter file into a stranger.
    """
    names: dict[str, str] = {}
    heads = head_paths(model)
    for block in anatomy.blocks(model):
        if not block.row.matrices:  # a place with ports, whose tensors are the base's
            continue
        prefix = block.path + "." if block.path else ""
        known = _block_names(block)
        rest = 0
        for name, _ in block.module.named_parameters():
            if name not in known:
                known[name] = f"other{rest}.{name.rpartition('.')[2]}"
                rest += 1
            names[prefix + name] = f"{block.tower}.{block.layer}.{known[name]}"
    outside = 0
    for name in base_parameters(model):
        owner = next((k for k, path in enumerate(heads) if name.startswith(path + ".")), None)
        if owner is not None:
            names[name] = f"head{owner or ''}.{name[len(heads[owner]) + 1:]}"
        elif name not in names:
            names[name] = f"base.{outside}.{name.rpartition('.')[2]}"
            outside += 1
    return names


def _block_names(block: anatomy.Block) -> dict[str, str]:
    known: dict[str, str] = {}
    for role, weights in block.row.matrices.items():
        for weight in (w for w in weights if w.part is None):
            known[weight.path] = f"{role}.weight"
            known |= {bias: f"{role}.{bias.rpartition('.')[2]}" for bias in weight.biases}
    for index, span in enumerate((s for s in block.row.spans if s.readers), start=1):
        known |= {f"{span.norm}.{leaf}": f"norm{index}.{leaf}" for leaf in ("weight", "bias")}
    return known
