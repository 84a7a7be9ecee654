"""The first table: linear probe, LoRA and ARC on a real ViT-Tiny and five real sets, three seeds each.

    python scripts/first_table.py --data ../shared/data --out runs/vit-tiny --results results/vit-tiny

Per method and set: ``LRS`` are tried once (seed 42, train part only, chosen on the validation part alone, the test part unread);
the chosen one is run with three seeds on train + val and scored on the test part after its last epoch. Every method has the same
number of trials, the same images, size and epochs. Finished runs are kept, a stopped one is resumed: start it again at any time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from inarch.cli import main

SETS = ("clothing10", "eurosat10", "nlvr_count7", "nlvr_xtop8", "omniglot8")
WEIGHTS = "vit_tiny_patch16_224_augreg_in21k_ft_in1k.safetensors"
LRS = ("1e-2", "3e-3", "1e-3")
METHODS = {  # flags; ARC's bottleneck dropout is that of its released scripts
    "linear": ([], LRS),
    "lora": (["--set", "rank=8"], LRS),
    "arc": (["--set", "rank=50", "--set", "dropout=0.1"], LRS),
}
SEEDS = (0, 1, 2)


def run(folder: Path, flags: list[str]) -> dict:
    """The result of ``inarch train`` with these flags: kept, resumed, or made now."""
    result = folder / "result.json"
    if not result.exists():
        again = (folder / "run.json").exists()
        sys.argv = ["inarch", "train", *(["--resume", str(folder)] if again else [*flags, "--out", str(folder)])]
        print(" ".join(sys.argv), flush=True)
        if code := main(sys.argv[1:]):
            sys.exit(code)
    return json.loads(result.read_text())


def flags(data: Path, name: str, method: str, lr: str, seed: int, size: int, epochs: int) -> list[str]:
    return ["--data", str(data / f"{name}.npz"), "--backbone", f"timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k@{data / WEIGHTS}",
            "--method", method, *METHODS[method][0], "--image-size", str(size), "--resize", "squash", "--epochs", str(epochs),
            "--lr", lr, "--seed", str(seed), "--threads", "1", "--no-report", "--no-tensorboard"]


def study(args: argparse.Namespace, name: str, method: str) -> None:
    """Choose the learning rate on the validation part, then run the seeds; copies what is kept into ``--results``."""
    trials: dict[str, float] = {}
    for lr in METHODS[method][1]:
        folder = args.out / name / f"{method}-try-lr{lr}"
        tried = run(folder, [*flags(args.data, name, method, lr, 42, args.size, args.epochs), "--no-test"])
        trials[lr] = tried["metrics"]["val"]["accuracy"]
        keep(folder, args.results.with_name(f"{args.results.name}-trials") / name / f"{method}-lr{lr}.json")
    best = max(trials, key=lambda lr: trials[lr])
    for seed in SEEDS:
        folder = args.out / name / f"{method}-seed{seed}"
        run(folder, [*flags(args.data, name, method, best, seed, args.size, args.epochs), "--fit", "train+val"])
        keep(folder, args.results / name / f"{method}-seed{seed}.json")


def keep(folder: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "result.json", target)


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
        for each in METHODS:
            study(chosen, one, each)
