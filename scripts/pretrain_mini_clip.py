"""Makes mini-clip: two small towers, contrastively pre-trained on named pictures of six image sets and on plain rendered ones.

    s[i, j] = exp(t) cos(f(image i), g(text j));     each picture is to find its text in the batch, and each text its picture
The image tower starts from mini-vit. Things are only shown in the style ``plain``; the other styles are for adaptation. Test parts and
novel emoji are only hashed, to keep their images out of training; the novel emoji are named once, when the weights are written.

    python scripts/pretrain_mini_clip.py --data ../shared/data --device cuda        a few minutes on a GPU
    python scripts/pretrain_mini_clip.py --measure                                  only measures the weights that are there again
    python scripts/pretrain_mini_clip.py --write-card                               its section of WEIGHTS.md from the record

The numbers to expect are in results/mini-clip.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mini_clip.augment import Change
from mini_clip.card import write_section
from mini_clip.drawn import drawn
from mini_clip.measure import SEED, measured
from mini_clip.model import inherit, new_model
from mini_clip.sources import HASHES, Named, load_named, squashed
from mini_clip.train import Pool, Settings, Shown, train
from mini_clip.words import FRAMES, TEMPLATES, read_tokenizer, train_tokenizer
from safetensors.torch import load_file
from shipped import ROOT, commit, halve, recorded, tidy, write_json

from inarch.backbones.torchvision import mend_torchvision
from inarch.preprocess import Preprocess

WEIGHTS = ROOT / "inarch/backbones/weights/mini-clip"
VIT = WEIGHTS.with_name("mini-vit")
RECORD = ROOT / "results/mini-clip.json"
PHOTO, TURNED = Change(0.5, 0.35, 0.2, 0.1), Change(0.5, 0.35, 3.14, 0.1)
SHARES = {  # of a batch, and what leaves a picture's name true
    "clothing10": (0.07, PHOTO), "fruits71": (0.09, TURNED), "eurosat10": (0.06, TURNED), "omniglot8": (0.04, Change(0, 0.3, 0.2, 0.15)),
    "emoji3": (0.26, Change(0, 0.3, 0.2, 0.15)), "easy_vqa": (0.06, Change(0.5, 0.2, 0.2, 0.2)),
    "things": (0.24, Change(0.0, 0.1, 0.1, 0.05)), "digits": (0.07, Change(0, 0.1, 0.1, 0.05)), "scenes": (0.11, Change()),
}
RENDERED = {"things": 0.4, "digits": 0.2, "scenes": 0.4}  # of all rendered pictures


def shown(sets: list[Named], settings: Settings, workers: int) -> list[Shown]:
    """Everything that is trained on, with its texts."""
    found = [Shown(one.name, squashed(one.part.x_train), called(one), *SHARES[one.name]) for one in sets]
    counts = {kind: round(settings.pictures * share) for kind, share in RENDERED.items()}
    pictures = drawn(counts, settings.seed, workers)
    return found + [Shown(kind, *pictures[kind], *SHARES[kind], described=kind == "scenes") for kind in pictures]


def called(one: Named) -> list[tuple[str, ...]]:
    return [(one.names[label],) for label in one.part.y_train]


def texts_of(everything: list[Shown]) -> set[str]:
    return {text for one in everything for texts in one.texts for text in texts}


def pretrain(args: argparse.Namespace) -> dict[str, Any]:
    """Data, words, towers, training, weights, measurement: the record of the run."""
    start, settings = time.monotonic(), settings_of(args)
    sets = load_named(args.data, settings.seed)
    everything = shown(sets, settings, args.workers)
    tokenizer = read_tokenizer(args.tokenizer) if args.tokenizer else train_tokenizer(texts_of(everything) | {*TEMPLATES, *FRAMES})
    model = new_model(len(tokenizer), settings.seed)
    if settings.start != "none":
        inherit(model, load_file(VIT / "model.safetensors"))
    model.to(args.device)
    losses = train(model, Pool(everything, tokenizer, settings.batch, args.device), settings)
    written = write(model, tokenizer, args.out, [one.name for one in sets])
    seconds = round(time.monotonic() - start)
    return {
        **conditions(args, settings), "weights": written, "pieces": len(tokenizer),
        "images": {one.name: len(one.images) for one in everything},
        "names": {one.name: sorted(texts_of([one])) for one in everything if not one.described},
        "sets_seen": json.loads((args.out / "origin.json").read_text())["sets_seen"],
        "logit_scale": round(float(model.logit_scale.exp()), 2), "loss": losses, "wall_seconds_training": seconds,
        **measurement(args, sets),
    }


def measurement(args: argparse.Namespace, sets: list[Named]) -> dict[str, Any]:
    return {"things_measured_on": f"things:STYLE@{SEED}, validation part", "zero_shot": measured(args.out, sets, args.data, args.device)}


def measured_again(args: argparse.Namespace) -> dict[str, Any]:
    record = json.loads(args.record.read_text())
    return record | measurement(args, load_named(args.data, record["settings"]["seed"]))


def write(model: Any, tokenizer: Any, folder: Path, seen: list[str]) -> dict[str, Any]:
    """A plain transformers folder in half precision, with its tokenizer and preprocessing."""
    model.cpu().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    halve(folder / "model.safetensors")
    tidy(folder / "config.json")
    write_json(folder / "preprocess.json", Preprocess(size=64).to_json())
    before = json.loads((VIT / "origin.json").read_text())["sets_seen"]
    sets = list(dict.fromkeys([*seen, *before, "things:plain", "scenes:plain"]))
    return recorded(folder, {"licence": "Apache-2.0", "sets_seen": sets, "derived_from": "mini-vit"})


def settings_of(args: argparse.Namespace) -> Settings:
    return Settings(seed=args.seed, pictures=args.pictures, steps=args.steps, batch=args.batch, start=args.start)


def conditions(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Everything that has to be the same for the same weights to come out."""
    import numpy
    import tokenizers
    import transformers

    flags = " ".join(f"--{name} {getattr(args, name)}" for name in ("seed", "pictures", "steps", "batch", "start"))
    libraries = {module.__name__: module.__version__ for module in (torch, transformers, tokenizers, numpy)}
    place = torch.cuda.get_device_name() if args.device.type == "cuda" else f"{os.cpu_count()}-core {platform.machine()} CPU"
    return {
        "command": f"python scripts/pretrain_mini_clip.py {flags} --device {args.device} --data DIR",
        "commit": args.commit or commit(["inarch/scenes", "scripts/mini_clip", "scripts/pretrain_mini_clip.py"]),
        "settings": asdict(settings),
        "shares": {name: share for name, (share, _) in SHARES.items()},
        "data_sha256": HASHES,
        "versions": {"python": platform.python_version(), **libraries},
        "hardware": place,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data", metavar="DIR", help="folder with the .npz files")
    parser.add_argument("--out", type=Path, default=WEIGHTS, metavar="DIR", help="where the weights go")
    parser.add_argument("--record", type=Path, default=RECORD, metavar="FILE", help="where the numbers go")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--start", choices=("mini-vit", "none"), default=Settings.start, help="what the image tower starts from")
    for name, value, what in (
        ("seed", Settings.seed, "of pictures, batches and first weights"), ("pictures", Settings.pictures, "rendered"),
        ("steps", Settings.steps, "of training"), ("batch", Settings.batch, "pictures a step"), ("workers", os.cpu_count(), "that draw"),
    ):
        parser.add_argument(f"--{name}", type=int, default=value, help=what)
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="use the one there: a new one differs by chance in a few pieces")
    parser.add_argument("--commit", default="", help="what to record where the script runs without its repository")
    parser.add_argument("--measure", action="store_true", help="only measure the weights in --out again, into the record")
    parser.add_argument("--write-card", action="store_true", help="only write the section of WEIGHTS.md from the record")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if not args.write_card:
        mend_torchvision()
        record = measured_again(args) if args.measure else pretrain(args)
        write_json(args.record, record)
        json.dump(record["zero_shot"], sys.stdout, indent=2)
    if args.out == WEIGHTS:  # a trial elsewhere is no news about the weights that ship
        write_section(json.loads(args.record.read_text()), ROOT / "WEIGHTS.md")


if __name__ == "__main__":
    main()
