"""A two-tower backbone of random weights in a folder, as transformers writes it, with a tokenizer of whole words."""

from __future__ import annotations

from pathlib import Path

import torch

SIDE, DEPTH = 32, 3
WORDS = "a photo of picture the . , red orange yellow green blue purple circle square triangle cross star moon x".split()


def tokenizer(words: list[str] = WORDS):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789-'"]
    pieces = ["<start>", "<unk>", *dict.fromkeys([*words, *letters, *(f"##{c}" for c in letters)]), "<end>"]
    rows = {piece: row for row, piece in enumerate(pieces)}
    inner = Tokenizer(models.WordPiece(rows, unk_token="<unk>"))
    inner.normalizer, inner.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[(name, rows[name]) for name in ("<start>", "<end>")])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<start>", eos_token="<end>", pad_token="<end>", unk_token="<unk>",
                                   model_max_length=24)


def folder(place: Path, *, seed: int = 0, text_depth: int = DEPTH) -> Path:
    """Written once; ``clip:FOLDER`` reads it."""
    from inarch.backbones.hf import transformers

    library = transformers()
    words = tokenizer()
    end = words.eos_token_id
    text = {"hidden_size": 32, "num_hidden_layers": text_depth, "num_attention_heads": 4, "intermediate_size": 64,
            "vocab_size": len(words), "max_position_embeddings": 24, "bos_token_id": 0, "eos_token_id": end, "pad_token_id": end}
    vision = {"hidden_size": 48, "num_hidden_layers": DEPTH, "num_attention_heads": 4, "intermediate_size": 96, "image_size": SIDE,
              "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = library.CLIPModel(library.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        for parameter in model.parameters():  # transformers starts them so small that every name would look the same
            if parameter.dim() > 1:
                parameter.data *= 3
    model.save_pretrained(place)
    words.save_pretrained(place)
    return place
