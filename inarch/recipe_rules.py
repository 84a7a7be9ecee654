"""What a recipe's fields say of each other: defaults by kind of run and method, contradictions, and reasons in a user's words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from inarch.backbones.address import TWO_TOWER_CARD, VL_CARD
from inarch.errors import ConfigError, nearest
from inarch.places import is_address

if TYPE_CHECKING:
    from pydantic import ValidationError

    from inarch.recipe import Recipe

Kind = Literal["classify", "generate", "match", "retrieve"]

# where ARC's learning rate would be wrong: the image-classification guides of peft and of transformers, both on ViT-B and Food-101
LR = {"lora": 5e-3, "full": 5e-5}
# a vision-language backbone has no head to thaw; method, epochs and rates are [VL]'s, the rest of its settings stands in recipes/
GENERATION: dict[str, Any] = {"method": "vlpet", "thaw": (), "epochs": 20, "lr": 1e-3}
GENERATION_LR = {"full": 1e-4}
GENERATIVE = ("vl:", "config:vl-")  # how the address of a backbone that generates begins
EMBEDDED = "mini-vl"  # and the one that comes with the package
# two towers: [ours] with MMRL's optimisation (AdamW 1e-3, first epoch at 1e-5) at MMA's batch; 5 to 50 updates an epoch are too few or many
MATCHING: dict[str, Any] = {
    "method": "adaring", "thaw": (), "seed": 1, "epochs": 10, "batch_size": 16, "lr": 1e-3, "warmup_epochs": 1.0, "warmup_lr": 1e-5,
    "weight_decay": 5e-4, "augment": "clip", "least_updates": 300, "most_updates": 3000}
RETRIEVAL = MATCHING | {"batch_size": 64, "least_updates": 0, "most_updates": 0, "augment": "none"}
GENERALIZING: dict[str, Any] = {"keep_text": 8.0, "keep_image": 2.0, "keep_logits": 0.5}  # [ours], before any run on real CLIP
PARITY: dict[str, Any] = {
    "optimizer": "sgd", "lr": 1.5e-3, "epochs": 5, "batch_size": 16, "weight_decay": 5e-4, "schedule": "cosine-epochs",
    "warmup_epochs": 0.0, "warmup_lr": None, "clip": 0.0, "least_updates": 0, "most_updates": 0}
TWO_TOWERS = ("clip:", "config:clip-")
EMBEDDED_TOWERS = "mini-clip"


def kind_of(backbone: Any, protocol: Any = "") -> Kind:
    """What a run with this backbone learns."""
    if not isinstance(backbone, str):
        return "classify"
    if backbone.startswith(GENERATIVE) or backbone == EMBEDDED:
        return "generate"
    if backbone.startswith(TWO_TOWERS) or backbone == EMBEDDED_TOWERS:
        return "retrieve" if protocol == "retrieval" else "match"
    return "classify"


def storable(fields: dict[str, Any], where: str) -> dict[str, Any]:
    """``fields``, unless a text in them could not be written to a file and read again: no NUL, no half characters."""
    for key, value in fields.items():
        for text in _texts(value):
            if "\0" in text or (not text.isascii() and any(0xD800 <= ord(c) < 0xE000 for c in text)):
                raise ConfigError(f"{where}: {key} holds {text!a}; expected text without NUL and in UTF-8: rename what it names")
    return fields


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (*_texts(key), *_texts(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def schemed(fields: dict[str, Any]) -> dict[str, Any]:
    """A folder with a card of ours that is named without its scheme gets it: the address alone says which kind of run it is."""
    backbone = fields.get("backbone")
    if not isinstance(backbone, str) or kind_of(backbone) != "classify":
        return fields
    folder = os.path.expanduser(backbone)
    for card, scheme in ((VL_CARD, "vl"), (TWO_TOWER_CARD, "clip")):
        if os.path.isfile(os.path.join(folder, card)):
            return fields | {"backbone": f"{scheme}:{backbone}"}
    return fields


def defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """What the method and the kind of run say of fields that are not given."""
    kind = kind_of(fields.get("backbone"), fields.get("protocol"))
    common = {"generate": GENERATION, "match": MATCHING, "retrieve": RETRIEVAL}.get(kind, {})
    method = fields.get("method", common.get("method"))
    rates = {"generate": GENERATION_LR, "classify": LR}.get(kind, {})
    own = {"lr": rates[method]} if isinstance(method, str) and method in rates else {}
    if common and kind != "generate":
        own |= PARITY if fields.get("recipe") == "mma" else _kept(kind, method, fields.get("set"))
    return common | own


def _kept(kind: Kind, method: Any, settings: Any) -> dict[str, Any]:
    """Of our AdaRing alone: it stays near the frozen model, and its gates are learned on classes its cores do not see."""
    if method != "adaring":
        return {}
    settings = settings if isinstance(settings, dict) else {}
    ranks = settings.get("ranks", (1, 2, 4))
    several = "," in ranks if isinstance(ranks, str) else isinstance(ranks, list | tuple) and len(ranks) > 1
    gates = kind == "match" and several and settings.get("gate", "static") == "static"
    return GENERALIZING | ({"probe": "gates"} if gates else {})


def contradictions(recipe: Recipe, where: str) -> None:
    wrong = {
        f"out={recipe.out!r} is an address; train into a folder, then send it: inarch push RUN {recipe.out}": is_address(recipe.out),
        "warmup_epochs must end before the last epoch does": recipe.warmup() > recipe.epochs,
        "fit='train+val' leaves nothing to select on; use selection='none'":
            recipe.fit == "train+val" and recipe.selection == "val",
        "sampling='balanced' and class_weights='balanced' correct for the same thing twice; choose one":
            recipe.sampling == recipe.class_weights == "balanced",
        "sampling='balanced' needs one label per image; use class_weights='balanced'":
            recipe.multilabel and recipe.sampling == "balanced",
        "val_fraction and test_fraction leave no training images": recipe.val_fraction + recipe.test_fraction >= 1,
        "tasks are answered by a vision-language backbone; choose one, such as backbone='vl:facebook/bart-base'":
            bool(recipe.tasks) and not recipe.generates,
        "features or tower feed a vision-language backbone; leave them out, or choose backbone='vl:facebook/bart-base'":
            bool(recipe.features or recipe.tower) and not recipe.generates,
        "tasks names a task twice": len(set(recipe.tasks)) < len(recipe.tasks),
        "data_order='published' is the order of a vision-language run": recipe.data_order == "published" and not recipe.generates,
        "class_weights, sampling and multilabel are of classification; leave them out": recipe.kind != "classify" and
            (recipe.multilabel or recipe.class_weights != "none" or recipe.sampling != "shuffle"),
        "cache_folder and cache_dtype are of classification; leave them out, the rows of this run are kept in memory":
            recipe.kind != "classify" and bool(recipe.cache_folder or recipe.cache_dtype),
        "half_base stores frozen matrices as precision='bf16' or 'fp16' computes; choose one of them":
            recipe.half_base and recipe.precision not in ("bf16", "fp16"),
        "half_base needs a frozen base; method='full' trains all of it": recipe.half_base and recipe.method == "full",
        "half_base and quantised_base are two ways to store a frozen base; choose one": recipe.half_base and bool(recipe.quantised_base),
        "quantised_base needs a frozen base; method='full' trains all of it": bool(recipe.quantised_base) and recipe.method == "full",
        "quantised_base widens to what precision computes in, fp32, bf16 or fp16; precision='fp64' is for checks of a whole base":
            bool(recipe.quantised_base) and recipe.precision == "fp64",
        "cache_folder and cache_dtype need cache_features": bool(recipe.cache_folder or recipe.cache_dtype) and not recipe.cache_features,
    }
    for reason, holds in {**wrong, **_of_two_towers(recipe)}.items():
        if holds:
            raise ConfigError(f"{where}: {reason}")


def _of_two_towers(recipe: Recipe) -> dict[str, bool]:
    towers, names = recipe.kind in ("match", "retrieve"), recipe.kind == "match"
    kept = bool(recipe.keep_text or recipe.keep_image or recipe.keep_logits or recipe.keep_scale)
    return {
        "keep_text, keep_image, keep_logits, keep_scale, transfer and recipe='mma' are of two towers; choose a backbone such as "
        "'clip:openai/clip-vit-base-patch16'": not towers and (kept or bool(recipe.transfer) or recipe.recipe == "mma"),
        "probe='gates' and names_per_update compare with the names of classes; choose protocol='base-to-novel' or 'all'":
            not names and (recipe.probe != "off" or recipe.names_per_update > 0),
        "protocol='retrieval' needs two towers; choose a backbone such as 'clip:openai/clip-vit-base-patch16'":
            recipe.protocol == "retrieval" and not towers,
        "most_updates is less than least_updates": 0 < recipe.most_updates < recipe.least_updates,
        "names_per_update is less than a batch may need; use at least batch_size": 0 < recipe.names_per_update < recipe.batch_size,
    }


def reasons(problem: ValidationError) -> str:
    return "; ".join(_reason(error) for error in problem.errors())


def _reason(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{key} is missing"
    message = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    found = error["input"]
    near = ""
    if error["type"] == "literal_error" and isinstance(found, str):
        near = f"; {nearest(found, error['ctx']['expected'].replace(' or ', ', ').replace(chr(39), '').split(', '))}"
    return f"{key}={found!r}; expected {message}{near}"
