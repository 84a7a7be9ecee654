"""The first table: linear probe, LoRA and ARC on a real ViT-Tiny and five real sets, three seeds each.

    python scripts/first_table.py --data ../shared/data --out runs/vit-tiny --results results/vit-tiny

The protocol is that of scripts/study.py: three rates per method and set, chosen on validation, then three seeds on train + val.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from study import Entry, Study

SETS = ("clothing10", "eurosat10", "nlvr_count7", "nlvr_xtop8", "omniglot8")
WEIGHTS = "vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors"
LRS = ("1e-2", "3e-3", "1e-3")
ENTRIES = (  # ARC's bottleneck dropout is that of its released scripts
    Entry("linear", ("--method", "linear"), LRS),
    Entry("lora", ("--method", "lora", "--set", "rank=8"), LRS),
    Entry("arc", ("--method", "arc", "--set", "rank=50", "--set", "dropout=0.1"), LRS),
)


def study(args: argparse.Namespace) -> Study:
    def common(name: str) -> list[str]:
        return ["--data", str(args.data / f"{name}.npz"), "--image-size", str(args.size), "--resize", "squash",
                "--backbone", f"timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k@{args.data / WEIGHTS}", "--epochs", str(args.epochs),
                "--threads", "1", "--no-report", "--no-tensorboard"]

    return Study(args.out, args.results, common, lambda val: val["accuracy"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the .npz sets and the weights")
    parser.add_argument("--out", type=Path, default=Path("runs/vit-tiny"))
    parser.add_argument("--results", type=Path, default=Path("results/vit-tiny"))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--sets", nargs="+", default=SETS)
    return parser.parse_args()


if __name__ == "__main__":
    chosen = arguments()
    for one in chosen.sets:
        for entry in ENTRIES:
            study(chosen).run(one, entry)
