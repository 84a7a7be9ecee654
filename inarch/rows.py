"""The only file that knows backbones: a row per family says where a block's spans begin, end, and which weights read and write them.

Rows match on the class of the *block*, so every model that contains such blocks is known, whatever stands around them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from inarch.ports import Port, Span, Weight


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
    has: str = ""  # a module that tells this row from others of the same class
    decodes: bool = False  # a decoder block: it attends to what an encoder left
    feeds: str = ""  # tower whose first block reads what these sites leave
    behind: tuple[str, ...] = ()  # parameters and modules of the model that stand behind every block
    always: tuple[str, ...] = ()  # modules of the model that train beside every method, where it has them
    published: dict[str, dict[str, Any]] = field(default_factory=dict)  # method -> settings its paper used here, where they differ


def _weight(path: str, **more: object) -> Weight:
    return Weight(path if path.endswith("weight") else path + ".weight", **more)  # type: ignore[arg-type]


def _weights(paths: str, **more: object) -> tuple[Weight, ...]:
    return tuple(_weight(path, **more) for path in paths.split())


def _pre_norm(attn: tuple[str, str], norms: tuple[str, str], reads: tuple[Weight, ...], m: dict[str, tuple[Weight, ...]],
              windows: bool = False) -> tuple[Span, ...]:
    """Spans of a pre-norm block: attention, MLP, the trunk between its halves, the block itself from its first norm on, what a norm
    leaves, and the stream that enters and leaves the block, which may be more tokens in between.

    ``windows``: attention sees partitioned tokens, so that the residual stream is not in its order. The stream is read where it
    enters a norm, not the block: transformers checkpoints a block's forward, and hooks of the block itself run outside of it.
    """
    skip = Port(norms[1], "in")
    start = None if windows else Port(norms[0], "in")
    return (
        Span("attn", Port.parse(attn[0]), Port.parse(attn[1]), reads, m["o"], norms[0], start),
        Span("mlp", Port("mlp", "in"), Port("mlp", "out"), m["fc1"], m["fc2"], norms[1], skip),
        Span("trunk", skip, Port("", "out"), norm=norms[1], residual=skip, carries=True),
        Span("block", Port(norms[0], "out"), Port("", "out"), norm=norms[0], residual=start),
        *(_made_by(f"norm{k}", norm) for k, norm in enumerate(norms, start=1)),
        Span("stream", Port("", "in"), Port("", "out"), norm=norms[0], residual=None, tower="vision"),
    )


def _fixed(spans: tuple[Span, ...], other_names: dict[str, str], why: str) -> tuple[tuple[Span, ...], dict[str, str]]:
    """The same, without a place for more tokens where there is a reason ``why`` attention could not take them."""
    return (tuple(span for span in spans if span.name != "stream"), other_names | {"stream": why}) if why else (spans, other_names)


def _made_by(name: str, module: str, axis: int = -1) -> Span:
    """What one norm or convolution leaves."""
    return Span(name, Port(module, "in"), Port(module, "out"), (), _weights(module), residual=None, axis=axis)


def _ends(family: str, block: str, patches: str, final: str) -> Row:
    """Around the blocks of an image tower: the convolution that makes patches into ``[batch, dim, rows, columns]``, and the last norm."""
    return Row(f"{family} ends", block, (_made_by("patches", patches, axis=1), _made_by("final", final)), {}, {"vision_model": "ends"},
               tower="ends", feeds="vision")


def _separate(family: str, block: str, attn: str, norms: tuple[str, str], out: str = "o_proj", windows: bool = False,
              rotary: bool = False, fixed: str = "") -> Row:
    """A transformers block: q, k and v are linears of their own. ``rotary``: keys are turned by their position, so a constant stays.

    ``fixed``: why attention takes no more tokens than there are.
    """
    reads = tuple(_weight(f"{attn}.{role}_proj", cancels=role == "k" and not rotary) for role in "qkv")
    matrices: dict[str, tuple[Weight, ...]] = {role: (weight,) for role, weight in zip("qkv", reads, strict=True)}
    matrices |= {"o": _weights(f"{attn}.{out}"), "fc1": _weights("mlp.fc1"), "fc2": _weights("mlp.fc2 mlp.down_proj")}
    readers = matrices | {"fc1": _weights("mlp.fc1 mlp.gate_proj mlp.up_proj")}  # a gated MLP has two, and no single fc1 to name
    spans, other_names = _fixed(_pre_norm((f"{attn}:in", f"{attn}:out"), norms, reads, readers, windows),
                                {"qkv": "q, k and v are separate here: name 'q', 'k', 'v'"}, fixed or (_WINDOWS if windows else ""))
    return Row(family, block, spans, matrices, _TWO_TOWERS, ("classifier", "cls_classifier", "distillation_classifier"),
               other_names=other_names)


def _fused(family: str, block: str, heads: tuple[str, ...], qkv: Weight, windows: bool = False, fixed: str = "") -> Row:
    """A timm block: one matrix makes q, k and v; EVA's larger ones have three."""
    split = {role: _weight(f"attn.{role}_proj") for role in "qkv"}
    matrices: dict[str, tuple[Weight, ...]] = {"qkv": (qkv,)}
    matrices |= {role: (Weight(qkv.path, qkv.bias, (k, 3), False, qkv.called), split[role]) for k, role in enumerate("qkv")}
    matrices |= {"o": _weights("attn.proj"), "fc1": _weights("mlp.fc1"), "fc2": _weights("mlp.fc2")}
    readers = matrices | {"fc1": _weights("mlp.fc1 mlp.fc1_g mlp.fc1_x")}
    spans, other_names = _fixed(_pre_norm(("attn:in", "attn:out"), ("norm1", "norm2"), (qkv, *split.values()), readers, windows), {},
                                fixed or (_WINDOWS if windows else ""))
    return Row(family, block, spans, matrices, _TWO_TOWERS, heads, other_names=other_names)


