"""Fill the tables between ``<!-- table: WHAT -->`` and ``<!-- /table -->`` in README.md and docs/: no figure there is typed.

    python scripts/make_tables.py           writes            python scripts/make_tables.py --check     says which are stale

WHAT is ``methods`` or ``vl-methods`` (equations from here, numbers counted on the papers' backbones), folders of results, compared
as ``inarch compare`` does, ``standing METHOD FOLDER ...``, that method against each other one, or ``fitted FOLDER DATA``, training
losses of one data set beside test scores.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARKED = re.compile(r"(<!-- table: ([^>]+?) -->\n)(.*?)(<!-- /table -->)", re.S)
BACKBONE = "config:vit-b16"
METHODS = (  # name, method and fields, update in a line, checked against
    ("ARC", "arc", {}, "`H = U + ((U W) * c_l) Wᵀ + b_l` before attention and MLP, `W` shared by all layers",
     "outputs and gradients of the released ViT and Swin code, a naive loop in fp64, the published counts"),
    ("ARC_att", "arc", {"spans": ["attn"]}, "the same before attention only", "the same"),
    ("LoRA r=8", "lora", {}, "`y = x Mᵀ + (α/r) (x Aᵀ) Bᵀ` on q and v", "`peft`, a naive loop in fp64"),
    ("BitFit", "bitfit", {}, "every bias of the base", "the laws below"),
    ("linear probe", "linear", {}, "the head alone", "the laws below"),
    ("full", "full", {}, "everything", "the laws below"),
)
CLIP = "config:clip-vit-b16"
CLIP_METHODS = (  # name, method and fields, fields with which it folds, update in a line, checked against
    ("AdaRing (our design)", "adaring", {}, {"site": "lora"},
     "`y = s Σ_e g_e U_le φ(D_le n)` beside blocks of both towers of a CLIP, `D`, `U` slices of tensor rings across layers and towers",
     "naive loops from our own specification (reconstruction: the paper has no code), its counts"),
)
VL_BACKBONES = ("config:vl-bart-base", "config:vl-t5-base")
VL_METHODS = (  # name, method, its fields on BART, thawed beside it, update in a line, checked against, whether its fields hold on T5
    *((f"VL-PET {gate}", "vlpet", {"gate": gate}, [], update, witness, True) for gate, update, witness in (
        ("large", "`H' = s σ(φ(X D) U) ∘ (H + ΔH)` in the encoder, `V' = V + φ(E A) B` in the decoder",
         "outputs and gradients of the released BART and T5 code, naive loops, the published counts"),
        ("middleX", "a gate per token, `s σ((X + H + ΔH) w)`", "the same"),
        ("middleY", "a gate per channel, `s (1 + z)`", "the same"),
        ("small", "a gate per sample, `s mean σ([X; H + ΔH] w)`", "the same"))),
    ("bottleneck r=96", "bottleneck", {"spans": ["attn", "mlp", "cross"]}, ["norms"], "`H' = H + φ(H D) U` after every sub-layer, norms",
     "naive loops, the published count", False),
    ("Compacter r=96", "compacter", {"spans": ["attn", "mlp", "cross"]}, ["norms"], "the same, its matrices sums of `A ⊗ B`",
     "naive loops, the published count", False),
    ("LoRA r=128", "lora", {"rank": 128, "alpha": 32, "dropout": 0.1, "targets": ["q", "v", "cross.q", "cross.v"]}, ["biases"],
     "on q and v of every attention, biases", "`peft`, the published count", False),
    ("BitFit", "bitfit", {}, [], "every bias", "the published count", False),
    ("full", "full", {}, [], "everything", "the published count", False),
)
GROUPS = {
    "natural": ("clothing10", "fruits71"),
    "specialised": ("eurosat10", "plantvillage15", "mednist6"),
    "structured": ("nlvr_count7", "nlvr_xtop8", "omniglot8"),
}


def methods() -> str:
    """The table of methods; trained numbers are counted on the real architecture, without the head."""
    lines = ["| method | what it does | trained on ViT-B/16, no head | folds | checked against |", "|---|---|--:|---|---|"]
    for title, name, fields, update, witness in METHODS:
        lines.append(f"| {title} | {update} | {trained(name, fields):,} | {folds(name, fields)} | {witness} |")
    for title, name, fields, linear, update, witness in CLIP_METHODS:
        where = {("no", "yes"): "linear sites only"}[folds(name, fields), folds(name, linear)]
        lines.append(f"| {title} | {update} | {counted(CLIP, name, fields, []).adapter:,} (CLIP ViT-B/16) | {where} | {witness} |")
    return "\n".join(lines) + "\n"


def vl_methods() -> str:
    """The table of vision-language methods: trained numbers, the projector among them, on the papers' backbones."""
    lines = ["| method | what it does | BART-base | % | T5-base | % | checked against |", "|---|---|--:|--:|--:|--:|---|"]
    for title, name, fields, thaw, update, witness, both in VL_METHODS:
        counts = [counted(backbone, name, fields, thaw) for backbone in VL_BACKBONES[: 1 + both]]
        cells = [f"{count.trainable:,} | {count.percent:.2f}" for count in counts] + ["– | –"] * (not both)
        lines.append(f"| {title} | {update} | {' | '.join(cells)} | {witness} |")
    return "\n".join(lines) + "\n"


