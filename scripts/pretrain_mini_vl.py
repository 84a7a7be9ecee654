"""Makes mini-vl, eyes and language, from nothing but rendered scenes: plain pictures, questions, captions, comparisons.

    1  eyes       a small ResNet learns cell by cell what lies where
    2  together   eyes and a small BART learn to answer, describe and compare; every weight trains
    3  measured   the weights as written, on fresh plain scenes and on the styles that were never shown

One run, last step; pilots on other scenes settled its length and how varied the plain pictures are. No handwritten digit, no
photograph and no text of anybody is used.

    OMP_NUM_THREADS=1 python scripts/pretrain_mini_vl.py --scratch DIR      a stopped run goes on from DIR
    python scripts/pretrain_mini_vl.py --measure                            only measures the weights that are there again
    python scripts/pretrain_mini_vl.py --write-card                         its section of WEIGHTS.md from the record

About 40 minutes on one shared core; the numbers to expect are in results/mini-vl/pretrain.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mini_vl.card import write_section
from mini_vl.lessons import CAPTIONED, COMPARED, CYCLE, PER_SCENE, SCENES, pool
from mini_vl.measure import SEED, measured
from mini_vl.train import MiniVL, Settings, train_eyes, train_together
from mini_vl.write import read_back, write
from shipped import ROOT, commit, write_json

from inarch.backbones.torchvision import mend_torchvision

WEIGHTS = ROOT / "inarch/backbones/weights/mini-vl"
RECORD = ROOT / "results/mini-vl/pretrain.json"


def pretrain(args: argparse.Namespace) -> dict[str, Any]:
    """Data, two stages, weights, measurement: the record of the run."""
    start, settings = time.monotonic(), settings_of(args)
    args.scratch.mkdir(parents=True, exist_ok=True)
    data = pool(settings.pictures, settings.seed)
    torch.manual_seed(settings.seed)
    whole = MiniVL()
    losses = {"eyes": train_eyes(whole, data, settings, args.scratch / "eyes.safetensors")}
    losses["together"] = train_together(whole, data, settings, args.scratch / "together.safetensors")
    written = write(whole, args.out)
    seconds = round(time.monotonic() - start)
    return {
        **conditions(args, settings), "weights": written, "loss": losses, "wall_seconds_training": seconds,
        **measurement(whole, args.out),
    }


def measurement(whole: MiniVL, folder: Path) -> dict[str, Any]:
    """Of the numbers that were written, half precision and all."""
    where = f"scenes:STYLE@{SEED}, test part, the weights as written, greedy"
    return {"vocabulary": len(whole.model.tokenizer), "measured_on": where, **measured(read_back(whole, folder))}


def measured_again(args: argparse.Namespace) -> dict[str, Any]:
    """The record with what its weights answer now; ``cells`` is kept, as the heads of the eyes are not in the files."""
    record = json.loads(args.record.read_text())
    found = measurement(MiniVL(), args.out)
    return record | found | {"cells": record["cells"]}


def settings_of(args: argparse.Namespace) -> Settings:
    return Settings(seed=args.seed, pictures=args.pictures, eye_steps=args.eye_steps, steps=args.steps)


def conditions(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Everything that has to be the same for the same weights to come out."""
    import numpy
    import transformers

    flags = " ".join(f"--{name.replace('_', '-')} {getattr(args, name)}" for name in ("seed", "pictures", "eye_steps", "steps", "threads"))
    processor = f"{os.cpu_count()}-core {platform.machine()} CPU ({torch.backends.cpu.get_cpu_capability()})"
    return {
        "command": f"OMP_NUM_THREADS={args.threads} python scripts/pretrain_mini_vl.py {flags} --scratch DIR",
        "commit": commit(["inarch/scenes", "scripts/mini_vl", "scripts/pretrain_mini_vl.py"]),
        "settings": asdict(settings),
        "data": {"pictures": settings.pictures, "style": "plain", "lessons": dict(Counter(CYCLE)), "pictures_per_lesson":
                 {"vqa": SCENES, "caption": CAPTIONED, "nlvr": COMPARED}, "questions_per_picture": PER_SCENE},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
                     "numpy": numpy.__version__},
        "hardware": f"{processor}, threads used: {args.threads}",
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WEIGHTS, metavar="DIR", help="where the weights go; the eyes go beside it")
    parser.add_argument("--record", type=Path, default=RECORD, metavar="FILE", help="where the numbers go")
    parser.add_argument("--scratch", type=Path, default=Path("mini-vl-scratch"), metavar="DIR", help="where a stopped run goes on from")
    for name, value, what in (
        ("seed", Settings.seed, "of scenes, pictures, lessons and first weights"), ("pictures", Settings.pictures, "drawn once"),
        ("eye-steps", Settings.eye_steps, "of the first stage"), ("steps", Settings.steps, "of the second"), ("threads", 1, "of torch"),
    ):
        parser.add_argument(f"--{name}", type=int, default=value, help=what)
    parser.add_argument("--measure", action="store_true", help="only measure the weights in --out again, into the record")
    parser.add_argument("--write-card", action="store_true", help="only write the section of WEIGHTS.md from the record")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if not args.write_card:
        torch.set_num_threads(args.threads)
        mend_torchvision()
        record = measured_again(args) if args.measure else pretrain(args)
        write_json(args.record, record)
        json.dump(record, sys.stdout, indent=2)
    if args.out == WEIGHTS:  # a trial elsewhere is no news about the weights that ship
        write_section(json.loads(args.record.read_text()), ROOT / "WEIGHTS.md")


if __name__ == "__main__":
    main()