def _language(family: str, block: str) -> Row:
    """A causal block with rotary positions and a gated MLP, whose two input matrices have names; the text tower of what contains it."""
    row = _separate(family, block, "self_attn", ("input_layernorm", "post_attention_layernorm"), rotary=True)
    gates = {"gate": _weights("mlp.gate_proj"), "up": _weights("mlp.up_proj")}
    unnamed = row.other_names | {"fc1": "its MLP is gated: name 'gate', 'up'"}
    matrices = {role: weights for role, weights in row.matrices.items() if role != "fc1"}
    return replace(row, matrices=matrices | gates, towers=_TWO_TOWERS | {"language_model": "text"}, heads=("score",), tower="text",
                   other_names=unnamed)


def _connector(family: str, block: str, root: str, **matrices: str) -> Row:
    """Between the towers of a vision-language model: matrices by name, and a tower of its own, ``projector``."""
    return Row(family, block, (), {name: _weights(path) for name, path in matrices.items()}, {root: "projector"})


def _bart(side: str) -> Row:
    """A post-norm block: what enters a sub-layer is itself the residual stream; the MLP has no module of its own."""
    m = {role: _weights(f"self_attn.{role}_proj", cancels=role == "k") for role in "qkv"}
    m |= {"o": _weights("self_attn.out_proj"), "fc1": _weights("fc1"), "fc2": _weights("fc2")}
    start, stream = Port("self_attn", "in"), Port("fc1", "in")
    spans = [
        Span("attn", start, Port("self_attn", "out"), (*m["q"], *m["k"], *m["v"]), m["o"], residual=start),
        Span("mlp", stream, Port("fc2", "out"), m["fc1"], m["fc2"], residual=stream),
        Span("block", Port("", "in"), Port("", "out"), norm="self_attn_layer_norm", residual=Port("", "in")),
    ]
    if side == "Decoder":
        m |= {f"cross.{role}": _weights(f"encoder_attn.{role}_proj", cancels=role == "k") for role in "qkv"}
        m["cross.o"] = _weights("encoder_attn.out_proj")
        query = Port("encoder_attn", "in")
        spans.append(Span("cross", query, Port("encoder_attn", "out"), m["cross.q"], m["cross.o"], residual=query))
    return Row(f"transformers BART {side.lower()}", f"{_HF}bart.modeling_bart.Bart{side}Layer", tuple(spans), m,
               {side.lower(): side.lower()}, tower=side.lower(), decodes=side == "Decoder", always=_PROJECTOR)


