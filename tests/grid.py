"""The grid that the laws stand on: every method, on every kind of tower; its settings where they say something new."""

from families import FAMILIES
from toys import ToyGate, ToyParallel, ToyPost, ToyPre, ToyPrepared

from inarch import ARC, VLPET, BitFit, Bottleneck, Compacter, Frozen, Full, FullRank, Linear, LoRA
from inarch.methods import AddedBias, HyperFormer, Prompt

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
    "toy-pre": ToyPre(), "toy-post": ToyPost(), "toy-parallel": ToyParallel(), "toy-gate": ToyGate(), "toy-prepared": ToyPrepared(),
}
BUILDS, TEXT = ("hf-vit", "timm-swin", "hf-clip", "open_clip"), ("vl-bart", "vl-t5")
FEW = ("arc-att", "arc-identity", "arc-last-two", "arc-network", "arc-block", "arc-none", "arc-two-sided", "arc-shared-scale",
       "arc-no-bias", "vlpet-small", "bottleneck", "compacter", "hyperformer")  # among vision towers: on one family of each build
ON_TEXT = {"vlpet-middleX": TEXT, "vlpet-middleY": TEXT, "frozen": TEXT, "vlpet-none": ("vl-bart",), "vlpet-visible": ("vl-t5",),
           "vlpet-compacter": ("vl-t5",), "vlpet-lora": ("vl-bart",), "vlpet-places": TEXT, "bottleneck-cross": ("vl-t5",)}


def asked(family: str, method: str) -> bool:
    """Whether a method is tried on a family."""
    if family in TEXT:
        return family in ON_TEXT.get(method, TEXT) and (not method.startswith("arc-") or method == "arc-trunk")
    return method not in ON_TEXT and (method not in FEW or family in BUILDS)


CELLS = [(family, method) for family in FAMILIES for method in METHODS if asked(family, method)]
STAY = ("arc-trunk", "toy-gate", "prompt", "addedbias", "hyperformer",
        *(m for m in METHODS if m.startswith(("vlpet", "bottleneck", "compacter"))))  # not affine: merge refuses
