"""The only file that knows backbones: a row per family says where a block's spans begin, end, and which weights read and write them.

Rows match on the class of the *block*, so every model that contains such blocks is known, whatever stands around them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from inarch.errors import CannotGraft
from inarch.ports import Port, Site, Span, Weight


@dataclass(frozen=True)
class Row:
    """One family: the block's class, its spans, its named matrices, how towers are told apart, where a head may sit."""

    family: str
    block: str
    spans: tuple[Span, ...]
    matrices: dict[str, tuple[Weight, ...]]  # by role; where variants differ, the first that the block has
    towers: dict[str, str] = field(default_factory=dict)  # component of the block's path -> tower
    heads: tuple[str, ...] = ()
    tower: str = "vision"
    other_names: dict[str, str] = field(default_factory=dict)  # matrices the family cannot offer alone -> why


def _weight(path: str, **more: object) -> Weight:
    return Weight(path if path.endswith("weight") else path + ".weight", **more)  # type: ignore[arg-type]


def _weights(paths: str, **more: object) -> tuple[Weight, ...]:
    return tuple(_weight(path, **more) for path in paths.split())


def _pre_norm(attn: tuple[str, str], norms: tuple[str, str], reads: tuple[Weight, ...], m: dict[str, tuple[Weight, ...]],
              windows: bool = False) -> tuple[Span, ...]:
    """Spans of a pre-norm block: attention, MLP, and the trunk between its halves.

    ``windows``: attention sees partitioned tokens, so that the residual stream is not in its order.
    """
    skip = Port(norms[1], "in")
    start = None if windows else Port("", "in")
    return (
        Span("attn", Port.parse(attn[0]), Port.parse(attn[1]), reads, m["o"], norms[0], start),
        Span("mlp", Port("mlp", "in"), Port("mlp", "out"), m["fc1"], m["fc2"], norms[1], skip),
        Span("trunk", skip, Port("", "out"), norm=norms[1], residual=skip, carries=True),
    )


def _separate(family: str, block: str, attn: str, norms: tuple[str, str], out: str = "o_proj", windows: bool = False,
              towers: dict[str, str] | None = None) -> Row:
    """A transformers block: q, k and v are linears of their own."""
    reads = tuple(_weight(f"{attn}.{role}_proj", cancels=role == "k") for role in "qkv")
    matrices: dict[str, tuple[Weight, ...]] = {role: (weight,) for role, weight in zip("qkv", reads, strict=True)}
    matrices |= {"o": _weights(f"{attn}.{out}"), "fc1": _weights("mlp.fc1"), "fc2": _weights("mlp.fc2 mlp.down_proj")}
    readers = matrices | {"fc1": _weights("mlp.fc1 mlp.gate_proj mlp.up_proj")}  # a gated MLP has two, and no single fc1 to name
    spans = _pre_norm((f"{attn}:in", f"{attn}:out"), norms, reads, readers, windows)
    return Row(family, block, spans, matrices, towers or {}, ("classifier", "cls_classifier", "distillation_classifier"),
               other_names={"qkv": "q, k and v are separate here: name 'q', 'k', 'v'"})


def _fused(family: str, block: str, heads: tuple[str, ...], qkv: Weight, windows: bool = False) -> Row:
    """A timm block: one matrix makes q, k and v; EVA's larger ones have three."""
    split = {role: _weight(f"attn.{role}_proj") for role in "qkv"}
    matrices: dict[str, tuple[Weight, ...]] = {"qkv": (qkv,)}
    matrices |= {role: (Weight(qkv.path, qkv.bias, (k, 3), False, qkv.called), split[role]) for k, role in enumerate("qkv")}
    matrices |= {"o": _weights("attn.proj"), "fc1": _weights("mlp.fc1"), "fc2": _weights("mlp.fc2")}
    readers = matrices | {"fc1": _weights("mlp.fc1 mlp.fc1_g mlp.fc1_x")}
    spans = _pre_norm(("attn:in", "attn:out"), ("norm1", "norm2"), (qkv, *split.values()), readers, windows)
    return Row(family, block, spans, matrices, heads=heads)


