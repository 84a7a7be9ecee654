"""How each library saves and loads the same tiny LoRA, and how a case damages the folder that it wrote."""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before huggingface_hub is imported: peft asks the hub for what it does not find

import torch
from torch import nn

import inarch
from campaign.cases import Case, Words, edited_text
from inarch import LoRA, files
from inarch.errors import CheckpointError

ACCIDENTS = (TypeError, KeyError, AttributeError, IndexError, json.JSONDecodeError, ConnectionError)
SHAPE = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 16, "patch_size": 8,
         "num_labels": 3}
BASES = {"same": (0, {}), "other": (1, {}), "wider": (0, {"hidden_size": 32}), "shallow": (0, {"num_hidden_layers": 2})}


def base(name: str) -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    seed, changes = BASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ViTForImageClassification(ViTConfig(**{**SHAPE, **changes})).eval()


class Library(ABC):
    """How one library saves a LoRA of rank 4 on queries and values, and loads it again."""

    words: Words
    own: tuple[type[Exception], ...] = ()

    @abstractmethod
    def save(self, folder: Path) -> None: ...

    @abstractmethod
    def load(self, model: nn.Module, folder: Path) -> nn.Module: ...

    @abstractmethod
    def config(self, folder: Path) -> Path: ...

    def weights(self, folder: Path) -> Path:
        return next(folder.glob("*.safetensors"))

    def put(self, folder: Path, data: bytes, case: Case) -> None:
        """The edited weights in the place of the old."""
        self.weights(folder).write_bytes(data)

    def reseal(self, folder: Path) -> None:
        """Make every digest right again."""
        raise NotImplementedError(f"{type(self).__name__} keeps no digest")

    def refused(self, problem: Exception) -> bool:
        """Whether the error is one of the library's own about what it read."""
        return isinstance(problem, self.own)


class Peft(Library):
    words = Words((), "r", "lora_alpha", "target_modules", "peft_type")

    def save(self, folder: Path) -> None:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(base("same"), LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"], lora_dropout=0.0))
        _randomise([p for n, p in sorted(model.named_parameters()) if "lora_" in n])
        model.save_pretrained(folder)

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        from peft import PeftModel

        return PeftModel.from_pretrained(model, str(folder)).eval()

    def config(self, folder: Path) -> Path:
        return folder / "adapter_config.json"

    def put(self, folder: Path, data: bytes, case: Case) -> None:
        super().put(folder, data, case)
        if case.name == "pickle payload":  # it reads pickles from this name
            self.weights(folder).rename(folder / "adapter_model.bin")

    def refused(self, problem: Exception) -> bool:
        return not isinstance(problem, ACCIDENTS) and not type(problem).__module__.startswith("huggingface_hub")


class Ours(Library):
    words = Words(("config",), "rank", "alpha", "targets", "method")
    own = (CheckpointError,)

    def save(self, folder: Path) -> None:
        model = inarch.graft(base("same"), LoRA(rank=4, alpha=16, targets=("q", "v")))
        _randomise([p for _, p in sorted(model.inarch.named_parameters())])
        inarch.save(model, folder)

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        inarch.load(model, folder)
        return model

    def config(self, folder: Path) -> Path:
        return folder / "adapter.json"

    def reseal(self, folder: Path) -> None:
        card, data = json.loads(self.config(folder).read_bytes()), self.weights(folder).read_bytes()
        del card["digest"]
        card |= {"bytes": len(data), "sha256": files.sha256(data)}
        self.config(folder).write_bytes(edited_text(card | {"digest": files.sha256(edited_text(card, 1))}, 1))


def _randomise(parameters: list[nn.Parameter]) -> None:
    torch.manual_seed(0)
    for parameter in parameters:
        parameter.data = 0.1 * torch.randn_like(parameter)


def damaged(library: Library, good: Path, place: Path, case: Case, resealed: bool = False) -> Path:
    """A copy of the folder ``good`` at ``place`` with the case's edit made."""
    folder = Path(shutil.copytree(good, place))
    config = library.config(folder)
    if case.weights is not None:
        library.put(folder, case.weights(library.weights(folder).read_bytes()), case)
    if case.config is not None:
        fields = json.loads(config.read_bytes())
        case.config(fields, library.words)
        config.write_bytes(edited_text(fields, 1))
    if case.text is not None:
        config.write_bytes(case.text(config.read_bytes()))
    if case.gone is not None:
        (config if case.gone == "config" else library.weights(folder)).unlink()
    if resealed:
        library.reseal(folder)
    return folder


def resealable(case: Case) -> bool:
    """Whether there is a digest that a knowing hand could make right again."""
    return case.weights is not None or case.config is not None
