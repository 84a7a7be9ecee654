"""Google's ViT checkpoints (``vit_models``: JAX arrays in an .npz) as a transformers ViT. ``npz:FILE``, also ``google:FILE``.

    query, key, value   [D, heads, D/heads]  ->  [D, D]         flattened over the heads, transposed
    out                 [heads, D/heads, D]  ->  [D, D]         likewise
    dense               [in, out]            ->  [out, in]
    embedding           [p, p, 3, D]         ->  [D, 3, p, p]   HWIO to OIHW
    LayerNorm_0, LayerNorm_2                                    before the attention, before the MLP; epsilon 1e-6

Width, depth, heads, patch, MLP width and image size are read off the arrays. Every array is used or named in an error.
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

from inarch.backbones import hf, weights_file
from inarch.backbones.address import Address, existing_file
from inarch.backbones.backbone import Backbone, Wish, drawing
from inarch.errors import ConfigError, Corrupt, Mismatch, Unsafe
from inarch.preprocess import Preprocess

Array = np.ndarray[Any, Any]
_EPSILON = 1e-6  # flax's LayerNorm
ENTRIES, GROWTH = 4096, 8
_ARRAY = re.compile(r"(?!.*\.\./)[\w.-]+(/[\w.-]+)*\.npy")
_BLOCK = re.compile(r"Transformer/encoderblock_(\d+)/")


@dataclass(frozen=True)
class Shape:
    """What the arrays say about the model."""

    dim: int
    depth: int
    heads: int
    hidden: int
    patch: int
    side: int
    classes: int | None  # None: the file has no head, or one behind a representation layer


def load(address: Address, wish: Wish) -> Backbone:
    path = existing_file(address, address.name)
    arrays = read(path)
    shape = infer(arrays, path)
    if shape.classes is None and wish.classes is None:
        raise ConfigError(f"{path}: its native head is missing or sits behind a representation layer (pre_logits); "
                          "say how many classes the new head has")
    with drawing(wish):
        model = hf.classifier_class(_config(shape))(_config(shape))
    if wish.weights:
        _fill(model, convert(arrays, shape, path), path)
    source = {"name": path.name, "revision": None, "licence": None, "pretrained": wish.weights,
              "sha256": weights_file.sha256([path])}
    native = shape.classes is not None and wish.weights
    return hf.finished(model, str(address), Preprocess(shape.side), wish, source, native)


def read(path: Path) -> dict[str, Array]:
    """All arrays; an object array would be a pickle and is refused, as is an archive that could fill the memory."""
    try:
        _refuse_bomb(path)
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, OSError, NotImplementedError, RuntimeError) as error:
        raise Corrupt(f"{path}: not a whole .npz file ({error}); fetch or copy it again") from error
    except ValueError as error:  # what numpy raises for pickled arrays, and for a pickle in place of the archive
        raise Unsafe(f"{path}: holds pickled objects, which are never read ({error})") from error


def _refuse_bomb(path: Path) -> None:
    """Weights hardly shrink when compressed, a ViT has hundreds of arrays, and each is as large as it says: seen before one is read."""
    with path.open("rb") as raw:
        if not zipfile.is_zipfile(raw):
            return
        with zipfile.ZipFile(raw) as archive:
            entries = archive.infolist()
            _refuse_numbers(path, len(entries), sum(entry.file_size for entry in entries))
            for entry in entries:
                if not _ARRAY.fullmatch(entry.filename):
                    raise Unsafe(f"{path}: holds {entry.filename[:60]!r}; expected arrays under names such as Transformer/posembed.npy")
                with archive.open(entry) as file:
                    _refuse_lie(path, entry, file)


def _refuse_numbers(path: Path, entries: int, told: int) -> None:
    size = path.stat().st_size
    if entries > ENTRIES or told > GROWTH * size:
        raise Unsafe(f"{path}: {entries} arrays of {told:,} bytes in a file of {size:,}; expected at most {ENTRIES} arrays and "
                     f"{GROWTH} times the file's size: it is not opened")


def _refuse_lie(path: Path, entry: zipfile.ZipInfo, file: IO[bytes]) -> None:
    """An array's header must not declare more than its entry holds: numpy would make room for it first."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if not dtype.hasobject and file.tell() + math.prod(shape) * dtype.itemsize != entry.file_size:
        raise Corrupt(f"{path}: {entry.filename} declares {shape} of {dtype} in {entry.file_size:,} bytes; fetch or copy it again")


def infer(arrays: Mapping[str, Array], path: Path) -> Shape:
    def shape(name: str, rank: int) -> tuple[int, ...]:
        if name not in arrays:
            raise Mismatch(f"{path}: no array {name!r}; expected one of Google's ViT checkpoints (not a hybrid or a Mixer)")
        if arrays[name].ndim != rank:
            raise Mismatch(f"{path}: {name} has shape {arrays[name].shape}; expected {rank} dimensions")
        return arrays[name].shape

    first = "Transformer/encoderblock_0"
    patch, _, _, dim = shape("embedding/kernel", 4)
    tokens = shape("Transformer/posembed_input/pos_embedding", 3)[1]
    grid = math.isqrt(tokens - 1)
    if grid * grid != tokens - 1:
        raise Mismatch(f"{path}: position embedding of {tokens} tokens; expected 1 + a square, "
                       f"{grid * grid + 1} or {(grid + 1) ** 2 + 1}")
    depth = 1 + max(int(found[1]) for found in map(_BLOCK.match, arrays) if found)
    heads = shape(f"{first}/MultiHeadDotProductAttention_1/query/kernel", 3)[1]
    hidden = shape(f"{first}/MlpBlock_3/Dense_0/kernel", 2)[1]
    direct = "head/kernel" in arrays and "pre_logits/kernel" not in arrays
    return Shape(dim, depth, heads, hidden, patch, grid * patch, shape("head/kernel", 2)[1] if direct else None)


