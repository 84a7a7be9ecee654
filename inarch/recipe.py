"""A recipe: everything that decides a training run, in one flat, strict, frozen table; TOML in, resolved TOML out.

    data = "pets/"                     inarch train pets.toml
    backbone = "timm:vit_tiny_patch16_224"
    method = "arc"
    [set]
    rank = 50
An unknown key, a value of another type or out of range is refused by name, before anything is loaded. Sources of the defaults:
[4.1] the common part of ARC's released training scripts (arXiv 2310.06234, repository DavidYanAnDe/ARC at 8227d57); [VTAB]
and [FGVC] their two settings; [VPT] tuning on the validation part, reporting the last epoch (arXiv 2203.12119); [VL] VL-PET's
released training scripts (arXiv 2308.09804, repository HenryHZY/VL-PET at 7430cad). The backbone says which kind of run it is: a
vision-language one generates text, any other classifies.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from inarch.adapter import Method
from inarch.backbones.address import VL_CARD
from inarch.errors import ConfigError, nearest
from inarch.methods import method_named
from inarch.toml import read_toml

PRESET = "hf:google/vit-base-patch16-224-in21k"  # documented in inarch/backbones/hub.py
FREE = frozenset({"out", "workers", "tensorboard", "report", "report_to", "checkpoint_every", "keep"})  # may change on resume

# where ARC's learning rate would be wrong: the image-classification guides of peft and of transformers, both on ViT-B and Food-101
LR = {"lora": 5e-3, "full": 5e-5}
# a vision-language backbone has no head to thaw; method, epochs and rates are [VL]'s, the rest of its settings stands in recipes/
GENERATION: dict[str, Any] = {"method": "vlpet", "thaw": (), "epochs": 20, "lr": 1e-3}
GENERATION_LR = {"full": 1e-4}
GENERATIVE = ("vl:", "config:vl-")  # how the address of a backbone that generates begins
EMBEDDED = "mini-vl"  # and the one that comes with the package

Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=1)]
FromZero = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]


def _tuple(value: Any) -> Any:
    """TOML and JSON have lists, flags have commas."""
    if isinstance(value, str):
        return tuple(part for part in value.split(",") if part)
    return tuple(value) if isinstance(value, list) else value


class Recipe(BaseModel):
    """See the comments for each field; ``set`` holds the fields of the method."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    # what
    data: Text  # address: folder, .npz, .csv, .jsonl, VTAB-1k folder, datasets:NAME, digits; with tasks, the folder of their files
    backbone: Text = PRESET  # address: hf:NAME, timm:NAME, open_clip:ARCH/TAG, vl:NAME, config:NAME, a folder, mini-vit, mini-vl
    method: Text = "arc"
    set: dict[str, Any] = {}  # fields of the method; the method's own defaults are its paper's
    thaw: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = ("head",)  # roles that train beside the method
    out: str = ""  # run folder; "": runs/DATA-BACKBONE-METHOD-SEED
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 42  # [4.1]

    # data
    val_fraction: Share = 0.2  # where the data brings no validation part; as VTAB-1k's 800 + 200
    test_fraction: Share = 0.0  # where the data brings no test part
    image_column: str = ""  # tables: "": found by name
    label_column: str = ""
    multilabel: bool = False  # tables: several labels per image
    on_bad_image: Literal["refuse", "skip"] = "refuse"
    fit: Literal["train", "train+val"] = "train"  # [VPT] tune on train, then run the chosen setting on both
    test: bool = True  # score the test part, once, at the end; false while tuning
    limit: FromZero = 0  # training examples used of each task, drawn by the seed; 0: all

    # image and text: where a vision-language backbone answers or describes
    tasks: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = ()  # published tasks in the folder data: vqa,gqa,nlvr,caption,...
    features: str = ""  # stored features: one store, or a folder with a store per task; "": made by the tower from the images
    tower: str = ""  # address of the image tower whose grid is read: open_clip:RN101/openai, hf:NAME, mini-vit
    visual_tokens: FromZero | None = None  # per image, pooled from the tower's square grid; 0: the whole grid; None: the backbone's
    beams: Whole | None = None  # of every generated text; None: as the task's protocol says, greedy answers and captions of 5 beams
    data_order: Literal["seeded", "published"] = "seeded"  # [VL] draws examples and tasks by the epoch alone, whatever the seed
    watch: FromZero = 0  # validation examples of each task scored between epochs; 0: all

    # images
    image_size: Whole | None = None  # None: the backbone's own
    resize: Literal["backbone", "squash", "crop"] = "backbone"  # [VTAB] squashes; the default is what the backbone saw
    normalise: Literal["backbone", "imagenet", "half", "none"] = "backbone"  # [4.1] uses imagenet, whatever the backbone saw
    augment: Literal["none", "flip", "fgvc"] = "none"  # [VTAB] none; [FGVC] resize 256/224, random crop, flip

    # optimisation: AdamW, betas 0.9 and 0.999
    epochs: Whole = 100  # [4.1]
    warmup_epochs: NotNegative | None = None  # None: a tenth of the epochs, as 10 of 100 in [4.1]
    batch_size: Whole = 32  # [4.1]; over all processes, per backward pass
    accumulate: Whole = 1  # backward passes per update
    lr: Positive = 1e-2  # [VTAB] 1e-2; [FGVC] 5e-3; for LoRA 5e-3, for full fine-tuning 5e-5
    schedule: Literal["cosine", "linear"] = "cosine"  # after the warm-up [4.1]; [VL] linear, to zero
    adam_eps: Positive = 1e-8  # [4.1]; [VL] 1e-6
    weight_decay: NotNegative = 0.0  # [VTAB] 0; [FGVC] and [VL] 1e-2
    decay: Literal["all", "no-bias"] = "all"  # what weight_decay is applied to [4.1]; [VL] all but biases
    clip: NotNegative = 1.0  # global norm of the gradient [4.1]; [VL] 5; 0: not clipped
    head_init: Literal["zeros", "library"] = "zeros"  # [4.1]
    backbone_noise: bool = False  # the frozen backbone's own dropout and stochastic depth; [4.1] has none, [VL] has
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    selection: Literal["none", "val"] = "none"  # [VPT] the last epoch; "val": the best epoch on the validation part

    # machine
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"  # [4.1]; fp64 is for checks
    workers: FromZero = 0  # processes that read images
    threads: FromZero = 0  # of torch; 0: as it chooses
    eval_batch_size: Whole = 256  # [4.1]
    cache_features: bool = True  # a linear probe without augmentation runs the backbone once per image

    # record
    evaluate_every: Whole = 1  # epochs between scores of the validation part
    checkpoint_every: NotNegative = 60.0  # seconds: the most that a killed run loses; 0: after every update
    keep: Whole = 2  # checkpoints kept
    tensorboard: bool = True  # where tensorboard is installed
    report: bool = True  # report.html and report.md, where matplotlib is installed
    report_to: Annotated[tuple[Literal["wandb", "mlflow", "trackio"], ...], BeforeValidator(_tuple)] = ()

    @staticmethod
    def parse(fields: dict[str, Any], where: str = "recipe") -> Recipe:
        """A checked recipe; ``ConfigError`` naming ``where``, the key, what was found and what was expected."""
        for key in fields.keys() - Recipe.model_fields.keys():
            raise ConfigError(f"{where}: unknown key {key!r}; {nearest(key, Recipe.model_fields)}")
        fields = _schemed(fields)
        fields = _defaults(fields) | fields
        try:
            recipe = Recipe.model_validate(fields)
        except ValidationError as problem:
            raise ConfigError(f"{where}: {_reasons(problem)}") from None
        recipe.method_config()
        _contradictions(recipe, where)
        return recipe

    @property
    def generates(self) -> bool:
        """Whether this run's backbone generates text from images and text; it classifies otherwise."""
        return _generates(self.backbone)

    def method_config(self) -> Method:
        """The method with its fields, as ``inarch.graft`` takes it."""
        return method_named(self.method).parse(self.set)

    def warmup(self) -> float:
        return self.epochs / 10 if self.warmup_epochs is None else self.warmup_epochs

    def folder(self) -> Path:
        """Where the run goes: ``out``, or a name made of what is trained."""
        if self.out:
            return Path(self.out)
        return Path("runs") / "-".join([_word(self.data), _word(self.backbone), self.method, str(self.seed)])

    def differences(self, other: Recipe) -> list[str]:
        """``lr: 0.01 -> 0.02`` for every field that decides the result and is not the same in ``other``."""
        mine, theirs = self.model_dump(), other.model_dump()
        mine["set"], theirs["set"] = self.method_config().fields(), other.method_config().fields()
        return [f"{key}: {mine[key]!r} -> {theirs[key]!r}" for key in mine if key not in FREE and mine[key] != theirs[key]]


