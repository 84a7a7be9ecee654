"""Native export: what is written loads by the README in its folder, without inarch, as the same function; or nothing is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import open_clip
import pytest
import timm
import torch
from torch import nn

import inarch
from inarch import backbones
from inarch.backbones import processors
from inarch.backbones.backbone import Backbone
from inarch.backbones.classifier import ImageClassifier
from inarch.errors import ConfigError, StorageError
from inarch.export import _exchanged, export_native
from inarch.preprocess import Preprocess

SIDE = 32
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": SIDE,
       "patch_size": 8, "num_labels": 3}
CLIP = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 40, "width": 16, "heads": 2, "layers": 1},
}
RULE = Preprocess(SIDE, 36, "crop", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear")
MENDED = """\
try:
    import torchvision
except (ImportError, RuntimeError):
    import sys, torch
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    torch.kept = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        torch.kept.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""  # what a user with a mismatched torchvision has to live with, so that timm alone can be imported
NAMES = ("ant", "bee", "cat")


def _shaken(model: nn.Module) -> nn.Module:
    """No zero bias or head may hide a mistake."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.eval()


def _transformers(kind: str = "ViT", **more: object) -> Backbone:
    import transformers

    config = getattr(transformers, f"{kind}Config")(**(VIT | more))
    model = getattr(transformers, f"{kind}ForImageClassification")(config)
    return Backbone(_shaken(model), "hf:./somewhere", RULE, "transformers", {"licence": "apache-2.0"}, SIDE)


def _timm(name: str = "test_vit", **more: object) -> Backbone:
    arguments = {"img_size": SIDE, **more}
    model = timm.create_model(name, num_classes=3, **arguments)
    return Backbone(_shaken(model), f"timm:{name}", RULE, "timm", {"architecture": name, "model_args": arguments}, SIDE)


def _open_clip() -> Backbone:
    model = ImageClassifier(open_clip.CLIP(**CLIP).visual, nn.Linear(12, 3))
    return Backbone(_shaken(model), "open_clip:tiny/none", RULE, "open_clip", {"model_cfg": CLIP}, SIDE)


MAKERS = {"transformers": _transformers, "timm": _timm, "open_clip": _open_clip}


def _pixels() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def _by_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """What the code in the folder's README makes of it."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert "inarch" not in code
    scope: dict = {}
    monkeypatch.chdir(folder)
    exec(code, scope)
    return scope["model"]


