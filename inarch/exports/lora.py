"""``--to lora``: an ordinary LoRA folder of ``peft``, exact, which loads on the same backbone where inarch is not installed.

    adapter_config.json, adapter_model.safetensors    what PeftModel.from_pretrained reads; lora_alpha = r, so the factors stand as they are
    check.safetensors                                 two images of random pixels, and the grafted model's logits of them
    README.md                                         the script that loads it, compares, and prints the largest difference
    base/                                             the backbone, where no library finds it by name
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import inarch
from inarch.backbones.backbone import Backbone, logits
from inarch.backbones.torchvision import import_library
from inarch.container import container_of
from inarch.errors import CannotFold
from inarch.evaluate import Rebuilt, rebuild
from inarch.export import drafted
from inarch.exports.low_rank import Linear, linear_of
from inarch.exports.stock import Stock, still, stock_of
from inarch.files import canonical
from inarch.folding import backbone_of, random_pixels
from inarch.reporting.results import line

TOLERANCE = 1e-5  # of the largest logit, or of 1 where all are smaller
_SCRIPT = """\
import torch
from peft import PeftModel
from safetensors.torch import load_file
{base}
model = PeftModel.from_pretrained(base, ".").eval()
check = load_file("check.safetensors")
with torch.no_grad():
    found = model(check["pixels"])
found = getattr(found, "logits", found)
print("maximum difference of logits:", (found - check["logits"]).abs().max().item())
"""


def _write(run: str | Path, out: Path, *, overwrite: bool, progress: Any) -> str:
    peft = import_library("peft", "peft")
    rebuilt = rebuild(run)
    model = rebuilt.net.model.float()
    pixels = random_pixels(rebuilt, 2)
    with torch.no_grad():
        expected = logits(model, pixels)
    linear = linear_of(model, container_of(model))
    inarch.ungraft(model)
    with drafted(out, overwrite) as draft:
        stock = stock_of(model, _backbone(rebuilt), expected.shape[-1], draft, linear.whole.keys())
        _save(peft, linear, model, stock.name, draft)
        save_file({"pixels": pixels, "logits": expected}, draft / "check.safetensors")
        (draft / "README.md").write_text(_readme(rebuilt, linear, stock), encoding="utf-8")
        apart = _prove(peft, stock, draft, linear, pixels, expected)
    return (f"{out}: LoRA of {len(linear.factors)} layers, {len(linear.whole)} modules kept whole; loaded by peft alone, "
            f"the largest difference of a logit is {apart:.1e} on {len(pixels)} images of random pixels")


WRITERS = {"lora": _write}


def _backbone(rebuilt: Rebuilt) -> Backbone:
    """With the address as it is found from here."""
    found = backbone_of(rebuilt)
    return dataclasses.replace(found, address=rebuilt.run.locate(found.address, rebuilt.card.base))


def said(rebuilt: Rebuilt) -> str:
    """The method in a line: ``ARC(rank=50)``."""
    return line(rebuilt.recipe.method, rebuilt.recipe.method_config().fields())


def _save(peft: Any, linear: Linear, base: nn.Module, name: str, folder: Path) -> None:
    fields = _config(peft, linear, base, name).to_dict()
    in_order = {key: sorted(value) if isinstance(value, set) else value for key, value in fields.items()}
    (folder / "adapter_config.json").write_bytes(canonical(in_order))
    save_file(tensors(linear), folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _config(peft: Any, linear: Linear, base: nn.Module, name: str) -> Any:
    ranks = {path: factor.rank for path, factor in linear.factors.items()}
    usual = max({*ranks.values()}, key=[*ranks.values()].count)
    others = {f"^{re.escape(path)}": rank for path, rank in ranks.items() if rank != usual}
    return peft.LoraConfig(r=usual, lora_alpha=usual, rank_pattern=others, alpha_pattern=others, target_modules=_targets(base, list(ranks)),
                           lora_bias=linear.shifts, modules_to_save=sorted(linear.whole) or None, base_model_name_or_path=name,
                           inference_mode=True)


def _targets(base: nn.Module, paths: list[str]) -> list[str] | str:
    """The layers by their full names; as a pattern, which PEFT compares with whole names, where a name is also the end of another."""
    ends = tuple("." + path for path in paths)
    mistaken = any(path.endswith(ends) and path not in paths for path, _ in base.named_modules())
    return "|".join(map(re.escape, paths)) if mistaken else paths


def tensors(linear: Linear) -> dict[str, Tensor]:
    """As PEFT names them in its file."""
    named: dict[str, Tensor] = {}
    for path, factor in linear.factors.items():
        named |= {f"{path}.lora_A.weight": factor.down, f"{path}.lora_B.weight": factor.up}
        if linear.shifts:
            named[f"{path}.lora_B.bias"] = factor.up.new_zeros(factor.up.shape[0]) if factor.shift is None else factor.shift
    named |= {f"{path}.{name}": tensor for path, state in linear.whole.items() for name, tensor in state.items()}
    return {f"base_model.model.{name}": tensor.detach().float().cpu().contiguous() for name, tensor in named.items()}


def _prove(peft: Any, stock: Stock, folder: Path, linear: Linear, pixels: Tensor, expected: Tensor) -> float:
    """peft alone must load every tensor of the file, and give the grafted model's logits."""
    with still(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.PeftModel.from_pretrained(stock.load(folder), str(folder)).eval()
        found = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    lost = [name for name, tensor in tensors(linear).items() if name not in found or not torch.equal(found[name], tensor)]
    with torch.no_grad():
        apart = float((logits(model, pixels) - expected).abs().max())
    if lost or found.keys() - tensors(linear).keys() or not apart <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise CannotFold(f"what peft {peft.__version__} loads differs (tensors: {', '.join(lost[:3]) or 'none'}; logits: {apart:.1e}); "
                         "nothing was written: export the whole model instead, --to native")
    return apart


def _readme(rebuilt: Rebuilt, linear: Linear, stock: Stock) -> str:
    shift = ("`lora_bias` is on: the constant that the adapter adds before or behind a layer, taken through its weights, is the bias "
             "of `lora_B`. " if linear.shifts else "")
    kept = f"Kept whole (`modules_to_save`): {', '.join(f'`{path}`' for path in sorted(linear.whole))}. " if linear.whole else ""
    return (f"# {said(rebuilt)} as LoRA\n\n"
            f"Exported by inarch for the backbone `{rebuilt.card.backbone['address']}`. Loads with `peft` alone; in this folder:\n\n"
            f"```python\n{_SCRIPT.format(base=stock.code)}```\n\n"
            f"The adapter is linear in what it reads, so this is the same function, not an approximation: `lora_alpha = r`, and B A is what"
            f" merging adds to a weight. {shift}{kept}It holds for the frozen backbone as it is; other weights give another model.\n\n"
            f"Images: {rebuilt.card.view.told()}.\n"
            f"Classes: {', '.join(rebuilt.card.classes)}.\n")