_HF = "transformers.models."
_BEFORE_AFTER = ("layernorm_before", "layernorm_after")
_TWO_TOWERS = {"text_model": "text", "vision_model": "vision"}
_BEIT_QKV = Weight("attn.qkv.weight", ("attn.q_bias", "attn.k_bias", "attn.v_bias"), called=False)
_MHA_QKV = Weight("attn.in_proj_weight", ("attn.in_proj_bias",), called=False)
_CLIP_MATRICES = {
    **{role: (Weight(_MHA_QKV.path, _MHA_QKV.bias, (k, 3), called=False),) for k, role in enumerate("qkv")},
    "qkv": (_MHA_QKV,), "o": _weights("attn.out_proj", called=False), "fc1": _weights("mlp.c_fc"), "fc2": _weights("mlp.c_proj"),
}

ROWS: tuple[Row, ...] = (
    _separate("transformers ViT", _HF + "vit.modeling_vit.ViTLayer", "attention", _BEFORE_AFTER),
    _separate("transformers DeiT", _HF + "deit.modeling_deit.DeiTLayer", "attention", _BEFORE_AFTER),
    _separate("transformers DINOv2", _HF + "dinov2.modeling_dinov2.Dinov2Layer", "attention", ("norm1", "norm2")),
    _separate("transformers BEiT", _HF + "beit.modeling_beit.BeitLayer", "attention", _BEFORE_AFTER),
    _separate("transformers Swin", _HF + "swin.modeling_swin.SwinLayer", "attention", _BEFORE_AFTER, windows=True),
    _separate("transformers CLIP", _HF + "clip.modeling_clip.CLIPEncoderLayer", "self_attn", ("layer_norm1", "layer_norm2"),
              "out_proj", towers=_TWO_TOWERS),
    _separate("transformers SigLIP", _HF + "siglip.modeling_siglip.SiglipEncoderLayer", "self_attn",
              ("layer_norm1", "layer_norm2"), "out_proj", towers=_TWO_TOWERS),
    _fused("timm VisionTransformer", "timm.models.vision_transformer.Block", ("head", "head_dist"), _weight("attn.qkv")),
    _fused("timm Swin", "timm.models.swin_transformer.SwinTransformerBlock", ("head.fc",), _weight("attn.qkv"), True),
    _fused("timm BEiT", "timm.models.beit.Block", ("head",), _BEIT_QKV),
    _fused("timm EVA", "timm.models.eva.EvaBlock", ("head",), _BEIT_QKV),
    Row(
        # nn.MultiheadAttention takes q, k, v apart and never calls its projections: the norm's output is the port
        "open_clip", "open_clip.transformer.ResidualAttentionBlock",
        _pre_norm(("ln_1:out", "attn:out"), ("ln_1", "ln_2"), (_MHA_QKV,), _CLIP_MATRICES), _CLIP_MATRICES,
        towers={"visual": "vision", "transformer": "text"}, heads=("head",),
    ),
)
_BY_BLOCK = {row.block: row for row in ROWS}


@dataclass(frozen=True)
class Block:
    """One block found in a model: its row, path, tower, 0-based index in the tower, and the path of the tower's root."""

    row: Row
    path: str
    module: nn.Module
    tower: str
    layer: int
    root: str


def blocks(model: nn.Module) -> list[Block]:
    """Every known block of ``model`` in order; raises ``CannotGraft`` when there is none."""
    found: list[Block] = []
    counts: dict[str, int] = {}
    for path, module in model.named_modules():
        row = _BY_BLOCK.get(f"{type(module).__module__}.{type(module).__qualname__}")
        if row is None or path.startswith("inarch."):
            continue
        tower, root = _tower(row, path)
        found.append(Block(row, path, module, tower, counts.get(tower, 0), root))
        counts[tower] = counts.get(tower, 0) + 1
    if not found:
        known = ", ".join(row.family for row in ROWS)
        raise CannotGraft(f"no anatomy for {type(model).__name__}; known: {known}; add a row to inarch/anatomy.py")
    return found


