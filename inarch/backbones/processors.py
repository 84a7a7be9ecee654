"""Preprocessing as each library writes it down, read into ``Preprocess`` and written back.

    transformers   preprocessor_config.json   size, crop_size, do_center_crop, resample, image_mean, image_std
    timm           pretrained_cfg             input_size, crop_pct, crop_mode, interpolation, mean, std
    open_clip      preprocess_cfg             size, resize_mode, interpolation, mean, std
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from inarch.errors import ConfigError
from inarch.preprocess import Preprocess

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_BILINEAR_BY_DEFAULT = ("ViTImageProcessor", "ViTFeatureExtractor")


def from_transformers(fields: Mapping[str, Any], side: int, where: object) -> Preprocess:
    """``fields`` of an image processor; ``side`` is the model's own image size, for what they leave out."""
    fields = fields.get("image_processor", fields)  # processor_config.json wraps it
    kind = str(fields.get("image_processor_type") or fields.get("feature_extractor_type") or "")
    factor = fields.get("rescale_factor", 1 / 255) if fields.get("do_rescale", True) else 1.0
    if abs(factor * 255 - 1) > 1e-3:
        raise ConfigError(f"{where}: rescale_factor {factor}; expected 1/255, give the preprocessing explicitly")
    size, resize, fit = _geometry(fields, side, where)
    mean, std = (fields.get("image_mean", HALF[0]), fields.get("image_std", HALF[1])) if fields.get("do_normalize", True) \
        else ((0.0,) * 3, (1.0,) * 3)
    number = fields.get("resample", 2 if kind.startswith(_BILINEAR_BY_DEFAULT) else 3)
    if number not in _RESAMPLE:
        raise ConfigError(f"{where}: resample {number!r}; expected one of {_RESAMPLE}, give the preprocessing explicitly")
    return Preprocess(size, resize, fit, tuple(mean), tuple(std), _RESAMPLE[number])  # type: ignore[arg-type]


def _geometry(fields: Mapping[str, Any], side: int, where: object) -> tuple[int, int | None, Any]:
    """(size, resize, fit) from size, crop_size and crop_pct."""
    raw = fields.get("size", side)
    resized = _one_side(raw, where)
    if fields.get("crop_pct") and resized < 384:  # ConvNeXt's rule: from 384 px on the whole image is squashed
        return resized, int(resized / fields["crop_pct"]), "crop"
    if fields.get("do_center_crop") or (isinstance(raw, Mapping) and "shortest_edge" in raw and not fields.get("crop_pct")):
        crop = _one_side(fields.get("crop_size", resized), where)
        return crop, None if resized <= crop else resized, "crop"
    return resized, None, "squash"


def _one_side(size: Any, where: object) -> int:
    sides = {size} if isinstance(size, int) else set(size.values() if isinstance(size, Mapping) else size)
    if len(sides) != 1 or not all(isinstance(value, int) for value in sides):
        raise ConfigError(f"{where}: image size {size!r}; expected a square one, give the preprocessing explicitly")
    return sides.pop()


def to_transformers(rule: Preprocess) -> dict[str, Any]:
    """The fields of a processor that does the same; its class is chosen by what it can do."""
    square = {"height": rule.size, "width": rule.size}
    number = next(key for key, name in _RESAMPLE.items() if name == rule.interpolation)
    common = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255, "resample": number,
              "image_mean": list(rule.mean), "image_std": list(rule.std)}
    if rule.fit == "squash":
        return {"image_processor_type": "ViTImageProcessor", "size": square, **common}
    return {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": rule.resize or rule.size},
            "do_center_crop": True, "crop_size": square, **common}


def from_timm(fields: Mapping[str, Any], side: int, where: object) -> Preprocess:
    """``fields`` of a ``pretrained_cfg``; ``side`` is the model's image size."""
    mode = fields.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise ConfigError(f"{where}: crop_mode {mode!r}; expected 'center' or 'squash', give the preprocessing explicitly")
    resize = math.floor(side / fields.get("crop_pct", 0.875))
    interpolation = fields.get("interpolation", "bicubic")
    fit = "crop" if mode == "center" else "squash"
    return Preprocess(side, resize if resize > side and fit == "crop" else None, fit,  # type: ignore[arg-type]
                      fields.get("mean", IMAGENET[0]), fields.get("std", IMAGENET[1]),
                      "bicubic" if interpolation == "random" else interpolation)


def to_timm(rule: Preprocess) -> dict[str, Any]:
    return {"input_size": [3, rule.size, rule.size], "interpolation": rule.interpolation, "mean": list(rule.mean),
            "std": list(rule.std), "crop_pct": _crop_pct(rule.size, rule.resize or rule.size),
            "crop_mode": "center" if rule.fit == "crop" else "squash"}


def _crop_pct(size: int, resize: int) -> float:
    """The roundest ratio for which timm's ``floor(size / crop_pct)`` is ``resize`` again."""
    candidates = [round(size / resize, digits) for digits in range(1, 8)] + [size / (resize + 0.5)]
    return next(value for value in candidates if value and math.floor(size / value) == resize)


def from_open_clip(fields: Mapping[str, Any], side: int, where: object) -> Preprocess:
    mode = fields.get("resize_mode") or "shortest"
    if mode not in ("shortest", "squash"):
        raise ConfigError(f"{where}: resize_mode {mode!r}; expected 'shortest' or 'squash', give the preprocessing explicitly")
    return Preprocess(side, None, "crop" if mode == "shortest" else "squash", fields.get("mean") or CLIP[0],  # type: ignore[arg-type]
                      fields.get("std") or CLIP[1], fields.get("interpolation") or "bicubic")


def to_open_clip(rule: Preprocess) -> dict[str, Any]:
    """Without the margin of ``resize``, which open_clip cannot say."""
    return {"size": rule.size, "mode": "RGB", "mean": list(rule.mean), "std": list(rule.std),
            "interpolation": rule.interpolation, "resize_mode": "shortest" if rule.fit == "crop" else "squash"}