def _bert() -> Row:
    """A post-norm block whose sub-layers are scattered over modules; their inputs are the residual stream."""
    m = {role: _weights(f"attention.self.{name}", cancels=role == "k") for role, name in (("q", "query"), ("k", "key"), ("v", "value"))}
    m |= {"o": _weights("attention.output.dense"), "fc1": _weights("intermediate.dense"), "fc2": _weights("output.dense")}
    start, stream = Port("attention.self", "in"), Port("intermediate.dense", "in")
    spans = (
        Span("attn", start, Port("attention.output.dense", "out"), (*m["q"], *m["k"], *m["v"]), m["o"], residual=start),
        Span("mlp", stream, Port("output.dense", "out"), m["fc1"], m["fc2"], residual=stream),
        Span("block", Port("", "in"), Port("", "out"), norm="attention.output.LayerNorm", residual=Port("", "in")),
    )
    return Row("transformers BERT", f"{_HF}bert.modeling_bert.BertLayer", spans, m, _TWO_TOWERS, ("classifier",), tower="text")


def _t5(side: str) -> Row:
    """A pre-norm block whose sub-layers are modules: the residual stream enters the sub-layer, its norm lies inside."""
    decodes = side == "decoder"
    last = f"layer.{2 if decodes else 1}"
    m = {role: _weights(f"layer.0.SelfAttention.{role}", cancels=role == "k") for role in "qkvo"}
    m |= {"fc1": _weights(f"{last}.DenseReluDense.wi"), "fc2": _weights(f"{last}.DenseReluDense.wo")}
    reads = _weights(f"{last}.DenseReluDense.wi {last}.DenseReluDense.wi_0 {last}.DenseReluDense.wi_1")
    spans = [_sublayer("attn", "layer.0", "SelfAttention", (*m["q"], *m["k"], *m["v"]), m["o"]),
             _sublayer("mlp", last, "DenseReluDense", reads, m["fc2"]),
             Span("block", Port("layer.0.layer_norm", "out"), Port("", "out"), norm="layer.0.layer_norm", residual=Port("layer.0", "in"))]
    if decodes:
        m |= {f"cross.{role}": _weights(f"layer.1.EncDecAttention.{role}", cancels=role == "k") for role in "qkvo"}
        spans.append(_sublayer("cross", "layer.1", "EncDecAttention", m["cross.q"], m["cross.o"]))
    return Row(f"transformers T5 {side}", f"{_HF}t5.modeling_t5.T5Block", tuple(spans), m, {side: side}, tower=side,
               has="layer.2" if decodes else "", decodes=decodes, always=_PROJECTOR, published=_ON_T5)


def _words(family: str, block: str, root: str, table: str = "token_embedding") -> Row:
    """Where token ids become vectors ``[batch, tokens, dim]``, before positions are added."""
    return Row(family, block, (Span("words", Port(table, "in"), Port(table, "out"), residual=None, width=f"{table}.weight"),), {},
               {root: "words"}, tower="words", feeds="text")


def _sublayer(name: str, path: str, module: str, readers: tuple[Weight, ...], writers: tuple[Weight, ...]) -> Span:
    inner = f"{path}.{module}"
    return Span(name, Port(inner, "in"), Port(inner, "out"), readers, writers, f"{path}.layer_norm", Port(path, "in"))


