"""Image-text tasks: published annotation formats and one's own files, read into examples and checked before training."""

from inarch.data.pairs.check import check_pairs, check_tokens
from inarch.data.pairs.example import Example, Pairs
from inarch.data.pairs.protocols import PROTOCOLS, Protocol
from inarch.data.pairs.read import read_pairs, tasks_at
from inarch.data.pairs.sampling import sampled_target

__all__ = [
    "PROTOCOLS",
    "Example",
    "Pairs",
    "Protocol",
    "check_pairs",
    "check_tokens",
    "read_pairs",
    "sampled_target",
    "tasks_at",
]
