"""Tiny image-text data sets, written in the formats in which the eight published ones come: same folders, files and keys.

    write_image_text(root)      VQAv2, GQA, NLVR2, COCO captions, each with pictures
    write_video_text(root)      TVQA, How2QA, TVC, YC2C, each with subtitles and frame features

``sizes`` are questions, sentences or images per part. Answers can be seen: a picture shows one square of one colour.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200), "yellow": (220, 200, 40)}
NAMES = tuple(COLOURS)
SIZES = {"train": 6, "val": 2, "test": 2}
SHOWS = ("The Big Bang Theory", "Friends")
SAID = ("hello there.", "Look at this!", "I see it now.")


def colour_of(number: int) -> str:
    return NAMES[number % len(NAMES)]


def picture(number: int, side: int = 32) -> Image.Image:
    """A square on grey: its colour repeats every four pictures, its place tells them apart."""
    pixels = np.full((side, side, 3), 128, dtype=np.uint8)
    x, y = 2 + number % 7, 2 + number // 7 % 7
    pixels[y : y + 14, x : x + 14] = COLOURS[colour_of(number)]
    pixels[-1, -1] = number % 256, number // 256 % 256, 0
    return Image.fromarray(pixels)


def save(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number).save(path)


def dump(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def dump_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def numbered(sizes: dict[str, int]) -> dict[str, range]:
    """Running numbers per part, no number twice."""
    found, at = {}, 0
    for part, size in sizes.items():
        found[part] = range(at, at + size)
        at += size
    return found


def coco_name(part: str, number: int) -> str:
    """Karpathy's validation and test images come from COCO's val2014."""
    return f"COCO_{'train' if part == 'train' else 'val'}2014_{number:012d}"


def save_coco(root: Path, part: str, number: int) -> None:
    name = coco_name(part, number)
    save(root / "COCO/images" / name.split("_")[1] / f"{name}.jpg", number)


def write_vqa(root: Path, sizes: dict[str, int] = SIZES, pictures: bool = True) -> Path:
    """``vqa/karpathy_*.json`` in LXMERT's form, the official annotations, and the answer tables of the released code."""
    official: dict[str, list[dict[str, Any]]] = {"train2014": [], "val2014": []}
    for part, numbers in numbered(sizes).items():
        rows = []
        for n in numbers:
            name, colour, question = coco_name(part, n), colour_of(n), 1000 * n + 1
            label = {colour: 1.0} if n % 2 else {colour: 0.9, "dark": 0.3}
            rows.append({"answer_type": "other", "img_id": name, "label": label, "question_id": question,
                         "question_type": "what color is the", "sent": f"What color is the square {n}?"})
            official[name.split("_")[1]].append(official_annotation(question, n, ten_answers(n)))
            if pictures:
                save_coco(root, part, n)
        dump(root / f"vqa/karpathy_{part}.json", rows)
    for half, records in official.items():
        dump(root / f"vqa/v2_mscoco_{half}_annotations.json",
             {"info": {"version": "2.0"}, "license": {}, "data_subtype": half, "annotations": records, "data_type": "mscoco"})
    answers = [*NAMES, "dark"]
    dump(root / "vqa/trainval_label2ans.json", answers)
    dump(root / "vqa/trainval_ans2label.json", {answer: i for i, answer in enumerate(answers)})
    return root


def ten_answers(number: int) -> list[str]:
    """All ten agree on odd pictures; on even ones three name the colour, one says dark, and six find words of their own."""
    colour = colour_of(number)
    return [colour] * 10 if number % 2 else [colour] * 3 + ["dark"] + [f"shade {k}" for k in range(6)]


def official_annotation(question: int, image: int, said: list[str]) -> dict[str, Any]:
    answers = [{"answer": answer, "answer_confidence": "yes", "answer_id": k + 1} for k, answer in enumerate(said)]
    return {"question_type": "what color is the", "multiple_choice_answer": said[0], "answers": answers, "image_id": image,
            "answer_type": "other", "question_id": question}


