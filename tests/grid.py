"""The grid that the laws stand on: every method somewhere, and every place of every backbone row once.

A family's row is a list of places (ports, readers, writers, matrices, heads): the methods of ``EVERY_ROW`` visit each of them on
every family. What else a setting does is the same wherever it sits, so that others are tried where it could differ: one family of each
build, two where only their maths is new.
"""

from pathlib import Path

from families import FAMILIES
from toys import ToyGate, ToyParallel, ToyPost, ToyPre, ToyPrepared

from inarch import ARC, VLPET, BitFit, Bottleneck, Compacter, Frozen, Full, FullRank, Linear, LoRA
from inarch.methods import MMA, SSF, VPT, AdaptFormer, AdaRing, AddedBias, CLIPAdapter, Context, FacT, HyperFormer, Prompt, RepAdapter

GATED = {"rank": 4, "gate_rank": 3, "value_rank": 2}
METHODS = {
    "arc": ARC(rank=4), "arc-att": ARC(rank=4, spans=("attn",)), "arc-identity": ARC(rank=4, init="identity"),
    "arc-last-two": ARC(rank=4, layers="-2:"), "arc-trunk": ARC(rank=4, placement="trunk"),
    "arc-network": ARC(rank=4, share="network"), "arc-block": ARC(rank=4, share="block"),
    "arc-none": ARC(rank=4, share="none", symmetric=False, scale="none"), "arc-two-sided": ARC(rank=4, symmetric=False),
    "arc-shared-scale": ARC(rank=4, scale="shared"), "arc-no-bias": ARC(rank=4, bias=False),
    "lora": LoRA(rank=2), "lora-mlp": LoRA(rank=2, targets=("fc1", "fc2")), "lora-fused": LoRA(rank=2, targets=("qkv", "o")),
    "fullrank": FullRank(), "linear": Linear(), "bitfit": BitFit(), "full": Full(), "frozen": Frozen(),
    "vlpet": VLPET(**GATED), "vlpet-small": VLPET(gate="small", **GATED), "vlpet-middleX": VLPET(gate="middleX", **GATED),
    "vlpet-middleY": VLPET(gate="middleY", **GATED), "vlpet-none": VLPET(gate="none", init="zero", **GATED),
    "vlpet-visible": VLPET(gate="small", small_mean="visible", gate_reads="output", gate_input="normed", **GATED),
    "vlpet-compacter": VLPET(change="compacter", **GATED), "vlpet-lora": VLPET(gate="middleX", change="lora", **GATED),
    "vlpet-places": VLPET(gate="middleY", decoder=("key", "cross", "attn", "mlp"), middle_y="sigmoid", **GATED),
    "bottleneck": Bottleneck(rank=4), "bottleneck-cross": Bottleneck(rank=4, spans=("cross", "mlp"), init="zero"),
    "compacter": Compacter(rank=4), "prompt": Prompt(length=2, hidden=4), "addedbias": AddedBias(),
    "hyperformer": HyperFormer(rank=4, task_dim=6, hidden=8, projected=4),
    "mma": MMA(rank=8, scale=0.5), "clipadapter": CLIPAdapter(towers=None, reduction=1), "context": Context(length=2),
    "context-normal": Context(length=3, init="normal"), "fact": FacT(rank=3, dropout=0.0), "fact-tk": FacT(form="tk", rank=3, dropout=0.0),
    "lora-sqrt": LoRA(rank=4, targets=("q", "k", "v"), alpha=1, scaling="sqrt"),
    "adaring": AdaRing(ranks=(1, 2), bottleneck=6, dropout=0.0, expert_dropout=0.0),
    "adaring-lora": AdaRing(ranks=(1, 2), site="lora", dropout=0.0, expert_dropout=0.0),
    "houlsby": Bottleneck(rank=4, init="near"), "pfeiffer": Bottleneck(rank=8, spans=("mlp",), activation="relu"),
    "adaptformer": AdaptFormer(rank=8, dropout=0.0), "repadapter": RepAdapter(rank=4, dropout=0.0),
    "ssf": SSF(), "ssf-inside": SSF(places=("norm1", "norm2", "fc1", "fc2"), init="identity", layers="1:"),
    "vpt-deep": VPT(length=3), "vpt-shallow": VPT(form="shallow", length=3),
    "toy-pre": ToyPre(), "toy-post": ToyPost(), "toy-parallel": ToyParallel(), "toy-gate": ToyGate(), "toy-prepared": ToyPrepared(),
}
BUILDS, TWO = ("hf-vit", "timm-swin", "hf-clip", "open_clip"), ("timm-swin", "hf-clip")
TEXT, CLIPS = ("vl-bart", "vl-t5"), ("clip", "clip-pair", "clip-open")  # vision-language; two towers whose features have places
EVERY_ROW = ("arc", "arc-trunk", "lora", "lora-fused", "linear", "mma", "toy-post", "toy-parallel", "toy-gate")
PLACES = {  # of everything else; those not named here are tried on BUILDS
    **dict.fromkeys(EVERY_ROW, (*(family for family in FAMILIES if family not in CLIPS), "clip-pair")),
    **dict.fromkeys(("arc-att", "arc-identity", "arc-last-two", "arc-network", "arc-block", "arc-none", "arc-two-sided",
                     "arc-shared-scale", "arc-no-bias"), TWO),
    **dict.fromkeys(("vlpet", "toy-pre", "bitfit"), (*BUILDS, *TEXT, "smolvlm")),
    **dict.fromkeys(("prompt", "addedbias"), ("hf-vit", *TEXT)),
    **dict.fromkeys(("fullrank", "lora-mlp", "full", "bottleneck", "hyperformer"), (*BUILDS, "vl-bart")),
    **dict.fromkeys(("toy-prepared", "vlpet-small", "compacter"), (*BUILDS, "vl-t5")),
    **dict.fromkeys(("frozen", "vlpet-middleX", "vlpet-none", "vlpet-lora"), ("vl-bart",)),
    **dict.fromkeys(("vlpet-middleY", "vlpet-visible", "vlpet-compacter", "bottleneck-cross"), ("vl-t5",)), "vlpet-places": TEXT,
    "clipadapter": ("hf-clip", *CLIPS), "context": ("hf-vit", "hf-clip", *CLIPS), "context-normal": ("open_clip", "clip"),
    "lora-sqrt": ("hf-clip", "clip-open"), "fact": (*BUILDS, "timm-vit", "clip-pair", "vl-bart", "smolvlm"),
    "fact-tk": ("hf-clip", "vl-t5"), "adaring": (*BUILDS, "clip", "clip-pair", "vl-t5", "smolvlm"),
    "adaring-lora": ("hf-clip", "timm-vit", "vl-bart"),
}
PLACES |= {
    "ssf": ("timm-vit", "timm-vit-nobias", "hf-vit", "hf-deit", "hf-dinov2", "hf-swin", "hf-siglip", "timm-swin", "hf-clip", "open_clip",
            "clip-pair", "vl-bart"),
    "ssf-inside": ("open_clip", "hf-beit", "timm-eva"), "houlsby": ("hf-vit",), "pfeiffer": ("timm-vit", "hf-swin"),
    "adaptformer": ("timm-vit", *BUILDS, "vl-bart"), "repadapter": (*BUILDS, "timm-vit", "vl-t5"),
    "vpt-deep": ("hf-vit", "hf-deit", "hf-dinov2", "hf-beit", "hf-siglip", "hf-clip", "timm-vit", "timm-swin", "timm-eva", "open_clip",
                 "clip-pair", "vl-bart", "smolvlm"),
    "vpt-shallow": ("timm-vit", "hf-clip"),
}
CELLS = [(family, method) for family in FAMILIES for method in METHODS if family in PLACES.get(method, BUILDS)]
TABLE = Path(__file__).with_name("refusals.md")
_lines = TABLE.read_text(encoding="utf-8").splitlines()[4:]
REFUSED = {tuple(line.removeprefix("| ").split(" | ", 2)[:2]): line for line in _lines}  # test_laws reviews it
EVERYWHERE = ("arc",)  # in the default tier; of the others one family each there, all of them in test-all


def soon(family: str, method: str) -> bool:
    """Whether a cell belongs to the default tier."""
    return method in EVERYWHERE or family == PLACES.get(method, BUILDS)[0]


STAY = ("arc-trunk", "houlsby", "pfeiffer", "adaptformer", "vpt-deep", "vpt-shallow",
        "toy-gate", "prompt", "addedbias", "hyperformer", "mma", "clipadapter", "context", "context-normal", "adaring",
        *(m for m in METHODS if m.startswith(("vlpet", "bottleneck", "compacter"))))  # not affine: merge refuses
