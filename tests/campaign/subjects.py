"""What the fuzz campaign damages: adapter folders of three methods, with a thawed head or one of their own, and a run's generations.

Each is a set of files as bytes, with a way to read them through the library and to make their digests right again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn

import inarch
from campaign import damage
from inarch import ARC, AdaRing, LoRA, files
from inarch.adapter import Method
from inarch.training.generations import Generations
from inarch.training.state import Best, State, Tally, restore, snapshot

Files = dict[str, bytes]
METHODS: dict[str, Method] = {
    "ARC": ARC(rank=2), "AdaRing": AdaRing(layers=None, ranks=(1, 2), bottleneck=8), "LoRA": LoRA(rank=2, alpha=4),
    "LoRA with a head": LoRA(rank=2, targets=("fc1",)),
}


class Subject(ABC):
    """``files`` by path, as written; ``twin``: another valid set of the same layout."""

    name: str
    files: Files
    twin: Files

    @abstractmethod
    def read(self, folder: Path) -> tuple[str, dict[str, Tensor]]:
        """What the library makes of the folder: under which path the files lie that it used, and the tensors it took from them."""

    @abstractmethod
    def reseal(self, found: Files, name: str, chance: Random) -> Files:
        """With every digest made right again after ``found[name]`` was changed, as a knowing hand could."""

    def pair(self, name: str) -> str:
        """The path in ``twin`` of the file that stands where ``name`` stands here."""
        return name

    def sealed(self) -> list[str]:
        """Files whose digest another file holds."""
        return [name for name in self.files if name.endswith(".safetensors")]

    def newest(self) -> str:
        """The path under which the files lie that must be used while they are whole."""
        return ""


def tiny_vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(3)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 16,
             "patch_size": 8, "num_labels": 3}
    return ViTForImageClassification(ViTConfig(**shape)).eval()


def state_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


class AdapterFolder(Subject):
    """An adapter on ``model``, random values, as ``inarch.save`` wrote it."""

    def __init__(self, name: str, model: nn.Module) -> None:
        self.name, self.model = name, model
        self.files, self.twin = self._saved(1), self._saved(2)

    def _saved(self, seed: int) -> Files:
        torch.manual_seed(seed)
        head = {"head": nn.Linear(16, 4)} if self.name.endswith("with a head") else {"thaw": "head"}
        inarch.graft(self.model, METHODS[self.name], **head)
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn_like(parameter)
        with tempfile.TemporaryDirectory() as place:
            inarch.save(self.model, place, extra={"classes": ["amber", "beryl", "coral"], "size": 16})
            found = {path.name: path.read_bytes() for path in Path(place).iterdir()}
        inarch.ungraft(self.model)
        return found

    def read(self, folder: Path) -> tuple[str, dict[str, Tensor]]:
        inarch.load(self.model, folder)
        found = {n: p.detach().clone() for n, p in self.model.named_parameters() if p.requires_grad}
        inarch.ungraft(self.model)
        return "", found

    def pair(self, name: str) -> str:
        return next(other for other in self.twin if Path(other).suffix == Path(name).suffix)

    def reseal(self, found: Files, name: str, chance: Random) -> Files:
        card = json.loads(self.files["adapter.json"])
        if name == "adapter.json":
            card.pop("digest")
            card = damage.edited(card, chance)
        else:
            card |= {"bytes": len(found[name]), "sha256": files.sha256(found[name])}
            card.pop("digest")
        return found | {"adapter.json": damage.text(card | {"digest": files.sha256(damage.text(card))})}

    def sealed(self) -> list[str]:
        return ["adapter.json", *super().sealed()]


class Checkpoints(Subject):
    """Two generations of a run that AdamW trains, and LATEST; reading puts one back into parameters and an optimizer."""

    name = "generations"

    def __init__(self) -> None:
        self.files, self.twin = self._saved(1), self._saved(2)

    def _saved(self, seed: int) -> Files:
        torch.manual_seed(seed)
        trained, optimizer = _trainee()
        with tempfile.TemporaryDirectory() as place:
            for updates in (1, 2):
                optimizer.zero_grad()
                sum((p * torch.randn_like(p)).sum() for p in trained.values()).backward()
                optimizer.step()
                best = Best(0.5, updates, {n: p.detach().clone() for n, p in trained.items()})
                state = State(updates, updates, tally=Tally(1.5, 2.0, 8, 0.1), best=best)
                Generations(Path(place)).save(*snapshot(state, trained, optimizer, None))
            return {str(path.relative_to(place)): path.read_bytes() for path in Path(place).rglob("*") if path.is_file()}

    def read(self, folder: Path) -> tuple[str, dict[str, Tensor]]:
        found = Generations(folder).load()
        if found is None:
            raise inarch.errors.Incomplete("no generation is there")  # an empty folder is no error of the library's: a run starts
        trained, optimizer = _trainee()
        state = restore(found, trained, optimizer, None)
        values = {f"{n}/{key}": value for n, p in trained.items() for key, value in optimizer.state[p].items()}
        values |= {f"best/{n}": value for n, value in state.best.values.items()} if state.best else {}
        return f"gen-{found.number:06d}/", values | {n: p.detach() for n, p in trained.items()}

    def reseal(self, found: Files, name: str, chance: Random) -> Files:
        place, _, file = name.rpartition("/")
        manifest = json.loads(self.files[f"{place}/manifest.json"])
        manifest["files"][file] = {"bytes": len(found[name]), "sha256": files.sha256(found[name])}
        if manifest.pop("digest", None):
            manifest["digest"] = files.sha256(damage.text(manifest))
        return found | {f"{place}/manifest.json": damage.text(manifest)}

    def sealed(self) -> list[str]:
        return [name for name in self.files if name.endswith((".safetensors", "state.json"))]

    def newest(self) -> str:
        return "gen-000002/"


def _trainee() -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    trained = {"down": nn.Parameter(torch.randn(4, 2)), "scale": nn.Parameter(torch.zeros(3, 2)), "bias": nn.Parameter(torch.zeros(5))}
    return trained, torch.optim.AdamW(trained.values(), lr=0.1)


def subjects(model: nn.Module) -> list[Subject]:
    return [*(AdapterFolder(name, model) for name in METHODS), Checkpoints()]
