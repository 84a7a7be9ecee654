"""The tokenizer of mini-clip: WordPiece, trained on nothing but what its pictures are called and described with.

    <pad> <unk> <s> </s>, then pieces; a text is <s> pieces </s>
The trainer breaks ties by chance, so that two runs differ in a few rare pieces; the tokenizer lies with the weights it goes with.
Names come as data sets write them: "AnnualCrop" and "Early_Aramaic" are read as "annual crop" and "early aramaic".
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")  # the end is not row 2: transformers reads that number as a CLIP of the first days
PIECES, CONTEXT = 2000, 32
TEMPLATES = ("a photo of a {}.", "{}", "a picture of a {}.")
ALPHABET = tuple(letter for letter in string.printable if not letter.isspace() and letter == letter.lower())
FRAMES = ("{}", "a photo of {}.", "a picture of {}.")  # of descriptions, which bring their article


def train_tokenizer(texts: Iterable[str]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordPiece(unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence([
        normalizers.Replace(Regex("(?<=[a-z])(?=[A-Z])"), " "), normalizers.Replace("_", " "), normalizers.Lowercase()])
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    inner.train_from_iterator(sorted(texts), trainers.WordPieceTrainer(
        vocab_size=PIECES, special_tokens=list(SPECIAL), initial_alphabet=list(ALPHABET), show_progress=False))
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=completed(inner), pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        model_max_length=CONTEXT, clean_up_tokenization_spaces=False)


def completed(tokenizer: Any) -> Any:
    """With every character as the middle of a word too, at the end of the vocabulary, so that no plain text is unknown."""
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for piece in (f"##{letter}" for letter in ALPHABET):
        vocabulary.setdefault(piece, len(vocabulary))
    return Tokenizer.from_str(json.dumps(state))


def read_tokenizer(folder: Path) -> Any:
    """That of a finished model, to train another one with the same pieces."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
