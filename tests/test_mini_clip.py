"""mini-clip as it ships: whole, as its record says, able to name what it was shown, and never shown what is held out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch.nn import functional as F

from inarch.backbones import weights_file
from inarch.backbones.torchvision import mend_torchvision
from inarch.scenes import things
from inarch.scenes.styles import style_of

FOLDER = ROOT / "inarch/backbones/weights/mini-clip"


@pytest.fixture(scope="module")
def scripts():
    """The modules of the pre-training."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from mini_clip import card, drawn, sources
        from mini_vit import sources as vit_sources
    finally:
        sys.path.pop(0)
    return {"card": card, "drawn": drawn, "sources": sources, "vit": vit_sources}


@pytest.fixture(scope="module")
def record():
    return json.loads((ROOT / "results/mini-clip.json").read_text())


@pytest.fixture(scope="module")
def towers():
    mend_torchvision()
    from transformers import AutoTokenizer, CLIPModel

    return CLIPModel.from_pretrained(FOLDER, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(FOLDER)


def test_the_weights_are_those_of_the_record(record, scripts) -> None:
    origin = json.loads((FOLDER / "origin.json").read_text())
    assert weights_file.sha256([FOLDER / "model.safetensors"]) == origin["sha256"] == record["weights"]["sha256"]
    assert origin["sets_seen"] == record["sets_seen"] and {"emoji3", "fruits71", "nlvr_count7", "things:plain"} <= set(origin["sets_seen"])
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 6e6
    assert scripts["card"].section(record) in (ROOT / "WEIGHTS.md").read_text()


def test_the_tokenizer_reads_names_as_data_sets_write_them(towers) -> None:
    model, tokenizer = towers
    assert tokenizer("a photo of a AnnualCrop.").input_ids == tokenizer("A photo of a annual_crop.").input_ids
    assert len(tokenizer) == model.config.text_config.vocab_size and tokenizer.model_max_length == 32
    assert tokenizer.unk_token_id in tokenizer("\u5408").input_ids
    assert tokenizer.unk_token_id not in tokenizer("zyx-wvu 1234567890 (quite unheard of)!").input_ids
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 2, 3)
    assert model.config.text_config.eos_token_id == 3


@torch.inference_mode()
def named_rightly(towers, style: str) -> float:
    model, tokenizer = towers
    names = things.names()
    ids = tokenizer([f"a photo of a {name}." for name in names], padding=True, return_tensors="pt")
    texts = F.normalize(model.text_projection(model.text_model(**ids).pooler_output))
    images = np.stack([things.picture(style_of(style), 3, "val", name, number) for name in names for number in range(4)])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    seen = F.normalize(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output))
    return float(((seen @ texts.T).argmax(1) == torch.arange(36).repeat_interleave(4)).float().mean())


@pytest.mark.long
def test_it_names_plain_things_and_half_of_those_on_a_blackboard(towers, record) -> None:
    plain, blackboard = named_rightly(towers, "plain"), named_rightly(towers, "blackboard")
    assert plain > 0.97 and 0.3 < blackboard < 0.8  # by chance: 0.03
    assert blackboard == pytest.approx(record["zero_shot"]["things_val"]["blackboard"]["accuracy"] / 100, abs=0.12)


def emoji_file(folder: Path) -> None:
    """Forty emoji by two vendors; picture 39, a novel one, is drawn by a vendor exactly as base picture 0 is."""
    images = np.random.default_rng(0).integers(0, 255, (2, 40, 64, 64, 3), dtype=np.uint8)
    is_base = (np.arange(40) % 2 == 0).astype(np.int8)
    images[1, 39] = images[0, 0]
    names = [f"{'base' if base else 'novel'} Thing_{k}" for k, base in enumerate(is_base)]
    np.savez(folder / "emoji3.npz", images=images, is_base=is_base, names=np.array(names), category=np.array(["a", "b"] * 20))


def test_novel_names_and_held_out_pictures_never_reach_the_training(tmp_path, scripts) -> None:
    emoji_file(tmp_path)
    sources, vit = scripts["sources"], scripts["vit"]
    source = next(one for one in vit.SOURCES if one.name == "emoji3")
    found = sources.named_emoji(source, tmp_path, 0)
    assert len(found.names) == 20 and all(name.startswith("base thing ") for name in found.names) and len(found.told) == 2
    kept = vit.without(found.part, found.part.held)
    novel, labels, names = sources.novel_emoji(tmp_path)
    held = set(vit.fingerprints(novel)) | set(vit.fingerprints(found.part.x_val))
    assert not held & set(vit.fingerprints(kept.x_train)) and not set(names) & set(found.names)
    train, _, _ = vit.emoji_rows((np.arange(40) % 2 == 0).astype(np.int8), 0)
    assert len(kept.x_train) == len(found.part.x_train) - (0 in train)
    assert {found.names[label] for label in kept.y_train}.isdisjoint(found.told) and len(labels) == 40


def test_a_label_names_its_own_picture(tmp_path, scripts) -> None:
    emoji_file(tmp_path)
    source = next(one for one in scripts["vit"].SOURCES if one.name == "emoji3")
    found = scripts["sources"].named_emoji(source, tmp_path, 0)
    with np.load(tmp_path / "emoji3.npz", allow_pickle=False) as file:
        drawn = {image.tobytes(): str(name).replace("_", " ").lower() for vendor in file["images"][:, :39] for image, name
                 in zip(vendor, file["names"], strict=False)}
    for images, labels in ((found.part.x_train, found.part.y_train), (found.part.x_val, found.part.y_val)):
        assert [drawn[image.tobytes()] for image in images] == [found.names[label] for label in labels]


def test_rendered_pictures_are_plain_and_told_truly(scripts) -> None:
    drawn = scripts["drawn"]
    for kind in drawn.KINDS:
        image, texts = drawn.KINDS[kind](np.random.default_rng(5))
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8 and texts
    rng = np.random.default_rng(1)
    shown = [drawn.thing(rng) for _ in range(60)]
    assert {texts[0] for _, texts in shown} <= set(things.names())
    again = np.random.default_rng(1)
    assert all(np.array_equal(image, drawn.thing(again)[0]) for image, _ in shown[:5])


@pytest.mark.real
def test_the_lists_of_the_real_training(scripts, record, shared) -> None:
    """No novel emoji by name, and no picture of any validation or test part, nor of the novel emoji, in what was trained on."""
    sources, vit, data = scripts["sources"], scripts["vit"], shared / "data"
    sets = sources.load_named(data, record["settings"]["seed"])
    novel_images, _, novel_names = sources.novel_emoji(data)
    held = set(vit.fingerprints(novel_images))
    for one in sets:
        with np.load(data / f"{one.name}.npz", allow_pickle=False) as file:
            held |= {mark for key in ("x_val", "x_test") if key in file for mark in vit.fingerprints(file[key])}
            if one.name == "easy_vqa":
                late = np.unique(file["image_id"][file["split"] != 0])
                held |= set(vit.fingerprints(file["images"][late]))
        assert record["images"][one.name] == len(one.part.x_train)
        assert set(record["names"][one.name]) == {one.names[label] for label in one.part.y_train}
    assert len(held) > 5000 and all(not held & set(vit.fingerprints(one.part.x_train)) for one in sets)
    learned = {name for names in record["names"].values() for name in names}
    assert len(novel_names) == 450 and not set(record["names"]["emoji3"]) & set(novel_names)
    assert sorted(learned & set(novel_names)) == record["zero_shot"]["novel_emoji_known_otherwise"]  # of fruits and shapes
    assert not learned & set(sources.novel_emoji(data, learned)[2])  # what is measured as novel
