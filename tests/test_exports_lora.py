"""``--to lora``: a linear graft is the same function in plain peft, in a process without inarch; what is not linear is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from exported import Exported, save_timm, tree
from safetensors.torch import load_file
from test_export import MENDED
from torch import nn

import inarch
from inarch.cli import main
from inarch.container import container_of
from inarch.errors import CannotFold
from inarch.evaluate import rebuild
from inarch.exports import beside, export_run
from inarch.exports.lora import _targets
from inarch.exports.low_rank import linear_of

RUNS = {
    "arc": {}, "norms": {"thaw": ["head", "norms"]}, "biases": {"thaw": ["head", "biases"]},
    "lora": {"method": "lora", "set": {"rank": 3, "targets": ["q", "v", "fc1"], "alpha": 6}},
    "post": {"method": "adaring", "set": {"site": "post", "ranks": [1, 2]}},
    "ring": {"method": "adaring", "set": {"site": "lora", "ranks": [1, 2]}},
}  # fmt: skip
POST = inarch.AdaRing(site="post", ranks=(1, 2), dropout=0.0, expert_dropout=0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(tmp_path_factory.mktemp("lora"))


def grafted(model: nn.Module, method: inarch.adapter.Method, *thaw: str) -> nn.Module:
    """With every trained number shaken."""
    inarch.graft(model, method, thaw=thaw)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter) * parameter.requires_grad
    return model


def tiny(**more: object) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=3, img_size=16, **more).eval()


@pytest.mark.parametrize("method", [name if name in ("arc", "post") else pytest.param(name, marks=pytest.mark.long) for name in RUNS])
@pytest.mark.parametrize("library", ["vit", pytest.param("timm", marks=pytest.mark.long)])
def test_an_exported_run_says_how_near_peft_comes(library: str, method: str, made: Exported, tmp_path: Path, capsys) -> None:
    run = made.run(f"{library}-{method}", **{"backbone": getattr(made, library), **RUNS[method]})
    assert main(["export", str(run), "--to", "lora", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert float(said.partition("difference of a logit is ")[2].split()[0]) < 1e-5
    assert {*tree(tmp_path / "out")} == {"README.md", "adapter_config.json", "adapter_model.safetensors", "check.safetensors"}
    check, net = load_file(tmp_path / "out" / "check.safetensors"), rebuild(run).net
    with torch.no_grad():
        assert torch.equal(net(check["pixels"]), check["logits"])
        inarch.ungraft(net.model)
        assert (net(check["pixels"]) - check["logits"]).abs().max() > 1e-2


@pytest.mark.long
@pytest.mark.parametrize("library", ["vit", "timm", "mini-vit"])
def test_the_readme_runs_where_inarch_does_not_exist(library: str, made: Exported, tmp_path: Path) -> None:
    """The script in the folder prints the largest difference of the logits: under 1e-5."""
    run = made.run(f"{library}-arc", backbone=getattr(made, library, library))
    out, _ = export_run(run, "lora", tmp_path / "out")
    code = (out / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    assert "inarch" not in code and (out / "base").is_dir() == (library == "mini-vit")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(MENDED)
    barred = "import sys\nsys.modules['inarch'] = None\n"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", barred + code], cwd=out, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout.rpartition("maximum difference of logits:")[2]) < 1e-5


@pytest.mark.parametrize("method", [inarch.ARC(rank=3), inarch.LoRA(rank=2, targets=("q", "v", "fc1")), POST],
                         ids=lambda method: type(method).__name__)
def test_the_factors_are_what_merging_adds(method: inarch.adapter.Method) -> None:
    model = grafted(tiny(), method)
    linear = linear_of(model, container_of(model))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inarch.merge(model)
    assert linear.factors and not linear.whole
    for path, factor in linear.factors.items():
        torch.testing.assert_close(before[f"{path}.weight"] + factor.up @ factor.down, model.get_submodule(path).weight, rtol=0, atol=1e-5)
        shift = 0 if factor.shift is None else factor.shift
        torch.testing.assert_close(before[f"{path}.bias"] + shift, model.get_submodule(path).bias, rtol=0, atol=1e-5)
    adapted = {f"{path}.{leaf}" for path in linear.factors for leaf in ("weight", "bias")}
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items() if name not in adapted)


def test_a_part_of_a_fused_matrix_leaves_the_other_rows_alone() -> None:
    model = grafted(tiny(), inarch.LoRA(rank=2, targets=("q", "v")))
    factor = linear_of(model, container_of(model)).factors["blocks.0.attn.qkv"]
    queries, keys, values = factor.up.chunk(3)
    assert factor.rank == 4 and not keys.any() and not queries[:, 2:].any() and not values[:, :2].any()
    assert queries[:, :2].all() and values[:, 2:].all()


def test_a_trained_bias_of_an_adapted_layer_is_in_the_shift() -> None:
    model = grafted(tiny(), inarch.LoRA(rank=2, targets=("q",)), "biases")
    bias = model.inarch.pristine["blocks.1.attn.qkv.bias"]
    linear = linear_of(model, container_of(model))
    torch.testing.assert_close(linear.factors["blocks.1.attn.qkv"].shift, model.blocks[1].attn.qkv.bias.detach() - bias)
    assert "blocks.1.attn.proj" in linear.whole and "blocks.1.attn.qkv" not in linear.whole


@pytest.mark.parametrize(("make", "method", "thaw", "words"), [
    (tiny, inarch.ARC(rank=2, placement="trunk"), (), "skip connection"),
    (tiny, inarch.VLPET(), (), "not an affine map"),
    (tiny, inarch.ARC(rank=2), ("pos_embed",), "the model itself"),
    (tiny, inarch.ARC(rank=2), ("blocks.0.attn.qkv.weight",), "--to native"),
    (lambda: timm.create_model("beit_base_patch16_224", num_classes=3, img_size=16, embed_dim=16, depth=1, num_heads=2, patch_size=8),
     inarch.ARC(rank=2), (), "reads this weight directly"),
], ids=["trunk", "non-linear", "loose parameter", "trained weight", "beit"])  # fmt: skip
def test_what_peft_cannot_hold_is_refused_with_the_reason(make, method, thaw, words: str) -> None:
    model = grafted(make(), method, *thaw)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CannotFold, match=words):
        linear_of(model, container_of(model))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_refusal_writes_nothing(made: Exported, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    run, trunk = made.run("vit-arc"), made.run("trunk", set={"rank": 2, "placement": "trunk"})
    before = tree(made.folder)
    assert main(["export", str(trunk), "--to", "lora"]) == 2
    assert "placement='normed'" in capsys.readouterr().err
    monkeypatch.setattr("inarch.exports.lora.TOLERANCE", -1.0)
    assert main(["export", str(run), "--to", "lora"]) == 2
    assert "what peft" in capsys.readouterr().err and tree(made.folder) == before


def test_a_second_export_needs_an_explicit_wish(made: Exported, tmp_path: Path, capsys) -> None:
    line = ["export", str(made.run("vit-arc")), "--to", "lora", "--out", str(tmp_path / "out")]
    assert main(line) == 0
    before = tree(tmp_path)
    assert main(line) == 2
    assert "not empty" in capsys.readouterr().err and tree(tmp_path) == before
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert main([*line, "--overwrite"]) == 0
    assert tree(tmp_path) == before  # bit for bit: an export says the same each time


def test_a_resized_backbone_comes_with_the_adapter(made: Exported, tmp_path: Path) -> None:
    out, _ = export_run(made.run("larger", image_size=24), "lora", tmp_path / "out")
    assert json.loads((out / "base" / "config.json").read_text())["image_size"] == 24
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"


def test_layers_whose_name_ends_another_are_told_apart() -> None:
    model = nn.ModuleDict({"a": nn.ModuleDict({"fc": nn.Linear(2, 2)}), "b": nn.ModuleDict({"a": nn.ModuleDict({"fc": nn.Linear(2, 2)})})})
    assert _targets(model, ["a.fc", "b.a.fc"]) == ["a.fc", "b.a.fc"]
    assert _targets(model, ["b.a.fc"]) == ["b.a.fc"]
    assert _targets(model, ["a.fc"]) == r"a\.fc"


def test_a_run_of_two_towers_is_refused(made: Exported, tmp_path: Path, capsys) -> None:
    from inarch.recipe import Recipe
    from inarch.run import Run

    run = Run(tmp_path / "run")
    run.make()
    run.write_recipe(Recipe.parse({"data": "digits", "backbone": "mini-clip", "method": "arc", "out": str(tmp_path / "run")}))
    for to in ("lora", "native", "torch", "onnx"):
        assert main(["export", str(run), "--to", to]) == 2
        assert "only classifiers" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_without_out_the_folder_stands_beside_the_run(made: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    assert beside("runs/pets", "lora") == Path("runs/pets-lora")
    monkeypatch.chdir(made.folder)
    assert beside(".", "onnx") == made.folder.parent / f"{made.folder.name}-onnx"


def test_native_is_what_merge_writes(made: Exported, tmp_path: Path, capsys) -> None:
    run = str(made.run("vit-arc"))
    assert main(["export", run, "--to", "native", "--out", str(tmp_path / "a")]) == 0
    assert main(["merge", run, str(tmp_path / "b")]) == 0
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_timm_backbone_of_any_arguments_is_found_by_its_folder(tmp_path: Path, made: Exported) -> None:
    folder = save_timm(tmp_path / "bare", qkv_bias=False)
    out, _ = export_run(made.run("no-bias", backbone=str(folder)), "lora", tmp_path / "out")
    assert not (out / "base").exists()


def test_a_backbone_named_from_here_is_found_from_the_folder(tmp_path: Path, made: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.folder)
    run = made.run("relative", backbone="./vit")
    out, _ = export_run(os.path.relpath(run), "lora", tmp_path / "out")
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == made.vit
