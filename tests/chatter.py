"""A tiny talking backbone, image features and image-text data on disk, for runs of a fraction of a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from inarch.recipe import Recipe

COLOURS = ("red", "green", "blue", "pale red")
WORDS = [*"vqa gpa nlvr caption : ? what colour is this the a square on left of both true false yes no pale red green blue dark".split()]
WIDTH, GRID = 6, 4
SIZES = {"train": 22, "val": 7, "test": 9}


def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Word by word; ``<s> ... </s>`` as BART has it, ``... </s>`` as T5."""
    special = ["<s>", "<pad>", "</s>", "<unk>"] if kind == "bart" else ["<pad>", "</s>", "<unk>"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    single = "<s> $A </s>" if kind == "bart" else "$A </s>"
    words.post_processor = processors.TemplateProcessing(single=single, special_tokens=[(s, vocabulary[s]) for s in special])
    more = {"bos_token": "<s>"} if kind == "bart" else {}
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", **more)


def save_backbone(folder: Path, kind: str = "bart", dropout: float = 0.1) -> str:
    """A random BART or T5 of width 16 with its tokenizer; returns its address."""
    words = tokenizer(kind)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        if kind == "bart":
            shape = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
                     "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64, "dropout": dropout, "init_std": 0.2}
            model: Any = BartForConditionalGeneration(BartConfig(
                vocab_size=len(words), pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
                forced_eos_token_id=2, **shape))
        else:
            shape = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 2, "num_heads": 2, "dropout_rate": dropout}
            model = T5ForConditionalGeneration(T5Config(vocab_size=len(words), pad_token_id=0, eos_token_id=1,
                                                        decoder_start_token_id=0, **shape))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return f"vl:{folder}"


def save_features(folder: Path, found: dict[str, torch.Tensor]) -> str:
    """A file per image, as the published features are."""
    import h5py

    for image, grid in found.items():
        path = folder / f"{image}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file[f"{image}/features"] = grid.numpy()
    return str(folder)


def grids(images: dict[str, int]) -> dict[str, torch.Tensor]:
    """The number of an image's colour, loud in the noise."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for image, colour in images.items():
        found[image] = 0.3 * torch.randn(GRID, WIDTH, generator=generator)
        found[image][:, colour % WIDTH] += 2
    return found


def write_lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def own_questions(folder: Path, answers: bool = True) -> tuple[str, dict[str, int]]:
    """``qa.jsonl`` with one question per image; returns its address and every image's colour."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    rng, rows, images = np.random.default_rng(0), [], {}
    for part, count in SIZES.items():
        for i in range(count):
            name, colour = f"{part}{i}.png", int(rng.integers(3))
            pixels = rng.integers(0, 90, (8, 8, 3))
            pixels[..., colour] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            images[name] = colour
            said = {COLOURS[colour]: 1.0, COLOURS[3]: 0.3} if i % 4 == 0 and part == "train" else {COLOURS[colour]: 1.0}
            question = "what colour is this ?" if i % 2 else "what colour is the square on the left ?"
            rows.append({"image": name, "question": question, "answers": said, "split": part, "group": "long" if i % 2 == 0 else "short"})
    return write_lines(folder / "qa.jsonl", rows), images


def published(root: Path) -> dict[str, int]:
    """VQAv2, GQA, NLVR2 and COCO captions, tiny, in their published files below ``root``; returns every image's colour."""
    rng = np.random.default_rng(3)
    colours: dict[str, int] = {}

    def image(name: str) -> str:
        colours[name] = int(rng.integers(3))
        return name

    def put(name: str, rows: Any) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(rows))

    _vqa(put, image, colours)
    for part, count in (("train", 9), ("valid", 4), ("testdev", 5)):
        rows = [{"question_id": f"g{part}{i}", "img_id": image(f"{part}{i}g"), "sent": "what colour is this ?"} for i in range(count)]
        put(f"GQA/{part}.json", [row | {"label": {COLOURS[colours[row["img_id"]]]: 1.0}} for row in rows])
    for part, count in (("train", 7), ("valid", 3), ("test", 4)):
        rows = [{"uid": f"n{part}{i}", "identifier": f"{part}-{i}", "img0": image(f"{part}-{i}-img0"), "img1": image(f"{part}-{i}-img1"),
                 "sent": "both of the square is red", "label": i % 2} for i in range(count)]
        put(f"nlvr/{part}.json", rows)
    return colours


def _vqa(put: Any, image: Any, colours: dict[str, int]) -> None:
    pictures, annotations, questions = [], [], []
    for part, count in (("train", 11), ("val", 4), ("test", 5)):
        rows = []
        for i in range(count):
            name, key = image(f"COCO_val2014_{part}{i}"), len(annotations)
            answer = COLOURS[colours[name]]
            rows.append({"question_id": key, "img_id": name, "sent": "what colour is this ?", "label": {answer: 1.0, "dark": 0.3},
                         "answer_type": "other", "question_type": "what colour"})
            annotations.append({"question_id": key, "image_id": key, "question_type": "what colour", "answer_type": "other",
                                "multiple_choice_answer": answer,
                                "answers": [{"answer": answer if k else "dark", "answer_confidence": "yes", "answer_id": k + 1}
                                            for k in range(10)]})
            questions.append({"question_id": key, "image_id": key, "question": "what colour is this ?"})
            pictures.append({"filename": f"{name}.jpg", "filepath": "val2014", "split": part, "imgid": key, "cocoid": key,
                             "sentids": [3 * key, 3 * key + 1],
                             "sentences": [{"raw": f"a {answer} square", "sentid": 3 * key, "imgid": key, "tokens": ["a"]},
                                           {"raw": f"the square is {answer}", "sentid": 3 * key + 1, "imgid": key, "tokens": ["a"]}]})
        put(f"vqa/karpathy_{part}.json", rows)
    put("vqa/v2_mscoco_train2014_annotations.json", {"annotations": []})
    put("vqa/v2_mscoco_val2014_annotations.json", {"annotations": annotations})
    put("COCO/dataset_coco.json", {"images": pictures, "dataset": "coco"})


class Chatter:
    """Backbone, data, features and recipes in ``folder``."""

    def __init__(self, folder: Path, kind: str = "bart") -> None:
        self.folder, self.backbone = folder, save_backbone(folder / kind, kind)
        self.data, colours = own_questions(folder / "own")
        self.root = folder / "published"
        self.features = save_features(folder / "grids", grids(colours | published(self.root)))

    def recipe(self, out: Path | str, **changes: Any) -> Recipe:
        """VL-PET of small rank for two epochs on one's own questions; ``changes`` override any field."""
        fields = {"data": self.data, "features": self.features, "backbone": self.backbone, "method": "vlpet",
                  "set": {"rank": 4, "gate_rank": 4, "value_rank": 4},
                  "out": str(out), "epochs": 2, "batch_size": 8, "lr": 0.02, "eval_batch_size": 4, "tensorboard": False, "report": False,
                  "device": "cpu", "visual_tokens": 0}
        if changes.get("method", "vlpet") != "vlpet":
            fields["set"] = {}
        return Recipe.parse(fields | changes)