@pytest.mark.parametrize("library", MAKERS)
def test_the_readme_rebuilds_the_same_function(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = MAKERS[library]()
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    out = export_native(backbone.model, tmp_path / "out", backbone, classes=NAMES)
    expected = backbones.logits(backbone.model, _pixels())
    assert torch.equal(backbones.logits(_by_readme(out, monkeypatch), _pixels()), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.model.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # no draft is left
    assert not list(out.rglob("*.bin"))


@pytest.mark.parametrize("library", MAKERS)
def test_an_export_is_a_backbone_again_with_its_preprocessing(library: str, tmp_path: Path) -> None:
    backbone = MAKERS[library]()
    out = export_native(backbone.model, tmp_path / "out", backbone, classes=NAMES)
    again = backbones.load(str(out))
    assert (again.library, again.preprocess, again.image_size) == (library, RULE, SIDE)
    assert again.source["head"] == "native"
    assert torch.equal(backbones.logits(again.model, _pixels()), backbones.logits(backbone.model, _pixels()))
    second = export_native(again.model, tmp_path / "second", again, classes=NAMES)
    assert (second / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    bigger = backbones.load(str(out), image_size=48, classes=5)
    assert backbones.logits(bigger.model, torch.zeros(1, 3, 48, 48)).shape == (1, 5)


def test_class_names_stand_where_each_library_looks_for_them(tmp_path: Path) -> None:
    made = {name: make() for name, make in MAKERS.items()}
    exported = {name: export_native(one.model, tmp_path / name, one, classes=NAMES) for name, one in made.items()}
    fields = json.loads((exported["transformers"] / "config.json").read_text())
    assert fields["id2label"] == {"0": "ant", "1": "bee", "2": "cat"} and fields["label2id"]["cat"] == 2
    assert json.loads((exported["timm"] / "config.json").read_text())["label_names"] == list(NAMES)
    assert json.loads((exported["open_clip"] / "open_clip_config.json").read_text())["label_names"] == list(NAMES)
    assert "license: apache-2.0" in (exported["transformers"] / "README.md").read_text()


def test_timm_reads_the_preprocessing_of_the_export(tmp_path: Path) -> None:
    backbone = _timm()
    out = export_native(backbone.model, tmp_path / "out", backbone)
    found = timm.data.resolve_model_data_config(timm.create_model(f"local-dir:{out}", pretrained=True))
    assert found["input_size"] == (3, SIDE, SIDE) and found["interpolation"] == "bilinear" and found["crop_mode"] == "center"
    assert int(SIDE / found["crop_pct"]) == 36 and tuple(found["mean"]) == RULE.mean and tuple(found["std"]) == RULE.std


@pytest.mark.parametrize("rule", [RULE, Preprocess(SIDE), Preprocess(SIDE, None, "crop", interpolation="lanczos")])
def test_transformers_reads_the_preprocessing_of_the_export(tmp_path: Path, rule: Preprocess) -> None:
    from transformers import AutoImageProcessor

    backbone = _transformers()
    out = export_native(backbone.model, tmp_path / "out", backbone, preprocess=rule)
    assert backbones.load(str(out)).preprocess == rule
    found = AutoImageProcessor.from_pretrained(out, use_fast=False, local_files_only=True)
    assert (tuple(found.image_mean), tuple(found.image_std)) == (rule.mean, rule.std)
    image = torch.randint(0, 255, (50, 40, 3), dtype=torch.uint8).numpy()
    assert found(image, return_tensors="pt")["pixel_values"].shape == (1, 3, SIDE, SIDE)


@pytest.mark.parametrize("resize", [224, 225, 232, 238, 248, 255, 256, 257, 300, 448])
def test_a_crop_margin_survives_timms_ratio(resize: int) -> None:
    rule = Preprocess(224, resize if resize > 224 else None, "crop")
    assert processors.from_timm(processors.to_timm(rule), 224, "here") == rule


@pytest.mark.parametrize("make", [lambda: _transformers(qkv_bias=False), lambda: _transformers("Dinov2", qkv_bias=False),
                                  lambda: _timm(qkv_bias=False)])
def test_a_bias_that_merging_created_is_exported(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = make()
    created = 0
    for name, module in backbone.model.named_modules():
        if name.endswith(("q_proj", "v_proj", "qkv")):  # no k: a constant on k changes nothing
            module.bias = nn.Parameter(torch.randn(module.out_features))
            created += 1
    assert created
    out = export_native(backbone.model, tmp_path / "out", backbone)
    found, expected = (backbones.logits(model, _pixels()) for model in (_by_readme(out, monkeypatch), backbone.model))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("library", ["transformers", "timm"])
def test_what_the_format_cannot_hold_is_refused_and_nothing_is_written(library: str, tmp_path: Path) -> None:
    backbone = MAKERS[library]()
    norm = next(module for module in backbone.model.modules() if isinstance(module, nn.LayerNorm))
    norm.register_parameter("scale", nn.Parameter(torch.ones(1)))
    with pytest.raises(ConfigError, match=r"no place for: .*\.scale"):
        export_native(backbone.model, tmp_path / "out", backbone)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("library", MAKERS)
def test_a_function_that_tensors_alone_do_not_carry_is_refused(library: str, tmp_path: Path) -> None:
    """A hook left behind changes the outputs, not the tensors: the proof by logits sees it."""
    backbone = MAKERS[library]()
    norm = next(module for module in backbone.model.modules() if isinstance(module, nn.LayerNorm))
    norm.register_forward_hook(lambda module, inputs, output: output * 1.5)
    with pytest.raises(ConfigError, match="loads back differs"):
        export_native(backbone.model, tmp_path / "out", backbone)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_still_carries_adapters_is_refused(tmp_path: Path) -> None:
    backbone = _transformers()
    backbone.model.add_module("inarch", nn.Identity())
    with pytest.raises(ConfigError, match=r"inarch\.merge"):
        export_native(backbone.model, tmp_path / "out", backbone)


def test_only_an_empty_place_or_an_explicit_wish_is_written_to(tmp_path: Path) -> None:
    backbone, out = _transformers(), tmp_path / "out"
    out.mkdir()
    export_native(backbone.model, out, backbone)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        export_native(backbone.model, out, backbone)
    assert (out / "mine.txt").read_text() == "mine"
    export_native(backbone.model, out, backbone, overwrite=True)
    assert not (out / "mine.txt").exists() and (out / "model.safetensors").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        export_native(backbone.model, tmp_path / "file", backbone, overwrite=True)


@pytest.mark.parametrize("one_step", [True, False])
def test_a_disk_that_refuses_leaves_the_old_export(one_step: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two folders can change names in one step, and where the old one must go first."""
    monkeypatch.setattr("inarch.export._exchanged", lambda draft, out: one_step and _exchanged(draft, out))
    backbone, out = _transformers(), tmp_path / "out"
    export_native(backbone.model, out, backbone)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if Path(target) == out and str(source).endswith(".tmp"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(StorageError, match="No space left"):
        export_native(backbone.model, out, backbone, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_wrong_class_names_and_sizes_are_refused(tmp_path: Path) -> None:
    backbone = _transformers()
    with pytest.raises(ConfigError, match="2 class names for a head of 3"):
        export_native(backbone.model, tmp_path / "out", backbone, classes=["a", "b"])
    with pytest.raises(ConfigError, match="load it at that size"):
        export_native(backbone.model, tmp_path / "out", backbone, preprocess=Preprocess(64))
    with pytest.raises(ConfigError, match="no native format"):
        export_native(backbone.model, tmp_path / "out", SimpleNamespace(library="mine", preprocess=RULE, image_size=SIDE))


def test_half_precision_is_exported_as_it_is(tmp_path: Path) -> None:
    backbone = _timm()
    out = export_native(backbone.model.bfloat16(), tmp_path / "out", backbone)
    assert backbones.load(str(out)).source["head"] == "native"


READER = """\
import json, os, re, sys
sys.modules["inarch"] = None  # any import of it would fail
import torch
said = {{}}
for name in sys.argv[1:]:
    os.chdir(name)
    (code,) = re.findall(r"```python\\n(.*?)```", open("README.md").read(), re.DOTALL)
    scope = {{}}
    exec(code, scope)
    pixels = torch.randn(2, 3, {side}, {side}, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = scope["model"](pixels)
    out = out if isinstance(out, torch.Tensor) else out.logits
    said[os.path.basename(name)] = [out.double().tolist(), [key for key in scope["model"].state_dict() if "inarch" in key]]
print(json.dumps(said))
"""


@pytest.mark.faults
@pytest.mark.row("F5", "an export of transformers, timm and open_clip, with a merged adapter, where inarch cannot be imported")
def test_an_export_loads_in_a_process_where_inarch_does_not_exist(tmp_path: Path, tried) -> None:
    """The code in the folder's README loads it by the library alone, within 3e-6 of the merged model, and no key of ours is left."""
    expected = {}
    for library, make in MAKERS.items():
        backbone = make()
        _merged(backbone.model)
        export_native(backbone.model, tmp_path / library, backbone, classes=NAMES)
        with torch.no_grad():
            expected[library] = backbones.logits(backbone.model, _pixels()).double()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(MENDED)
    command = [sys.executable, "-c", READER.format(side=SIDE), *(str(tmp_path / library) for library in MAKERS)]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for library, logits in expected.items():
        found, left = said[library]
        assert left == [] and (torch.tensor(found, dtype=torch.float64) - logits).abs().max() <= 3e-6 * logits.abs().max()
    tried(len(MAKERS))


@pytest.mark.parametrize(
    "make",
    [_transformers, _timm, _open_clip, lambda: _transformers(qkv_bias=False), lambda: _timm(qkv_bias=False),
     lambda: _transformers("Beit", use_relative_position_bias=True),
     lambda: _timm("swin_tiny_patch4_window7_224", embed_dim=24, depths=(1, 1), num_heads=(1, 2))],
)
def test_a_merged_adapter_travels_in_the_export(make, tmp_path: Path) -> None:
    backbone = make()
    with torch.no_grad():
        bare = backbones.logits(backbone.model, _pixels())
        _merged(backbone.model)
        merged = backbones.logits(backbone.model, _pixels())
        found = backbones.load(str(export_native(backbone.model, tmp_path / "out", backbone)))
        assert torch.equal(backbones.logits(found.model, _pixels()), merged)
    assert (bare - merged).abs().max() > 1e-3


def test_a_merge_that_the_architecture_has_no_bias_for_is_refused(tmp_path: Path) -> None:
    """EVA rotates its keys, so a key bias does not cancel, and its own format has none."""
    backbone = _timm("eva02_tiny_patch14_224", depth=1, img_size=28)
    backbone.preprocess, backbone.image_size = Preprocess(28), 28
    _merged(backbone.model)
    with pytest.raises(ConfigError, match="loads back differs"):
        export_native(backbone.model, tmp_path / "out", backbone)
    assert list(tmp_path.iterdir()) == []


def _merged(model: nn.Module) -> None:
    inarch.graft(model, inarch.ARC(rank=4), thaw=("head",))
    for parameter in model.inarch.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    inarch.merge(model)


@pytest.mark.parametrize("library", MAKERS)
def test_whoever_may_read_one_file_may_read_them_all(library: str, tmp_path: Path) -> None:
    backbone = MAKERS[library]()
    out = export_native(backbone.model, tmp_path / "out", backbone, classes=NAMES)
    assert len({file.stat().st_mode for file in out.iterdir()}) == 1