def write_gqa(root: Path, sizes: dict[str, int] = SIZES, pictures: bool = True) -> Path:
    """``GQA/{train,valid,testdev}.json``; the last two of training are its ``valid``, testdev has the size of ``val``."""
    parts = numbered({"train": sizes["train"], "val": sizes["val"]})
    lists = {"train": parts["train"][:-2], "valid": parts["train"][-2:], "testdev": parts["val"]}
    for name, numbers in lists.items():
        rows = [{"img_id": gqa_image(name, n), "label": {colour_of(n): 1.0}, "question_id": f"{n:08d}",
                 "sent": f"Which color is square number {n}?"} for n in numbers]
        dump(root / f"GQA/{name}.json", rows)
        for n in numbers if pictures else ():
            save(root / ("GQA/images" if name == "testdev" else "VG/VG_100K") / f"{gqa_image(name, n)}.jpg", n)
    dump(root / "GQA/trainval_label2ans.json", list(NAMES))
    dump(root / "GQA/trainval_ans2label.json", {answer: i for i, answer in enumerate(NAMES)})
    return root


def gqa_image(name: str, number: int) -> str:
    return f"n{2375400 + number}" if name == "testdev" else str(2375400 + number)


def write_nlvr(root: Path, sizes: dict[str, int] = SIZES, pictures: bool = True) -> Path:
    """``nlvr/{train,valid,test}.json``: sentences about two pictures, true and false in turn."""
    for part, numbers in numbered(sizes).items():
        split = {"train": "train", "val": "dev", "test": "test1"}[part]
        file = {"train": "train", "val": "valid", "test": "test"}[part]
        rows = []
        for n in numbers:
            images = [f"{split}-{n}-0-img{k}" for k in (0, 1)]
            rows.append({"identifier": f"{split}-{n}-0-0", "img0": images[0], "img1": images[1], "label": n % 2,
                         "sent": f"The left square is {colour_of(n if n % 2 else n + 1)} in pair {n}.", "uid": f"nlvr2_{file}_{n}"})
            for k, name in enumerate(images if pictures else ()):
                save(root / f"nlvr/images/{name}.png", n + 1002 * k)
        dump(root / f"nlvr/{file}.json", rows)
    return root


def coco_captions(number: int) -> list[str]:
    colour = colour_of(number)
    return [f"A {colour} square.", f"a picture of a {colour} square", f"{colour} on grey ", f"There is one {colour} square.",
            f"a square that is {colour}"]


def write_caption(root: Path, sizes: dict[str, int] = SIZES, pictures: bool = True) -> Path:
    """``COCO/dataset_coco.json`` in Karpathy's form; the last training image is of his ``restval``, from COCO's val2014."""
    images: list[dict[str, Any]] = []
    for part, numbers in numbered(sizes).items():
        for n in numbers:
            rest = part == "train" and n == numbers[-1]
            name = coco_name("val" if rest else part, n)
            sentences = [{"tokens": text.lower().strip(". ").split(), "raw": text, "imgid": n, "sentid": 10 * n + k}
                         for k, text in enumerate(coco_captions(n))]
            images.append({"filepath": name.split("_")[1], "sentids": [s["sentid"] for s in sentences], "filename": f"{name}.jpg",
                           "imgid": n, "split": "restval" if rest else part, "sentences": sentences, "cocoid": n})
            if pictures:
                save_coco(root, "val" if rest else part, n)
    dump(root / "COCO/dataset_coco.json", {"images": images, "dataset": "coco"})
    return root


def write_image_text(root: Path, sizes: dict[str, int] = SIZES, pictures: bool = True) -> Path:
    """The four image-text tasks below ``root``."""
    for write in (write_vqa, write_gqa, write_nlvr, write_caption):
        write(root, sizes, pictures)
    return root


def clip_name(task: str, number: int) -> str:
    return {"tv": f"s{number + 1:02d}e01_seg02_clip_00", "how2": f"how2_{number}_0_60", "yc2": f"yc2-{number}_10_24"}[task]


