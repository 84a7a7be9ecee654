"""Real questions about pictures: VL-PET's four variants and the baselines of its table on VQA-RAD and easy-VQA, three seeds each.

    python scripts/pretrain_small_bart.py --data ../shared/data --out runs/small-bart
    python scripts/vqa_table.py --data ../shared/data --language runs/small-bart

Visual tokens come from a real ImageNet ViT-Tiny, the language model is the small BART that the first command pre-trains on text.
The protocol is that of scripts/study.py: two rates per method, chosen on the validation part of easy-VQA and used for both sets (200
validation questions of VQA-RAD would choose by chance), then three seeds on the training part.
Widths follow the paper's reduction factor of 8 (LoRA: the same sixth of the width); every method trains the projector.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from study import Entry, Study

WEIGHTS = "vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors"
LRS = ("5e-3", "1e-3")


def vlpet(gate: str) -> Entry:
    return Entry(f"vlpet-{gate}", ("--method", "vlpet", *(f"--set={name}=16" for name in ("rank", "gate_rank", "value_rank")),
                                   "--set", f"gate={gate}"), LRS)


ENTRIES = (
    vlpet("large"),
    Entry("bottleneck", ("--method", "bottleneck", "--set", "rank=16", "--set", "spans=attn,mlp,cross", "--thaw", "norms"), LRS),
    Entry("lora", ("--method", "lora", "--set", "rank=21", "--set", "targets=q,v,cross.q,cross.v", "--set", "dropout=0.1",
                   "--thaw", "biases"), LRS),
    Entry("bitfit", ("--method", "bitfit", "--thaw", ""), LRS),
    Entry("frozen", ("--method", "frozen", "--thaw", ""), LRS),
    vlpet("small"), vlpet("middleX"), vlpet("middleY"),
)
SETS = {  # size of the pictures, visual tokens (4 x 4; 14 x 14 pooled to 4 x 4), epochs, training and watched examples (0: all)
    "easy_vqa": ("64", "16", "4", "2000", "500"),
    "vqa_rad": ("224", "16", "3", "0", "0"),
}


def study(args: argparse.Namespace) -> Study:
    def common(name: str) -> list[str]:
        size, tokens, epochs, limit, watch = SETS[name]
        return ["--data", str(args.data / f"{name}.npz"), "--backbone", f"vl:{args.language}", "--image-size", size,
                "--tower", f"timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k@{args.data / WEIGHTS}", "--visual-tokens", tokens,
                "--epochs", epochs, "--limit", limit, "--watch", watch, "--batch-size", "32",
                "--schedule", "linear", "--clip", "5", "--weight-decay", "0.01", "--decay", "no-bias",
                "--threads", "1", "--no-report", "--no-tensorboard"]

    return Study(args.out, args.results, common, lambda val: val["exact_match"], final=())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz sets and the weights")
    parser.add_argument("--language", type=Path, default=Path("runs/small-bart"))
    parser.add_argument("--out", type=Path, default=Path("runs/vqa"))
    parser.add_argument("--results", type=Path, default=Path("results/vqa"))
    parser.add_argument("--sets", nargs="+", default=SETS)
    return parser.parse_args()


if __name__ == "__main__":
    chosen = arguments()
    first, *others = chosen.sets
    for entry in ENTRIES:
        rate = study(chosen).run(first, entry)
        for one in others:
            study(chosen).run(one, replace(entry, rates=(rate,)))
