"""Tiny CLIPs on disk as their libraries write them, with tokenizers of a few words, and a pair of towers of different make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

SIDE, CONTEXT, WIDTH = 32, 15, 10
WORDS = "a photo of the red green blue pale cat dog ship , . on left".split()
PROMPTS = ("a photo of a red cat", "a dog", "the pale blue ship on the left , a photo", "ship .")
VISION = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": SIDE, "patch_size": 8}
TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TIMM = {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": SIDE, "patch_size": 8}


def pixels(batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))


def shaken(model: nn.Module) -> nn.Module:
    """Every number away from where it starts, so that no zero hides a mistake."""
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def tokenizer(start: str, end: str, pad: str | None = None) -> Any:
    """Word by word between a start and an end, which is the last of the vocabulary."""
    from transformers import PreTrainedTokenizerFast

    special = [word for word in (pad, "<unk>", start) if word]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS, end])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [(word, vocabulary[word]) for word in (start, end)]
    words.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=marks)
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token=start, eos_token=end, pad_token=pad or end, unk_token="<unk>",
                                   model_max_length=CONTEXT)


def save_clip(folder: Path, end: int | None = None) -> Any:
    """A folder that transformers wrote: the model; ``end``: what its configuration says of the end of text."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    words = tokenizer("<start>", "<end>")
    text = TEXT | {"vocab_size": len(words), "max_position_embeddings": CONTEXT, "bos_token_id": 1,
                   "eos_token_id": words.eos_token_id if end is None else end}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = shaken(CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=WIDTH)))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(folder)
    return model


def save_bert(folder: Path) -> Any:
    from transformers import BertConfig, BertModel

    words = tokenizer("[CLS]", "[SEP]", "[PAD]")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = shaken(BertModel(BertConfig(**TEXT, vocab_size=len(words), max_position_embeddings=CONTEXT, pad_token_id=0)))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return model


def timm_folder(folder: Path) -> Any:
    """A ViT as timm saves one, without a head."""
    import timm
    from safetensors.torch import save_file

    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = shaken(timm.create_model("vit_tiny_patch16_224", num_classes=0, **TIMM))
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({
        "architecture": "vit_tiny_patch16_224", "num_classes": 0, "num_features": 24, "model_args": TIMM,
        "pretrained_cfg": {"num_classes": 0, "input_size": [3, SIDE, SIDE], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9}}))
    return model


OPEN = {
    "embed_dim": WIDTH,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


def save_open_clip(folder: Path, **text: Any) -> Any:
    """A folder that open_clip wrote."""
    import open_clip
    from safetensors.torch import save_file

    config = OPEN | {"text_cfg": OPEN["text_cfg"] | text}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = shaken(open_clip.CLIP(**config))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return model