def _config(shape: Shape) -> Any:
    return hf.transformers().ViTConfig(
        hidden_size=shape.dim, num_hidden_layers=shape.depth, num_attention_heads=shape.heads, intermediate_size=shape.hidden,
        patch_size=shape.patch, image_size=shape.side, layer_norm_eps=_EPSILON, qkv_bias=True, num_labels=shape.classes or 2)


def _flat_in(kernel: Array) -> Array:
    return kernel.reshape(kernel.shape[0], -1).T


def _flat_out(kernel: Array) -> Array:
    return kernel.reshape(-1, kernel.shape[-1]).T


def _oihw(kernel: Array) -> Array:
    return kernel.transpose(3, 2, 0, 1)


def _vector(values: Array) -> Array:
    return values.reshape(-1)


_Rule = tuple[str, str, Callable[[Array], Array]]
_AROUND: tuple[_Rule, ...] = (
    ("cls", "vit.embeddings.cls_token", np.asarray),
    ("Transformer/posembed_input/pos_embedding", "vit.embeddings.position_embeddings", np.asarray),
    ("embedding/kernel", "vit.embeddings.patch_embeddings.projection.weight", _oihw),
    ("embedding/bias", "vit.embeddings.patch_embeddings.projection.bias", _vector),
    ("Transformer/encoder_norm/scale", "vit.layernorm.weight", _vector),
    ("Transformer/encoder_norm/bias", "vit.layernorm.bias", _vector),
)
_HEAD: tuple[_Rule, ...] = (("head/kernel", "classifier.weight", np.transpose), ("head/bias", "classifier.bias", _vector))
_LINEARS = (
    ("MultiHeadDotProductAttention_1/query", "attention.q_proj", _flat_in),
    ("MultiHeadDotProductAttention_1/key", "attention.k_proj", _flat_in),
    ("MultiHeadDotProductAttention_1/value", "attention.v_proj", _flat_in),
    ("MultiHeadDotProductAttention_1/out", "attention.o_proj", _flat_out),
    ("MlpBlock_3/Dense_0", "mlp.fc1", np.transpose),
    ("MlpBlock_3/Dense_1", "mlp.fc2", np.transpose),
)
_NORMS = (("LayerNorm_0", "layernorm_before"), ("LayerNorm_2", "layernorm_after"))
_REPLACED = ("head/kernel", "head/bias", "pre_logits/kernel", "pre_logits/bias")


def _rules(shape: Shape) -> list[_Rule]:
    rules = [*_AROUND, *(_HEAD if shape.classes is not None else ())]
    for layer in range(shape.depth):
        there, here = f"Transformer/encoderblock_{layer}", f"vit.layers.{layer}"
        for theirs, ours, turn in _LINEARS:
            rules += [(f"{there}/{theirs}/kernel", f"{here}.{ours}.weight", turn),
                      (f"{there}/{theirs}/bias", f"{here}.{ours}.bias", _vector)]
        for theirs, ours in _NORMS:
            rules += [(f"{there}/{theirs}/scale", f"{here}.{ours}.weight", _vector),
                      (f"{there}/{theirs}/bias", f"{here}.{ours}.bias", _vector)]
    return rules


def convert(arrays: Mapping[str, Array], shape: Shape, path: Path) -> dict[str, Tensor]:
    """Their arrays under transformers' names; ``Mismatch`` names what is missing or left over."""
    rules = _rules(shape)
    missing = [name for name, _, _ in rules if name not in arrays]
    extra = set(arrays) - {name for name, _, _ in rules} - set(_REPLACED)
    if missing or extra:
        raise Mismatch(f"{path}: not a plain ViT checkpoint; missing: {weights_file.listed(missing) or 'none'}; "
                       f"without a place: {weights_file.listed(extra) or 'none'}")
    odd = [f"{name} ({arrays[name].dtype})" for name, _, _ in rules if arrays[name].dtype.kind != "f"]
    if odd:
        raise Mismatch(f"{path}: expected arrays of floating-point numbers, found {weights_file.listed(odd)}")
    return {ours: torch.from_numpy(np.ascontiguousarray(turn(arrays[theirs]), dtype=np.float32)) for theirs, ours, turn in rules}


def _fill(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Strict but for a head that the file does not give."""
    own = model.state_dict()
    wrong = [f"{name} {tuple(tensor.shape)} for {tuple(own[name].shape)}"
             for name, tensor in state.items() if own[name].shape != tensor.shape]
    if wrong:
        raise Mismatch(f"{path}: array shapes do not fit each other: {weights_file.listed(wrong)}")
    model.load_state_dict(own | state)
    weights_file.refuse_nonfinite(model, path)
