"""``--to torch`` and ``--to onnx``: pixels to logits as a program of its own, in single precision, for batches of any size.

    model.pt2 or model.onnx    pixels [batch, 3, side, side] -> logits [batch, classes]
    model.json                 class names, preprocessing, and what the check found
    README.md                  how to run it
The adapter is folded in where it is linear; one that is not stays in the program as the operations that it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import inarch
from inarch.backbones.backbone import logits
from inarch.backbones.torchvision import needed
from inarch.errors import CannotFold, ConfigError
from inarch.evaluate import Rebuilt, rebuild
from inarch.export import drafted
from inarch.exports.lora import said
from inarch.files import canonical
from inarch.folding import random_pixels
from inarch.tasks.classify import Classifier

TOLERANCE = 1e-4  # of the largest logit, or of 1: other kernels, the same numbers
BATCHES = (1, 2, 5)  # the program is made with two images, and must take any number


@dataclass(frozen=True)
class Form:
    """``write(net, pixels, file)``; ``load(file)`` gives pixels -> logits; what it needs beside torch, and the lines of the README."""

    file: str
    needs: tuple[str, ...]
    write: Callable[[nn.Module, Tensor, Path], None]
    load: Callable[[Path], Callable[[Tensor], Tensor]]
    code: str


def _write_torch(net: nn.Module, pixels: Tensor, file: Path) -> None:
    torch.export.save(torch.export.export(net, (pixels,), dynamic_shapes=({0: torch.export.Dim("batch")},)), file)


def _load_torch(file: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(file).module()


def _write_onnx(net: nn.Module, pixels: Tensor, file: Path) -> None:
    torch.onnx.export(net, (pixels,), file, dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), input_names=["pixels"],
                      output_names=["logits"], external_data=_bytes(net) > 1 << 30, verbose=False)


def _bytes(net: nn.Module) -> int:
    """One file of the format holds 2 GB."""
    return sum(parameter.numel() * parameter.element_size() for parameter in net.parameters())


def _load_onnx(file: Path) -> Callable[[Tensor], Tensor]:
    session = import_module("onnxruntime").InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda pixels: torch.from_numpy(session.run(["logits"], {"pixels": pixels.numpy()})[0])


FORMS = {
    "torch": Form("model.pt2", (), _write_torch, _load_torch, """\
import torch

model = torch.export.load("model.pt2").module()
logits = model(torch.zeros(1, 3, {side}, {side}))
"""),
    "onnx": Form("model.onnx", ("onnx", "onnxscript", "onnxruntime"), _write_onnx, _load_onnx, """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
(logits,) = session.run(["logits"], {{"pixels": np.zeros((1, 3, {side}, {side}), np.float32)}})
"""),
}


def _write(to: str, run: str | Path, out: Path, *, overwrite: bool, progress: Any) -> str:
    form = FORMS[to]
    for package in form.needs:
        needed(package, to)
    rebuilt = rebuild(run)
    model = rebuilt.net.model.float().requires_grad_(False)
    batches = [random_pixels(rebuilt, count) for count in BATCHES]
    with torch.no_grad():
        expected = [logits(model, pixels) for pixels in batches]
    kept = _folded(model)
    with drafted(out, overwrite) as draft, torch.no_grad():
        _made(form, Classifier(model).eval(), batches[1], draft / form.file)
        apart = _apart(form.load(draft / form.file), zip(batches, expected, strict=True))
        fields = _fields(rebuilt, kept, apart)
        (draft / "model.json").write_bytes(canonical(fields))
        (draft / "README.md").write_text(_readme(rebuilt, form, kept, apart), encoding="utf-8")
    how = "the adapter folded in" if not kept else "the adapter in it as operations"
    return (f"{out}: {form.file}, {how}; loaded again, the largest difference of a logit is {apart:.1e} on batches of "
            f"{', '.join(map(str, BATCHES))} images of random pixels")


WRITERS = {to: partial(_write, to) for to in FORMS}


def _folded(model: nn.Module) -> str:
    """Fold the adapter into the weights; the reason why it stays where it is, if that is not exact."""
    try:
        inarch.merge(model)
    except CannotFold as reason:
        return str(reason)
    return ""


def _made(form: Form, net: nn.Module, pixels: Tensor, file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            form.write(net, pixels, file)
        except OSError:
            raise
        except Exception as error:  # tracers raise errors of many makes, none of which has a common root
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f"torch {torch.__version__} cannot trace this model for batches of any size ({reason}); nothing was "
                              "written: export it as --to native, or as --to lora") from error


def _apart(program: Callable[[Tensor], Tensor], pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The largest difference of a logit; refused where it is more than rounding."""
    worst = 0.0
    for pixels, expected in pairs:
        apart = float((program(pixels) - expected).abs().max())
        if not apart <= TOLERANCE * max(1.0, float(expected.abs().max())):
            raise CannotFold(f"the exported program's logits differ by {apart:.1e} on a batch of {len(pixels)}; nothing was written: "
                             "export it as --to native, or as --to lora")
        worst = max(worst, apart)
    return worst


def _fields(rebuilt: Rebuilt, kept: str, apart: float) -> dict[str, Any]:
    card = rebuilt.card
    return {"classes": [*card.classes], "multilabel": card.multilabel, "preprocess": card.preprocess,
            "input": {"name": "pixels", "shape": ["batch", 3, card.view.size, card.view.size], "dtype": "float32"},
            "output": {"name": "logits", "shape": ["batch", len(card.classes)], "dtype": "float32"},
            "backbone": card.backbone["address"], "method": said(rebuilt), "folded": not kept,
            "largest_difference": apart}


def _readme(rebuilt: Rebuilt, form: Form, kept: str, apart: float) -> str:
    rule = rebuilt.card.view
    folded = f"The adapter is in it as operations: {kept}." if kept else "The adapter is folded into the weights."
    return (f"# {said(rebuilt)} on {rebuilt.card.backbone['address']}\n\n"
            f"Exported by inarch; pixels `[batch, 3, {rule.size}, {rule.size}]` to logits `[batch, {len(rebuilt.card.classes)}]`. "
            f"In this folder:\n\n```python\n{form.code.format(side=rule.size)}```\n\n"
            f"Images: {rule.told()}. "
            f"Class names in the order of the logits, and the same preprocessing for programs: `model.json`.\n\n"
            f"{folded} Compared with the grafted model, the largest difference of a logit was {apart:.1e}.\n")