def counted(backbone: str, name: str, fields: dict, thaw: list[str]) -> Any:
    import inarch
    from inarch import backbones
    from inarch.methods import method_named

    model = backbones.load(backbone, device="meta", pretrained=False).model
    return inarch.count(inarch.graft(model, method_named(name).parse(fields), thaw=thaw))


def trained(name: str, fields: dict) -> int:
    return counted(BACKBONE, name, fields, ["head"]).without_head


def folds(name: str, fields: dict) -> str:
    """``yes`` or ``no``, found by folding it on a small model; ``nothing to fold`` where the base itself trains."""
    import inarch
    from inarch import backbones
    from inarch.errors import CannotFold
    from inarch.methods import method_named

    method = method_named(name).parse(fields)
    if not method.wanted():
        return "nothing to fold"
    model = inarch.graft(backbones.load("mini-vit", classes=2, pretrained=False).model, method)
    try:
        inarch.merge(model.eval())
    except CannotFold:
        return "no"
    return "yes"


def table(what: str) -> str:
    if what in ("methods", "vl-methods"):
        return methods() if what == "methods" else vl_methods()
    if what.startswith("standing "):
        from scripts.standing import standing

        _, method, *places = what.split()
        return standing([ROOT / place for place in places], method)
    if what.startswith("fitted "):
        from scripts.local_losses import fitted

        _, folder, data = what.split()
        return fitted(ROOT / folder, data)
    from inarch.compare import compare

    folders = [ROOT / path for path in what.split()]
    there = {place.name for folder in folders for place in folder.iterdir()}
    groups = {group: [name for name in members if name in there] for group, members in GROUPS.items()}
    return compare(folders, groups=groups).matrix_markdown()


def filled(text: str) -> str:
    return MARKED.sub(lambda found: found[1] + table(found[2]) + found[4], text)


def documents() -> list[Path]:
    every = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    return [path for path in every if MARKED.search(path.read_text("utf-8"))]


def stale() -> list[str]:
    """Names of the documents whose tables are not what the programs print now."""
    return [path.name for path in documents() if filled(path.read_text("utf-8")) != path.read_text("utf-8")]


def main(words: list[str]) -> int:
    if words == ["--check"]:
        old = stale()
        print(f"stale: {', '.join(old)}; run python scripts/make_tables.py" if old else "tables are current")
        return bool(old)
    for path in documents():
        path.write_text(filled(path.read_text("utf-8")), "utf-8")
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