_HF = "transformers.models."
_PROJECTOR = ("visual",)
_PROJECTIONS = tuple(f"stock.{name}" for name in "logit_scale logit_bias visual_projection text_projection image_head text_head".split())
_ON_T5: dict[str, dict[str, Any]] = {
    "VLPET": {"rank": 192, "gate_rank": 192, "scale": 0.3, "init": "zero"},  # README and scripts of the release
    "Prompt": {"init": "library"},  # T5's initialiser of that time left what was added as PyTorch made it
}
_WINDOWS = "its attention looks at windows of a fixed number of tokens"
_POSITIONS = "its attention has a position for every token of the image, and none for others"
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
    _separate("transformers BEiT", _HF + "beit.modeling_beit.BeitLayer", "attention", _BEFORE_AFTER, fixed=_POSITIONS),
    _separate("transformers Swin", _HF + "swin.modeling_swin.SwinLayer", "attention", _BEFORE_AFTER, windows=True),
    _separate("transformers CLIP", _HF + "clip.modeling_clip.CLIPEncoderLayer", "self_attn", ("layer_norm1", "layer_norm2"),
              "out_proj"),
    _separate("transformers SigLIP", _HF + "siglip.modeling_siglip.SiglipEncoderLayer", "self_attn",
              ("layer_norm1", "layer_norm2"), "out_proj"),
    _separate("transformers SmolVLM", _HF + "smolvlm.modeling_smolvlm.SmolVLMEncoderLayer", "self_attn", ("layer_norm1", "layer_norm2"),
              "out_proj", fixed="a mask of the image's own tokens goes with every block"),
    _connector("transformers SmolVLM connector", _HF + "smolvlm.modeling_smolvlm.SmolVLMConnector", "connector",
               proj="modality_projection.proj"),
    _language("transformers Llama", _HF + "llama.modeling_llama.LlamaDecoderLayer"),
    _fused("timm VisionTransformer", "timm.models.vision_transformer.Block", ("head", "head_dist"), _weight("attn.qkv")),
    _fused("timm Swin", "timm.models.swin_transformer.SwinTransformerBlock", ("head.fc",), _weight("attn.qkv"), True),
    _fused("timm BEiT", "timm.models.beit.Block", ("head",), _BEIT_QKV, fixed=_POSITIONS),
    _fused("timm EVA", "timm.models.eva.EvaBlock", ("head",), _BEIT_QKV, fixed=_POSITIONS),
    Row(
        # nn.MultiheadAttention takes q, k, v apart and never calls its projections: the norm's output is the port
        "open_clip", "open_clip.transformer.ResidualAttentionBlock",
        _pre_norm(("ln_1:out", "attn:out"), ("ln_1", "ln_2"), (_MHA_QKV,), _CLIP_MATRICES), _CLIP_MATRICES,
        towers={"visual": "vision", "transformer": "text"}, heads=("head",),
    ),
    _bert(), _bart("Encoder"), _bart("Decoder"), _t5("decoder"), _t5("encoder"),  # a T5 block is an encoder's unless it is a decoder's
    Row("text embeddings", "inarch.backbones.vision_language.Front", (Span("tokens", Port("", "in"), Port("", "out"), residual=None),), {},
        {"front": "prompt"}, tower="prompt", feeds="encoder"),
    Row("outside the blocks", "inarch.backbones.vision_language.Leave", (Span("leaves", Port("", "in"), Port("", "out"), residual=None),),
        {}, {name: name for name in ("encoded", "decoded", "scores")}),
    _ends("transformers ViT", _HF + "vit.modeling_vit.ViTModel", "embeddings.patch_embeddings.projection", "layernorm"),
    _ends("transformers DeiT", _HF + "deit.modeling_deit.DeiTModel", "embeddings.patch_embeddings.projection", "layernorm"),
    _ends("transformers DINOv2", _HF + "dinov2.modeling_dinov2.Dinov2Model", "embeddings.patch_embeddings.projection", "layernorm"),
    _ends("transformers Swin", _HF + "swin.modeling_swin.SwinModel", "embeddings.patch_embeddings.projection", "layernorm"),
    _ends("transformers CLIP", _HF + "clip.modeling_clip.CLIPVisionModel", "embeddings.patch_embedding", "post_layernorm"),
    _ends("transformers SigLIP", _HF + "siglip.modeling_siglip.SiglipVisionModel", "embeddings.patch_embedding", "post_layernorm"),
    _ends("timm VisionTransformer", "timm.models.vision_transformer.VisionTransformer", "patch_embed.proj", "norm"),
    _ends("timm Swin", "timm.models.swin_transformer.SwinTransformer", "patch_embed.proj", "norm"),
    _words("transformers CLIP words", f"{_HF}clip.modeling_clip.CLIPTextEmbeddings", "embeddings"),
    _words("transformers BERT words", f"{_HF}bert.modeling_bert.BertEmbeddings", "embeddings", "word_embeddings"),
    _words("open_clip words", "open_clip.model.CLIP", "stock"),
    Row("features of two towers", "inarch.backbones.two_tower.Feature", (Span("features", Port("", "in"), Port("", "out"), residual=None),),
        {}, {"image_out": "image", "text_out": "sentence"}, behind=_PROJECTIONS),
)
