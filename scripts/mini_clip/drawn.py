"""The rendered pictures that mini-clip sees, all in the style ``plain``, drawn beforehand by several processes.

    things   one coloured shape, called "red circle"            digits   one digit as pen strokes, called "red 7" or "7"
    scenes   one to four of both, described by TOLD of their true captions
Place, size, tilt, shade and the grey of the ground differ from picture to picture. A chunk depends on the seed and its number alone,
not on how many processes draw.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from mini_vit.sources import Array, plain

from inarch.scenes import things, world
from inarch.scenes.captions import captions
from inarch.scenes.render import render
from inarch.scenes.styles import PLAIN

CHUNK, TOLD = 250, 4
Texts = tuple[str, ...]
Chunk = tuple[Array, list[Texts]]  # pictures, and what each may be called


def thing(rng: np.random.Generator) -> tuple[Array, Texts]:
    name = str(rng.choice(things.names()))
    return render(things.imagine(name, rng), PLAIN, rng, side=things.SIDE), (name,)


def digit(rng: np.random.Generator) -> tuple[Array, Texts]:
    kind = str(rng.choice(world.DIGITS))
    name = f"{rng.choice(world.COLORS)} {kind}"
    return render(things.imagine(name, rng), PLAIN, rng, side=things.SIDE), (name, kind)


def scene(rng: np.random.Generator) -> tuple[Array, Texts]:
    imagined = world.imagine(rng)
    said = captions(imagined)
    told = [said[k] for k in rng.permutation(len(said))[:TOLD]]
    return plain(render(imagined, PLAIN, rng)), tuple(told)


KINDS: dict[str, Callable[[np.random.Generator], tuple[Array, Texts]]] = {"things": thing, "digits": digit, "scenes": scene}


def chunk(kind: str, seed: int, number: int) -> Chunk:
    rng = np.random.default_rng([seed, 40 + list(KINDS).index(kind), number])
    images, texts = zip(*(KINDS[kind](rng) for _ in range(CHUNK)), strict=True)
    return np.stack(images), list(texts)


def drawn(counts: dict[str, int], seed: int, workers: int) -> dict[str, Chunk]:
    """At least as many pictures of each kind as ``counts`` asks for, in whole chunks."""
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        asked = {kind: pool.map(partial(chunk, kind, seed), range(-(-count // CHUNK))) for kind, count in counts.items()}
        return {kind: joined(list(chunks)) for kind, chunks in asked.items()}


def joined(chunks: list[Chunk]) -> Chunk:
    return np.concatenate([images for images, _ in chunks]), [texts for _, some in chunks for texts in some]