def _generates(backbone: Any) -> bool:
    return isinstance(backbone, str) and (backbone.startswith(GENERATIVE) or backbone == EMBEDDED)


def _schemed(fields: dict[str, Any]) -> dict[str, Any]:
    """A vision-language folder that is named without its scheme gets it: the address alone says which kind of run it is."""
    backbone = fields.get("backbone")
    if not isinstance(backbone, str) or "\0" in backbone or _generates(backbone):
        return fields
    return fields | {"backbone": f"vl:{backbone}"} if os.path.isfile(os.path.join(os.path.expanduser(backbone), VL_CARD)) else fields


def _defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """What the method and the kind of run say of fields that are not given."""
    method, generates = fields.get("method"), _generates(fields.get("backbone"))
    rates = GENERATION_LR if generates else LR
    own = {"lr": rates[method]} if isinstance(method, str) and method in rates else {}
    return (GENERATION if generates else {}) | own


def _contradictions(recipe: Recipe, where: str) -> None:
    wrong = {
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
        "class_weights, sampling and multilabel are of classification; leave them out": recipe.generates and
            (recipe.multilabel or recipe.class_weights != "none" or recipe.sampling != "shuffle"),
    }
    for reason, holds in wrong.items():
        if holds:
            raise ConfigError(f"{where}: {reason}")


def _reasons(problem: ValidationError) -> str:
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


def _word(address: str) -> str:
    """The part of an address that names it, safe in a file name."""
    stem = address.partition("@")[0].rstrip("/").replace(":", "/").rpartition("/")[2]
    stem = stem.rpartition(".")[0] or stem
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem) or "data"


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file; raises ``ConfigError`` naming the file and the key."""
    return Recipe.parse(read_toml(Path(path)), str(path))


__all__ = ["Recipe", "load_recipe"]
