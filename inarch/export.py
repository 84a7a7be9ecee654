"""Export: a plain folder that the model's own library loads without inarch, proved by loading it so before it gets its name.

    transformers   AutoModelForImageClassification.from_pretrained(FOLDER), image processor beside it
    timm           timm.create_model("local-dir:FOLDER", pretrained=True), preprocessing in its config
    open_clip      image tower and head as safetensors; the README in the folder says how to put them together

The model is a merged or never adapted one. What the library's format cannot hold is refused; nothing is written then.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from inarch import files
from inarch.backbones.backbone import Backbone, logits
from inarch.backbones.native import FORMATS, Format, Job
from inarch.backbones.weights_file import listed
from inarch.errors import ConfigError, StorageError
from inarch.preprocess import Preprocess

_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 5e-2}


def export_native(model: nn.Module, out: Path | str, backbone: Backbone, *, classes: Sequence[str] | None = None,
                  preprocess: Preprocess | None = None, overwrite: bool = False) -> Path:
    """Write ``model`` (as loaded into ``backbone``, merged) to the folder ``out``; returns it.

    ``classes`` are the class names in the order of the head; ``preprocess`` overrides the backbone's. The folder appears whole or
    not at all: a non-empty one is only replaced with ``overwrite=True``.
    """
    out = Path(out)
    refuse_place(out, overwrite)
    job = _job(model, backbone, preprocess or backbone.preprocess, classes)
    form = FORMATS[backbone.library]
    with drafted(out, overwrite) as draft:
        written = form.write(job, draft)
        (draft / "README.md").write_text(_readme(job, form), encoding="utf-8")
        _prove(job, form.load(job, draft), written)
    return out


@contextlib.contextmanager
def drafted(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder to write to, with a README.md in the end, which takes the name ``out`` when the block is done; an error leaves no trace."""
    refuse_place(out, overwrite)
    draft = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        draft.mkdir(parents=True)
        yield draft
        for file in _files(draft):  # safetensors makes files that only their owner may read
            file.chmod((draft / "README.md").stat().st_mode)
        _put_in_place(draft, out)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as its own error
        raise StorageError(f"{out}: {error}; nothing that was there has been changed") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def refuse_place(out: Path, overwrite: bool) -> None:
    """``ConfigError`` where ``out`` is a file, or holds something that nobody asked to be replaced."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; expected a folder to write the model to")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise ConfigError(f"{out}: exists and is not empty; choose another folder, or overwrite it explicitly")


def _job(model: nn.Module, backbone: Backbone, rule: Preprocess, classes: Sequence[str] | None) -> Job:
    if "inarch" in model._modules:
        raise ConfigError(f"this {type(model).__name__} still carries adapters; call inarch.merge or inarch.ungraft on it first")
    if backbone.library not in FORMATS:
        raise ConfigError(f"library {backbone.library!r} has no native format; expected one of {', '.join(FORMATS)}")
    if rule.size != backbone.image_size:
        raise ConfigError(f"preprocessing to {rule.size} px for a model of {backbone.image_size} px; load it at that size")
    count = _probe(model, rule.size).shape[-1]
    if classes is not None and len(classes) != count:
        raise ConfigError(f"{len(classes)} class names for a head of {count} outputs; give one name for each")
    return Job(model, backbone, rule, tuple(classes or ()), count)


def _probe(model: nn.Module, side: int) -> Tensor:
    """Logits of two fixed random images, in evaluation mode."""
    parameter = next(model.parameters())
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    training = model.training
    try:
        with torch.no_grad():
            return logits(model.eval(), pixels.to(parameter.device, parameter.dtype))
    finally:
        model.train(training)


def _prove(job: Job, loaded: nn.Module, written: Mapping[str, Tensor]) -> None:
    """What the library loads must hold the same tensors, and give the same logits."""
    parameter = next(job.model.parameters())
    found = loaded.to(parameter.dtype).state_dict()
    changed = [name for name, tensor in written.items() if name not in found or not torch.equal(found[name].to(tensor), tensor)]
    before, after = _probe(job.model, job.rule.size), _probe(loaded.to(parameter.device), job.rule.size)
    apart = float((before - after).abs().max() / before.abs().max().clamp_min(1))
    if changed or not apart <= _TOLERANCE[parameter.dtype]:
        raise ConfigError(f"{type(job.model).__name__}: what {job.backbone.library} loads back differs (tensors: "
                          f"{listed(changed) or 'none'}; logits: {apart:.1e}); its format cannot hold it, nothing was written")


def _readme(job: Job, form: Format) -> str:
    licence = job.backbone.source.get("licence")
    card = f"---\nlicense: {licence}\n---\n\n" if licence else ""
    return (f"{card}# {type(job.model).__name__}, {job.classes} classes\n\n"
            f"Exported by inarch from `{job.backbone.address}`. Loads without inarch; in this folder:\n\n"
            f"```python\n{form.recipe}```\n\n"
            f"Images: {job.rule.told()}.\n")


def _put_in_place(draft: Path, out: Path) -> None:
    """Give the draft its name in one step: whoever looks, or is killed, finds the old folder or the new one, each whole."""
    for path in _files(draft):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for folder in {path.parent for path in _files(draft)}:
        files.sync_folder(folder)
    try:
        os.rename(draft, out)
    except OSError as problem:
        if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not _exchanged(draft, out):
            _replaced(draft, out)
    with contextlib.suppress(OSError):  # until it is synced a power loss may bring the old name back, and that folder is whole too
        files.sync_folder(out.parent)


def _files(draft: Path) -> list[Path]:
    return [path for path in draft.rglob("*") if path.is_file()]


def _exchanged(draft: Path, out: Path) -> bool:
    """Let two folders change names in one step, where the system can: the old one is then the draft, which goes."""
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return exchange is not None and exchange(here, os.fsencode(draft), here, os.fsencode(out), both) == 0


def _replaced(draft: Path, out: Path) -> None:
    """In two steps: a kill between them leaves the old folder beside, under a name that ends in ``.old``."""
    old = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.old")
    os.rename(out, old)
    try:
        os.rename(draft, out)
    except OSError:
        os.rename(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)
