"""Makes mini-vit: a 6-layer, 128-wide ViT at 64 px, inherited from a real ViT-Ti/16, trained on eight image sets' training parts.

    loss = CE(head z_cls, y) + 2 |A z_cls - T_cls|^2 + |B z_grid - T_grid|^2      z: student, T: teacher (standardised)

Nothing is chosen on validation data (one run, last epoch); test parts are only hashed, to keep their images out of training. The
weights are written every epoch: half precision, without a head.

    python scripts/pretrain_mini_vit.py --data ../shared/data --cache /tmp/mini-vit-teacher.safetensors
    python scripts/pretrain_mini_vit.py --write-card          # WEIGHTS.md from results/mini-vit/pretrain.json

About 25 minutes on one core; the numbers to expect are in results/mini-vit/pretrain.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mini_vit.card import write_card
from mini_vit.distil import Lesson, lesson, load_teacher, pixels
from mini_vit.inherit import inherit
from mini_vit.probe import probe_digits, probe_part
from mini_vit.sources import SHA256, SIDE, TEACHER, Part, load_parts, sha256, verify
from mini_vit.train import Pool, Settings, Student, head_accuracy, pool, start_maps, train
from safetensors.torch import load_file, save_file
from shipped import ROOT, write_json

from inarch.backbones.torchvision import mend_torchvision
from inarch.preprocess import Preprocess

WEIGHTS = ROOT / "inarch/backbones/weights/mini-vit"
SHAPE: dict[str, Any] = {
    "image_size": SIDE, "patch_size": 8, "hidden_size": 128, "num_hidden_layers": 6, "num_attention_heads": 4,
    "intermediate_size": 512, "layer_norm_eps": 1e-6, "num_labels": 2,
}


def new_model(seed: int) -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(seed)
    return ViTForImageClassification(ViTConfig(**SHAPE)).eval()


def write_weights(model: Any, out: Path) -> None:
    """The trunk under the hub's names, fp16, without a head; config and preprocessing beside it. Each file appears whole."""
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        trunk = {name: w.half() for name, w in load_file(Path(scratch, "model.safetensors")).items() if name.startswith("vit.")}
        config = json.loads(Path(scratch, "config.json").read_text())
    for key in ("id2label", "label2id", "transformers_version"):
        config.pop(key, None)
    config["dtype"] = "float32"  # stored in half precision, meant to be computed with in single
    out.mkdir(parents=True, exist_ok=True)
    save_file(trunk, out / "model.safetensors.part", metadata={"format": "pt"})
    (out / "model.safetensors.part").chmod(0o644)
    os.replace(out / "model.safetensors.part", out / "model.safetensors")
    write_json(out / "config.json", config)
    write_json(out / "preprocess.json", Preprocess(size=SIDE).to_json())


def teach(folder: Path, cache: Path, data: Pool) -> Lesson:
    """The teacher's features of the pool's images; the cache is keyed by their bytes and the teacher's."""
    key = hashlib.sha256(SHA256[TEACHER].encode() + data.images.tobytes()).hexdigest()
    return lesson(load_teacher(folder, 224), data.images, cache, key)


def born(folder: Path, parts: list[Part], data: Pool, taught: Lesson, seed: int) -> Student:
    """A student that starts from the squeezed teacher; 20 plain images of each set show it what activations look like."""
    student = Student(new_model(seed), sum(part.classes for part in parts))
    sample = pixels(np.concatenate([data.images[own[:20].numpy(), 0] for own in data.members]))
    inherit(student.model, load_teacher(folder, 2 * SIDE), sample)
    start_maps(student, data, taught)
    return student


def measured(student: Student, parts: list[Part], out: Path, seed: int) -> dict[str, Any]:
    """Validation accuracies of the weights as written, in percent."""
    from transformers import ViTForImageClassification

    written = ViTForImageClassification.from_pretrained(out, num_labels=2).eval()
    student.model = written
    first = np.cumsum([0] + [part.classes for part in parts])
    models = {"mini_vit": written, "random_init": new_model(seed)}
    return {
        "head_val_accuracy": {p.source.name: head_accuracy(student, p, int(k)) for p, k in zip(parts, first, strict=False)},
        "probe_val_accuracy": {p.source.name: probe_part(models, p) for p in parts},
        "probe_digits_test_accuracy_unseen": probe_digits(models),
    }


def conditions(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Everything that has to be the same for the same weights to come out."""
    import timm
    import transformers

    flags = f"--epochs {args.epochs} --seed {args.seed} --threads {args.threads}"
    libraries = {module.__name__: module.__version__ for module in (torch, transformers, timm)}
    processor = f"{os.cpu_count()}-core {platform.machine()} CPU ({torch.backends.cpu.get_cpu_capability()})"
    return {
        "command": f"python scripts/pretrain_mini_vit.py {flags} --data DIR --cache FILE",
        "settings": asdict(settings),
        "data_sha256": SHA256,
        "versions": {"python": platform.python_version(), **libraries},
        "hardware": f"{processor}, threads used: {args.threads}",
    }


def pretrain(args: argparse.Namespace) -> dict[str, Any]:
    """Data, lesson, birth, training, measurement: the record of the run."""
    start, settings = time.monotonic(), Settings(epochs=args.epochs, seed=args.seed)
    cached = args.cache.is_file()
    verify(args.data)
    parts = load_parts(args.data, settings.seed)
    data = pool(parts, settings)
    taught = teach(args.data, args.cache, data)
    student = born(args.data, parts, data, taught, settings.seed)
    losses = train(student, data, taught, settings, lambda: write_weights(student.model, args.out))
    weights = args.out / "model.safetensors"
    return {
        **conditions(args, settings),
        "sets_seen": [part.source.name for part in parts],
        "train_images": {part.source.name: len(part.x_train) for part in parts},
        "loss_per_epoch": [round(loss, 4) for loss in losses],
        **measured(student, parts, args.out, settings.seed),
        "parameters": sum(w.numel() for w in load_file(weights).values()),
        "bytes": weights.stat().st_size,
        "weights_sha256": sha256(weights),
        "wall_seconds": round(time.monotonic() - start),
        "teacher_features": "teacher features from the cache, not included" if cached else "teacher features included",
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    record = ROOT / "results/mini-vit/pretrain.json"
    add = partial(parser.add_argument, type=Path)
    add("--data", default=ROOT.parent / "shared/data", metavar="DIR", help="folder with the .npz files and the teacher")
    add("--out", default=WEIGHTS, metavar="DIR", help="where the weights go")
    add("--record", default=record, metavar="FILE", help="where the numbers go")
    add("--cache", default=Path("mini-vit-teacher.safetensors"), metavar="FILE", help="teacher features, made once (180 MB)")
    add("--epochs", type=int, default=Settings.epochs)
    add("--seed", type=int, default=Settings.seed)
    add("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--write-card", action="store_true", help="only write WEIGHTS.md and origin.json from the record")
    return parser.parse_args()


def quiet() -> None:
    """No bar of transformers for each epoch's file."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def main() -> None:
    args = arguments()
    if not args.write_card:
        torch.set_num_threads(args.threads)
        mend_torchvision()
        quiet()
        record = pretrain(args)
        write_json(args.record, record)
        json.dump(record, sys.stdout, indent=2)
    record = json.loads(args.record.read_text())
    if args.out == WEIGHTS:  # a trial elsewhere is no news about the weights that ship
        write_card(record, ROOT / "WEIGHTS.md")
    write_json(args.out / "origin.json", {"licence": "Apache-2.0", "sets_seen": record["sets_seen"], "sha256": record["weights_sha256"]})


if __name__ == "__main__":
    main()
