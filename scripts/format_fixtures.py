"""Files of the present format, kept for good: every later inarch must read them and compute what is stored beside them.

    python scripts/format_fixtures.py        writes tests/fixtures/format-N and generations-M, N and M the formats of this checkout

Backbones are filled by a formula over the roles of their tensors, so that no library's initialisation is asked. What a model computes
is stored in single precision, computed in double, so that another machine's order of additions does not show. A version that is there
is never written again.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inarch.backbones.torchvision import mend_torchvision

mend_torchvision()

import transformers  # noqa: E402

import inarch  # noqa: E402
from inarch import ARC, VLPET, AdaRing, LoRA, card, files, roles  # noqa: E402
from inarch.backbones.seats import seat_of  # noqa: E402
from inarch.backbones.vision_language import VisionLanguage, VisualProjector  # noqa: E402
from inarch.training import generations  # noqa: E402
from inarch.training.generations import Generations  # noqa: E402

FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
OUTPUTS = "outputs.safetensors"
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 16, "patch_size": 8}
WORDS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 20,
         "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 19, "pad_token_id": 1}


def wave(label: str, shape: torch.Size | tuple[int, ...], size: float = 0.4) -> Tensor:
    """Numbers in (-size, size) that no library chooses and no machine rounds otherwise: ``(7919 k + crc32(label)) mod 2003``, scaled."""
    steps = (7919 * torch.arange(torch.Size(shape).numel()) + zlib.crc32(label.encode())) % 2003
    return (size * (steps.double() - 1001) / 1024).reshape(shape)


def vit() -> nn.Module:
    return transformers.ViTForImageClassification(transformers.ViTConfig(**VIT, num_labels=3))


def clip() -> nn.Module:
    return transformers.CLIPModel(transformers.CLIPConfig(text_config=WORDS, vision_config=VIT, projection_dim=8))


def bart() -> nn.Module:
    shape = {"vocab_size": 20, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 20}
    language = transformers.BartForConditionalGeneration(transformers.BartConfig(**shape))
    seat = seat_of(language.config)
    return VisionLanguage(language, VisualProjector(6, 16, seat.norm(language.config), seat.norm(language.config), 4, 2), seat)


def filled(build: Callable[[], nn.Module]) -> nn.Module:
    """The backbone with every parameter by the formula; norms stay near one."""
    model = build().eval()
    names = roles.canonical(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            near = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(near + wave(names[name], parameter.shape))
    return model


def classified(model: nn.Module) -> Tensor:
    return model(pixel_values=wave("pixels", (2, 3, 16, 16), 1.0)).logits


def embedded(model: nn.Module) -> Tensor:
    words = torch.tensor([[0, 5, 7, 19], [0, 11, 3, 19]])
    out = model(pixel_values=wave("pixels", (2, 3, 16, 16), 1.0), input_ids=words)
    return torch.cat([out.image_embeds, out.text_embeds], dim=-1)


def told(model: nn.Module) -> Tensor:
    ids = torch.tensor([[4, 5, 7, 9, 6], [8, 11, 3, 1, 1]])
    labels = torch.tensor([[5, 6, 7], [8, 9, -100]])
    return model(ids, (ids != 1).long(), wave("features", (2, 2, 9, 6), 1.0), labels, wave("boxes", (2, 2, 9, 4), 0.5) + 0.5)


@dataclass(frozen=True)
class Case:
    """``graft``: what is put on the backbone ``build`` makes; ``run``: one output of the grafted model."""

    build: Callable[[], nn.Module]
    method: Any
    run: Callable[[nn.Module], Tensor]
    thaw: str | tuple[str, ...] = ()
    head: Callable[[], nn.Module] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


CASES = {
    "arc": Case(vit, ARC(rank=2), classified, thaw="head", extra={"classes": ["amber", "Birne", "çam"], "size": 16}),
    "lora": Case(vit, LoRA(rank=2), classified, head=lambda: nn.Linear(16, 4)),
    "adaring": Case(clip, AdaRing(ranks=(1, 2), bottleneck=4, dropout=0.0, expert_dropout=0.0), embedded),
    "vlpet": Case(bart, VLPET(rank=4, gate_rank=3, value_rank=2), told),
}


def trained(case: Case) -> nn.Module:
    """The grafted backbone with every trained number by the formula."""
    model = inarch.graft(filled(case.build), case.method, thaw=case.thaw, head=case.head() if case.head else None)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(wave(f"trained {name}", parameter.shape))
    return model


def output(case: Case, model: nn.Module) -> Tensor:
    """In single precision, computed in double; the model is widened."""
    with torch.no_grad():
        return case.run(model.double().eval()).float()


def write_generation(folder: Path) -> None:
    tensors = {"trained": {"block.down": wave("down", (3, 2)).float(), "step": torch.tensor(7)}, "optimizer": {}}
    Generations(folder).save(tensors, {"run": {"updates": 7, "loss": 0.5}, "scaler": None})


def write_adapters(folder: Path) -> None:
    found = {}
    for name, case in CASES.items():
        model = trained(case)
        inarch.save(model, folder / name, extra=case.extra)
        found[name] = output(case, model)
    files.write(folder / OUTPUTS, files.tensor_bytes(found))


def main() -> int:
    written = 0
    for name, write in ((f"format-{card.FORMAT}", write_adapters), (f"generations-{generations.FORMAT}", write_generation)):
        if (FIXTURES / name).exists():
            print(f"{FIXTURES / name} is there; what a version wrote is never written again", file=sys.stderr)
        else:
            write(FIXTURES / name)
            written += 1
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
