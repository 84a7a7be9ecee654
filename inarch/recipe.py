"""A recipe: everything that decides a training run, in one flat, strict, frozen table; TOML in, resolved TOML out.

    data = "pets/"                     inarch train pets.toml
    backbone = "timm:vit_tiny_patch16_224"
    method = "arc"
    [set]
    rank = 50
An unknown key, a value of another type or out of range is refused by name, before anything is loaded. Sources of the defaults:
[4.1] the common part of ARC's released training scripts (arXiv 2310.06234, repository DavidYanAnDe/ARC at 8227d57); [VTAB]
and [FGVC] their two settings; [VPT] tuning on the validation part, reporting the last epoch (arXiv 2203.12119); [VL] VL-PET's
released training scripts (arXiv 2308.09804, repository HenryHZY/VL-PET at 7430cad); [MMA] the release of Multi-Modal Adapter
(repository ZjjConan/Multi-Modal-Adapter at 547ee34); [ours] no paper: the design of our AdaRing. The backbone says which kind of
run it is: a vision-language one generates text, two towers match images and names, any other classifies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from inarch.adapter import NULL, Method
from inarch.errors import ConfigError, nearest
from inarch.methods import configured
from inarch.recipe_rules import contradictions, defaults, kind_of, reasons, schemed, storable
from inarch.toml import read_toml

PRESET = "hf:google/vit-base-patch16-224-in21k"  # documented in inarch/backbones/hub.py
FREE = frozenset((  # may change on resume
    "out", "workers", "recompute", "cache_folder", "tensorboard", "report", "report_to", "checkpoint_every", "keep",
))

Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Whole = Annotated[int, Field(ge=1, lt=1 << 31)]
FromZero = Annotated[int, Field(ge=0, lt=1 << 31)]
Text = Annotated[str, Field(min_length=1)]


def _tuple(value: Any) -> Any:
    """TOML and JSON have lists, flags have commas."""
    if isinstance(value, str):
        return tuple(part for part in value.split(",") if part)
    return tuple(value) if isinstance(value, list) else value


def _sentences(value: Any) -> Any:
    """A sentence has commas of its own: a lone string is one template."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class Recipe(BaseModel):
    """See the comments for each field; ``set`` holds the fields of the method."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    # what
    data: Text  # address: folder, .npz, .csv, .jsonl, VTAB-1k folder, datasets:NAME, digits; with tasks, the folder of their files
    backbone: Text = PRESET  # address: hf:NAME, timm:NAME, open_clip:ARCH/TAG, vl:NAME, config:NAME, a folder, mini-vit, mini-vl
    recipe: Literal["", "mma"] = ""  # "mma": optimiser, rate, epochs, batch and losses of [MMA], whatever the method
    method: Text = "arc"
    set: dict[str, Any] = {}  # fields of the method; the method's own defaults are its paper's
    thaw: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = ("head",)  # roles that train beside the method
    out: str = ""  # run folder; "": runs/DATA-BACKBONE-METHOD-SEED
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 42  # [4.1]

    # data
    val_fraction: Share = 0.2  # where the data brings no validation part; as VTAB-1k's 800 + 200
    test_fraction: Share = 0.0  # where the data brings no test part
    split_seed: FromZero | None = None  # draws the parts that the data does not bring; None: the seed
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

    # two towers: images matched with the names of classes, or with captions
    protocol: Literal["base-to-novel", "all", "retrieval"] = "base-to-novel"  # learn half of the classes, all of them, or captions
    shots: FromZero = 16  # training images per class, drawn by the seed as in CoOp's code; 0: all
    templates: Annotated[tuple[str, ...], BeforeValidator(_sentences)] = ("a photo of a {}.",)  # [MMA]; "coop": CoOp's for the data
    transfer: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = ()  # other data, scored as it is at the end, all its classes
    names_per_update: FromZero = 0  # class names an update compares with: those of its images and others by lot; 0: all
    keep_text: NotNegative = 0.0  # weight of 1 - cosine between class names' features and the frozen model's
    keep_image: NotNegative = 0.0  # the same of images
    keep_logits: NotNegative = 0.0  # weight of KL(frozen model's classes || adapted model's)
    keep_scale: NotNegative = 0.0  # weight of 1 - cosine to the features at a random part of the adapters' scale
    probe: Literal["off", "gates"] = "off"  # "gates": learn the method's gates first, on base classes that its cores do not see
    probe_share: Share = 0.3  # of the updates, spent on the probe before the fit
    least_updates: FromZero = 0  # epochs are lengthened by further passes over the data until there are as many
    most_updates: FromZero = 0  # and cut short where there would be more; 0: as many as there are

    # images
    image_size: Whole | None = None  # None: the backbone's own
    resize: Literal["backbone", "squash", "crop"] = "backbone"  # [VTAB] squashes; the default is what the backbone saw
    normalise: Literal["backbone", "imagenet", "half", "none"] = "backbone"  # [4.1] uses imagenet, whatever the backbone saw
    augment: Literal["none", "flip", "fgvc", "clip"] = "none"  # [VTAB] none; [FGVC] resize 256/224, random crop, flip; [MMA] clip

    # optimisation: betas 0.9 and 0.999, momentum 0.9
    epochs: Whole = 100  # [4.1]
    warmup_epochs: NotNegative | None = None  # None: a tenth of the epochs, as 10 of 100 in [4.1]
    batch_size: Whole = 32  # [4.1]; over all processes, per backward pass
    accumulate: Whole = 1  # backward passes per update
    lr: Positive = 1e-2  # [VTAB] 1e-2; [FGVC] 5e-3; for LoRA 5e-3, for full fine-tuning 5e-5
    schedule: Literal["cosine", "linear", "cosine-epochs"] = "cosine"  # after the warm-up [4.1]; [VL] linear, to zero; [MMA] by epoch
    warmup_lr: NotNegative | None = None  # one rate throughout the warm-up, instead of a rise
    optimizer: Literal["adamw", "sgd"] = "adamw"  # [4.1]; [MMA] sgd with momentum 0.9
    adam_eps: Positive = 1e-8  # [4.1]; [VL] 1e-6
    weight_decay: NotNegative = 0.0  # [VTAB] 0; [FGVC] and [VL] 1e-2
    decay: Literal["all", "no-bias"] = "all"  # what weight_decay is applied to [4.1]; [VL] all but biases
    clip: NotNegative = 1.0  # global norm of the gradient [4.1]; [VL] 5; 0: not clipped
    skip_nonfinite: FromZero = 0  # updates that may be passed over where loss or gradient is not finite; 0: the first ends the run
    head_init: Literal["zeros", "library"] = "zeros"  # [4.1]
    backbone_noise: bool = False  # the frozen backbone's own dropout and stochastic depth; [4.1] has none, [VL] has
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["shuffle", "balanced"] = "shuffle"
    selection: Literal["none", "val"] = "none"  # [VPT] the last epoch; "val": the best epoch on the validation part

    # machine
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"  # [4.1]; fp64 is for checks
    half_base: bool = False  # frozen matrices stored in the half of precision too; what trains stays fp32
    quantised_base: Literal["int8", "fp8"] | None = None  # frozen linear layers stored in eight bits, by torchao; None: as they come
    workers: FromZero = 0  # processes that read images
    threads: FromZero = 0  # of torch; 0: as it chooses
    eval_batch_size: Whole = 64  # decides no number; [4.1] has 256, which a CPU computes more slowly
    recompute: bool = False  # blocks are computed again in backward: a fraction of the memory for about a third more time
    rebuild: bool = True  # adapters make again in backward what need not be kept; false: less time, more memory
    cache_features: bool = True  # what lies before the first trained number runs once per image or name, where that is exact
    cache_folder: str = ""  # of classification: a folder, memory-mapped, where later runs find it again; "": in memory, for this run
    cache_dtype: Literal["fp32", "fp16", "bf16"] | None = None  # of what is kept; None: as it is computed

    # record
    evaluate_every: FromZero = 1  # epochs between scores of the validation part; 0: once, when all are done
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
        fields = {key: None if value == NULL and Recipe.model_fields[key].default is None else value for key, value in fields.items()}
        fields = schemed(storable(fields, where))
        fields = defaults(fields) | fields
        try:
            recipe = Recipe.model_validate(fields)
        except ValidationError as problem:
            raise ConfigError(f"{where}: {reasons(problem)}") from None
        recipe.method_config()
        contradictions(recipe, where)
        return recipe

    def spelled(self) -> dict[str, Any]:
        """The fields for a file without a word for ``None``, from which ``parse`` makes this recipe: a None that is no default is said."""
        fields, method = self.model_dump(), self.method_config().fields()
        filled = defaults({key: value for key, value in fields.items() if value is not None})
        usual = configured(self.method, {key: value for key, value in method.items() if value is not None}).fields()
        return _said(fields, filled) | {"set": _said(method, usual)}

    @property
    def generates(self) -> bool:
        """Whether this run's backbone generates text from images and text; it classifies otherwise."""
        return self.kind == "generate"

    @property
    def kind(self) -> Literal["classify", "generate", "match", "retrieve"]:
        """What this run learns: the backbone says it, and for two towers the protocol."""
        return kind_of(self.backbone, self.protocol)

    def method_config(self) -> Method:
        """The method with its fields, as ``inarch.graft`` takes it."""
        return configured(self.method, self.set)

    def drawn_by(self) -> int:
        """The seed that draws the parts which the data does not bring."""
        return self.seed if self.split_seed is None else self.split_seed

    def warmup(self) -> float:
        return self.epochs / 10 if self.warmup_epochs is None else self.warmup_epochs

    def folder(self) -> Path:
        """Where the run goes: ``out``, or a name made of what is trained."""
        if self.out:
            return Path(self.out)
        return Path("runs") / "-".join([_word(self.data), _word(self.backbone), _word(self.method), str(self.seed)])

    def differences(self, other: Recipe) -> list[str]:
        """``lr: 0.01 -> 0.02`` for every field that decides the result and is not the same in ``other``."""
        mine, theirs = self.model_dump(), other.model_dump()
        mine["set"], theirs["set"] = self.method_config().fields(), other.method_config().fields()
        return [f"{key}: {mine[key]!r} -> {theirs[key]!r}" for key in mine if key not in FREE and mine[key] != theirs[key]]


def _word(address: str) -> str:
    """The part of an address that names it, safe in a file name."""
    stem = address.partition("@")[0].rstrip("/").replace(":", "/").rpartition("/")[2]
    stem = stem.rpartition(".")[0] or stem
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem) or "data"


def _said(fields: dict[str, Any], filled: dict[str, Any]) -> dict[str, Any]:
    """``filled``: what a reader puts where a field is left out."""
    return {key: NULL if value is None and filled.get(key) is not None else value for key, value in fields.items()}


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file; raises ``ConfigError`` naming the file and the key."""
    return Recipe.parse(read_toml(Path(path)), str(path))


__all__ = ["Recipe", "load_recipe"]
