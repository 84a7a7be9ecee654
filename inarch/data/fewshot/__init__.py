"""Few-shot learning: few images of some classes, other classes held back; prompts; images with captions."""

from inarch.data.fewshot.address import is_fewshot
from inarch.data.fewshot.captions import Captions, CaptionTable, read_captions
from inarch.data.fewshot.check import check_captions, check_fewshot
from inarch.data.fewshot.read import FewShot, Half, read_fewshot
from inarch.data.fewshot.sets import SETS, Published, published
from inarch.data.fewshot.templates import prompts, template_of

__all__ = [
    "SETS",
    "CaptionTable",
    "Captions",
    "FewShot",
    "Half",
    "Published",
    "check_captions",
    "check_fewshot",
    "is_fewshot", "prompts",
    "published",
    "read_captions",
    "read_fewshot",
    "template_of",
]
