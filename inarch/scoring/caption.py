"""Caption metrics: CIDEr (CIDEr-D of coco-caption; Vedantam et al. 2015) and BLEU-4 (Papineni et al. 2002), x100 as papers print them.

    g_k(s)     = count of each k-gram in s x (log N - log max(1, df))        df: images, of the N scored, with it in a reference
    sim_k(c,s) = exp(-(l_c - l_s)^2 / 2 sigma^2) min(g_k(c), g_k(s)) . g_k(s) / (|g_k(c)| |g_k(s)|)      sigma = 6; 0 where 0/0
    CIDEr(c)   = 10 mean over k = 1..4 of mean over the references s of sim_k(c, s)
    CIDEr      = mean over the N images

l counts words. The frequencies come from the references of the scored set, so a caption's score depends on the set it is scored in,
and a set of one image scores 0. 100 x CIDEr can exceed 100: a caption of four words or more that equals its only reference has 1000.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inarch.errors import need
from inarch.scoring.words import words

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

ORDERS = 4
SIGMA = 6.0
EXTRA = "captions"


def cider(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """CIDEr x100 of the set, and of each image: ``predictions [n]``, and ``references [n]`` with the captions of each image."""
    images = len(predictions)
    owner = np.array([*range(images), *(i for i, captions in enumerate(references) for _ in captions)])  # [sentences]: its image
    texts = [words(text) for text in chain(predictions, chain.from_iterable(references))]
    length = np.array([len(text) for text in texts])
    gap = np.exp(-((length[:images][owner] - length) ** 2) / (2 * SIGMA**2))
    similar = gap * np.mean([_cosines(sentence, gram, owner, images) for sentence, gram in _grams(texts)], axis=0)
    scores = 1000 * np.bincount(owner[images:], similar[images:], images) / np.bincount(owner[images:], minlength=images)
    return float(scores.mean()), scores.tolist()


def _grams(texts: Sequence[Sequence[str]]) -> list[tuple[Ints, Ints]]:
    """For each order, every k-gram there is: the sentence it stands in and its number, ``[grams]`` both."""
    known: dict[str, int] = {}
    word = np.array([known.setdefault(w, len(known)) for text in texts for w in text], dtype=np.int64)
    sentence = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    start, gram = np.arange(len(word)), word
    found: list[tuple[Ints, Ints]] = [(sentence, gram)]
    for k in range(1, ORDERS):
        inside = start + k < len(word)
        inside[inside] = sentence[start[inside]] == sentence[start[inside] + k]
        start = start[inside]
        gram = np.unique(gram[inside] * len(known) + word[start + k], return_inverse=True)[1]
        found.append((sentence[start], gram))
    return found


def _cosines(sentence: Ints, gram: Ints, owner: Ints, images: int) -> Floats:
    """``[sentences]``: clipped cosine of each sentence with the prediction for its image; the predictions are sentences 0 .. images - 1."""
    kinds = int(gram.max(initial=0)) + 1
    at, tf = np.unique(sentence * kinds + gram, return_counts=True)
    sentence, gram = at // kinds, at % kinds
    said = sentence < images
    document = np.unique(owner[sentence[~said]] * kinds + gram[~said])
    df = np.bincount(document % kinds, minlength=kinds)
    weight = tf * (np.log(images) - np.log(np.maximum(df, 1)))[gram]
    norm = np.sqrt(np.bincount(sentence, weight**2, len(owner)))
    dot = np.bincount(sentence, np.minimum(weight, _look_up(at[said], weight[said], owner[sentence] * kinds + gram)) * weight, len(owner))
    both = norm * norm[:images][owner]
    return np.divide(dot, both, out=np.zeros(len(owner)), where=both > 0)


def _look_up(keys: Ints, values: Floats, wanted: Ints) -> Floats:
    """``values`` of the ``wanted`` among the sorted ``keys``, 0 for those that are not there."""
    keys, values = np.append(keys, np.iinfo(np.int64).max), np.append(values, 0.0)
    place = np.searchsorted(keys, wanted)
    return np.where(keys[place] == wanted, values[place], 0.0)


def bleu4(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
    """BLEU-4 x100 of the set (not the mean of its captions) and of each caption, by pycocoevalcap: closest reference length."""
    try:
        from pycocoevalcap.bleu.bleu import Bleu
    except ImportError as error:
        raise need("pycocoevalcap", EXTRA) from error
    said = {i: [" ".join(words(text))] for i, text in enumerate(predictions)}
    wanted = {i: [" ".join(words(text)) for text in captions] for i, captions in enumerate(references)}
    whole, each = Bleu(ORDERS).compute_score(wanted, said, verbose=0)
    return 100 * float(whole[-1]), [100 * float(score) for score in each[-1]]
