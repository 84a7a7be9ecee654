"""The words of the scenes, and a tokenizer of them: one token per word, single characters for anything else.

    rows of the token table   <s> <pad> </s> <unk> <mask>, words and marks, characters, ##characters, <vis_extra_id_99> ... <vis_extra_id_0>
Row ``size - 1 - k`` is the k-th visual token's order embedding, as in VL-T5. Everything is lower case.
"""

from __future__ import annotations

import string
from typing import Any

from inarch.errors import need
from inarch.scenes.questions import plural
from inarch.scenes.world import COLORS, DIGITS, SHAPES, SIZES

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # as BART numbers the first four
MARKS = tuple(":?,.")
TEMPLATES = """vqa caption nlvr what color shape size digit digits is the how many things thing are there a an left right of above below
    yes no true false both pictures picture have has only one more and""".split()
CHARACTERS = tuple(c for c in string.printable if not c.isspace() and c.lower() == c)
ORDERS = tuple(f"<vis_extra_id_{k}>" for k in reversed(range(100)))


def words() -> tuple[str, ...]:
    """Every word that a question, caption, comparison or answer can hold."""
    return tuple(dict.fromkeys([*TEMPLATES, *COLORS, *SIZES, *SHAPES, *map(plural, SHAPES), *DIGITS, *MARKS]))


def vocabulary() -> dict[str, int]:
    pieces = [*SPECIAL, *words(), *CHARACTERS, *(f"##{c}" for c in CHARACTERS), *ORDERS]
    return {piece: row for row, piece in enumerate(dict.fromkeys(pieces))}


def tokenizer() -> Any:
    """A ``PreTrainedTokenizerFast`` that puts ``<s>`` before and ``</s>`` behind a text, as BART's does."""
    try:
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise need("transformers", "train") from error
    rows = vocabulary()
    inner = Tokenizer(models.WordPiece(rows, unk_token="<unk>", continuing_subword_prefix="##"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[(name, rows[name]) for name in ("<s>", "</s>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>", mask_token="<mask>",
        additional_special_tokens=list(ORDERS), model_max_length=64, clean_up_tokenization_spaces=False)