def write_clips(root: Path, kind: str, sizes: dict[str, int], width: int) -> None:
    """Subtitles and frame features of as many clips as the parts need; the features of a clip say its number."""
    rows = []
    for n in range(sum(sizes.values())):
        sub = [{"text": f" {text}" if k == 0 else text, "start": 2.0 * k, "end": 2.0 * k + 1.5} for k, text in enumerate(SAID[: 1 + n % 3])]
        rows.append({"vid_name": clip_name(kind, n), "sub": sub})
        if width:
            place = root / f"video/vis_features/{kind}/clip-vit"
            place.mkdir(parents=True, exist_ok=True)
            frames = np.random.default_rng(n).normal(colour_index(n), 1.0, (3 + n, width)).astype(np.float32)
            np.savez(place / f"{clip_name(kind, n)}.npz", features=frames)
    dump_lines(root / f"video/ann/{kind}_subtitles.jsonl", rows)


def colour_index(number: int) -> int:
    return number % len(NAMES)


def question_row(kind: str, number: int, choices: int, labelled: bool) -> dict[str, Any]:
    row: dict[str, Any] = {f"a{k}": f"{NAMES[k % 4]} square {k}." for k in range(choices)}
    row |= {"q": f"What is shown in clip {number}? ", "qid": 100 + number, "ts": f"{number}.5-{number + 3}.25",
            "vid_name": clip_name(kind, number)}
    if kind == "tv":
        row["show_name"] = SHOWS[number % 2]
    return row | ({"answer_idx": number % choices} if labelled else {})


def write_questions(root: Path, task: str, kind: str, choices: int, files: dict[str, str], sizes: dict[str, int], width: int) -> Path:
    for part, numbers in numbered(sizes).items():
        dump_lines(root / f"video/ann/{task}/{task}_{files[part]}.jsonl",
                   [question_row(kind, n, choices, labelled=part != "test") for n in numbers])
    write_clips(root, kind, sizes, width)
    return root


def write_tvqa(root: Path, sizes: dict[str, int] = SIZES, width: int = 16) -> Path:
    return write_questions(root, "tvqa", "tv", 5, {"train": "train", "val": "val", "test": "test_release"}, sizes, width)


def write_how2qa(root: Path, sizes: dict[str, int] = SIZES, width: int = 16) -> Path:
    files = {"train": "train_release", "val": "val_release", "test": "test_public_release"}
    return write_questions(root, "how2qa", "how2", 4, files, sizes, width)


def clip_row(task: str, kind: str, number: int, captions: int) -> dict[str, Any]:
    row: dict[str, Any] = {"vid_name": clip_name(kind, number), "duration": 60.5, "clip_id": 500 + number}
    if task == "tvc":
        row["ts"] = [number + 0.5, 40.9]
    descs = [{"desc": f"A {colour_of(number)} square, told the {k}. time.", "desc_id": 10 * number + k, "type": "v",
              "from_retrieval": k == 0} for k in range(captions)]
    return row | ({"descs": descs} if captions else {})


def write_descriptions(root: Path, task: str, kind: str, captions: dict[str, int], sizes: dict[str, int], width: int) -> Path:
    for part, numbers in numbered(sizes).items():
        dump_lines(root / f"video/ann/{task}/{task}_{part}_release.jsonl", [clip_row(task, kind, n, captions[part]) for n in numbers])
    write_clips(root, kind, sizes, width)
    return root


def write_tvc(root: Path, sizes: dict[str, int] = SIZES, width: int = 16) -> Path:
    return write_descriptions(root, "tvc", "tv", {"train": 2, "val": 4, "test": 0}, sizes, width)


def write_yc2c(root: Path, sizes: dict[str, int] = SIZES, width: int = 16) -> Path:
    return write_descriptions(root, "yc2c", "yc2", {"train": 1, "val": 1, "test": 0}, sizes, width)


def write_video_text(root: Path, sizes: dict[str, int] = SIZES, width: int = 16) -> Path:
    """The four video-text tasks below ``root``; ``width`` 0: without frame features."""
    for write in (write_tvqa, write_how2qa, write_tvc, write_yc2c):
        write(root, sizes, width)
    return root


def write_own(folder: Path, rows: list[dict[str, Any]], images: int = 0, name: str = "own.jsonl") -> Path:
    """One's own JSON lines beside ``images`` pictures ``0.png``, ``1.png``, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(images):
        save(folder / f"{n}.png", n)
    dump_lines(folder / name, rows)
    return folder / name
