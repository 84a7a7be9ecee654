"""A pytest plugin for PEFT's own tests: their lists of cases become ours before the tests are collected.

PEFT's custom-model matrix is parametrised over module-level lists. The plugin imports it from the unpacked source distribution and puts
our configurations there: ARC on PEFT's MLPs, every method on a small tower of residual blocks, which the MLPs are not.
``scripts/peft_matrix.py`` runs it and reads the outcome.
"""

from __future__ import annotations

import importlib
import sys
import types

import torch
from torch import Tensor, nn

from inarch import anatomy
from inarch.backbones.torchvision import mend_torchvision
from inarch.ports import Port, Span, Weight
from inarch.rows import Row

mend_torchvision()
from inarch.peft import AdaRingConfig, ARCConfig, VLPETConfig  # noqa: E402

WIDTH = 10  # what PEFT's inputs have


class Block(nn.Module):
    """Pre-norm, residual: a mixing of features where attention would be, and an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 20), nn.GELU(), nn.Linear(20, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Tower(nn.Module):
    """``X [n, 10]`` to log-probabilities of two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(WIDTH, 2)
        self.dtype = torch.float

    def forward(self, X: Tensor) -> Tensor:
        return self.head(self.blocks(X.to(self.dtype))).log_softmax(dim=-1)


def weights(*paths: str) -> tuple[Weight, ...]:
    return tuple(Weight(f"{path}.weight") for path in paths)


def rows() -> list[Row]:
    """The toys as families: PEFT's MLPs are one block whose MLP begins at ``lin0``, with a second place before ``lin1``."""
    found = []
    for name, norm in {"MLP": "", "MLP_LayerNorm": "layernorm0"}.items():
        places = (Span("mlp", Port("lin0", "in"), Port("lin1", "out"), weights("lin0"), weights("lin1"), norm, residual=None),
                  Span("attn", Port("lin1", "in"), Port("lin1", "out"), weights("lin1"), weights("lin1"), residual=None))
        found.append(Row(f"peft {name}", f"tests.test_custom_models.{name}", places, {"fc1": weights("lin0"), "fc2": weights("lin1")}))
    start = Port("norm1", "in")
    spans = (Span("attn", Port("attn", "in"), Port("attn", "out"), weights("attn.0"), weights("attn.2"), "norm1", start),
             Span("mlp", Port("mlp", "in"), Port("mlp", "out"), weights("mlp.0"), weights("mlp.2"), "norm2", Port("norm2", "in")),
             Span("block", Port("norm1", "out"), Port("", "out"), norm="norm1", residual=start))
    matrices = {"q": weights("attn.0"), "o": weights("attn.2"), "fc1": weights("mlp.0"), "fc2": weights("mlp.2")}
    return [*found, Row("tower", f"{__name__}.Block", spans, matrices, heads=("head",))]


SETTINGS = {
    "ARC": (ARCConfig, ({"r": 4, "init": "identity"}, {"r": 2, "init": "identity", "symmetric": False, "adapter_bias": False},
                        {"r": 4, "spans": ("attn",), "dropout": 0.1})),
    "AdaRing": (AdaRingConfig, ({"site": "lora", "targets": ("fc1", "fc2"), "ranks": (1, 2, 3)}, {"bottleneck": 4, "ranks": (1, 2)})),
    "VLPET": (VLPETConfig, ({"rank": 4, "gate": "none", "init": "zero", "encoder_norms": False}, {"rank": 4, "gate": "middleX"})),
}


def cases() -> list[tuple]:
    """(name, model, configuration class, fields), as PEFT's TEST_CASES."""
    mlps = [(f"ARC {toy}", toy, ARCConfig, {"r": 4, "spans": ("mlp",), "init": "identity"}) for toy in ("MLP", "MLP_LayerNorm")]
    towers = [(f"{method} {n}", "Tower", kind, fields)
              for method, (kind, settings) in SETTINGS.items() for n, fields in enumerate(settings)]
    saved = [(f"{method} saved", "Tower", kind, settings[0] | {"modules_to_save": ["head"]})
             for method, (kind, settings) in SETTINGS.items()]
    return mlps + towers + saved


def pytest_configure(config) -> None:
    sys.modules.setdefault("diffusers", types.SimpleNamespace(StableDiffusionPipeline=None))  # imported there, used by none of these
    for row in rows():
        anatomy.learn(row)
    theirs = importlib.import_module("tests.test_custom_models")
    theirs.TEST_CASES[:] = cases()
    theirs.MULTIPLE_ACTIVE_ADAPTERS_TEST_CASES[:] = [
        (f"{method} same", method.lower(), kind, *[settings[0] | {"init_weights": False}] * 2)
        for method, (kind, settings) in SETTINGS.items()]
    bring(theirs)


def bring(theirs: types.ModuleType) -> None:
    """Their wrapper hands out our tower too, seeded as it seeds its own models."""
    plain, resolve = theirs.MockTransformerWrapper.from_pretrained.__func__, theirs.TestMultipleActiveAdapters.resolve_model_cls

    def from_pretrained(cls, model_id, dtype=None):
        if model_id != "Tower":
            return plain(cls, model_id, dtype)
        torch.manual_seed(0)
        return Tower().to(dtype or torch.float32)

    theirs.MockTransformerWrapper.from_pretrained = classmethod(from_pretrained)
    theirs.TestMultipleActiveAdapters.resolve_model_cls = lambda self, kind: Tower() if kind in ("arc", "adaring", "vlpet") else resolve(
        self, kind)