def _tower(row: Row, path: str) -> tuple[str, str]:
    parts = path.split(".")
    for component, tower in row.towers.items():
        if component in parts:
            return tower, ".".join(parts[: parts.index(component) + 1])
    return row.tower, ""


def span(block: Block, name: str) -> Span:
    """The span called ``name`` of a block with the weights that this block really has; a matrix name gives its linear span."""
    for candidate in block.row.spans:
        if candidate.name == name:
            return _present(block, candidate)
    if name in block.row.matrices:
        return _linear(block, name)
    reason = block.row.other_names.get(name, f"known: {', '.join([s.name for s in block.row.spans] + list(block.row.matrices))}")
    raise CannotGraft(f"{block.row.family} has no span {name!r}; {reason}")


def _linear(block: Block, name: str) -> Span:
    options = block.row.matrices[name]
    weight = next((w for w in options if _has(block.module, w.path)), None)
    if weight is None:
        tried = " or ".join(w.path for w in options)
        raise CannotGraft(f"{block.row.family}: {block.path} has no {tried}, so {name!r} cannot be adapted on this model")
    if not weight.called:
        raise CannotGraft(f"{block.row.family}: {block.path}.{weight.module} is never called as a module, its weight is read "
                          f"directly, so {name!r} has no port; adapt the span 'attn' or the matrices 'fc1', 'fc2' instead")
    return Span(name, Port(weight.module, "in"), Port(weight.module, "out"), (weight,), (weight,), residual=None)


def _present(block: Block, found: Span) -> Span:
    """Leave out readers that this variant of the block lacks (fused against separate q/k/v, gated MLPs)."""
    readers = tuple(w for w in found.readers if _has(block.module, w.path))
    readers = tuple(w if _has(block.module, *w.biases) else Weight(w.path, (), w.part, w.cancels, w.called) for w in readers)
    writers = tuple(w for w in found.writers if _has(block.module, w.path))
    if (found.readers and not readers) or (found.writers and not writers):
        raise CannotGraft(f"{block.row.family}: {block.path} has none of the weights known to read and write {found.name!r}; "
                          "name them in its row in inarch/anatomy.py")
    return Span(found.name, found.enter, found.leave, readers, writers, found.norm, found.residual, found.carries)


def _has(module: nn.Module, *paths: str) -> bool:
    return all(tensor_at(module, path) is not None for path in paths)


def tensor_at(module: nn.Module, path: str) -> Tensor | None:
    """The tensor at a dotted path, or None where any step of it is absent or None."""
    *parents, leaf = path.split(".")
    for name in parents:
        child = module._modules.get(name)
        if child is None:
            return None
        module = child
    return module._parameters.get(leaf, module._buffers.get(leaf))


def sites(model: nn.Module, names: tuple[str, ...], towers: tuple[str, ...] | None = None) -> Iterator[Site]:
    """Every site of the named spans, span by span, in order of depth."""
    found = blocks(model)
    known = sorted({block.tower for block in found})
    for tower in towers or ():
        if tower not in known:
            raise CannotGraft(f"{type(model).__name__} has no tower {tower!r}; known: {', '.join(known)}")
    for name in names:
        for block in found:
            if towers is None or block.tower in towers:
                here = span(block, name)
                yield Site(here, block.tower, block.layer, block.path, *widths(block, here))


def widths(block: Block, here: Span) -> tuple[int, int]:
    """Width of what enters a span and of what leaves it."""
    if not here.readers:
        width = _matrix(block, here.norm + ".weight").shape[0]
        return width, width
    writer = here.writers[0] if here.writers else here.readers[0]
    rows = _matrix(block, writer.path).shape[0]
    return _matrix(block, here.readers[0].path).shape[1], rows // writer.part[1] if writer.part else rows


def _matrix(block: Block, path: str) -> Tensor:
    found = tensor_at(block.module, path)
    if found is None:
        raise CannotGraft(f"{block.row.family}: {block.path} has no {path}; mend its row in inarch/anatomy.py")
    return found
