"""inspect: spectra from factors equal those of the dense matrix; counts equal the published ones; damaged folders are refused."""

import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from families import pristine
from torch import Tensor, nn

import inarch
from inarch import ARC, FullRank, Linear, LoRA
from inarch.adapter import Adapter, defines
from inarch.errors import ConfigError, Corrupt, Incomplete, Mismatch
from inarch.inspect import StackView, inspect
from inarch.inspection import spectra
from inarch.inspection.plot import plot_inspection, plot_scaling
from inarch.inspection.scaling import parameter_scaling, ranks, trained, variants
from inarch.ports import Stack

PNG = b"\x89PNG\r\n"
METHODS = [
    ARC(rank=5), ARC(rank=5, symmetric=False), ARC(rank=5, share="block"), ARC(rank=5, share="network", bias=False),
    ARC(rank=5, share="none", symmetric=False, scale="none"), ARC(rank=5, share="none"), ARC(rank=5, scale="shared"),
    ARC(rank=5, spans=("attn",), layers="1:"), FullRank(), FullRank(spans=("mlp",)),
    LoRA(rank=3, targets=("q", "v", "fc1"), alpha=7.0),
]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def grafted(family: str, method: inarch.adapter.Method) -> nn.Module:
    """A graft in fp64 whose every number is random, so that no zero hides a mistake."""
    model = inarch.graft(copy.deepcopy(pristine(family)), method)
    for k, parameter in enumerate(model.inarch.default.parameters(), start=1):
        parameter.data = 0.3 * randn(*parameter.shape, seed=k)
    return model


def dense(adapter: Adapter, stack: Stack, i: int, given: nn.Module | None) -> tuple[Tensor, float]:
    """dA and |b| of site i, from what the adapter does to unit vectors."""
    eye, zero = torch.eye(stack.width_in, dtype=torch.float64), torch.zeros(1, stack.width_in, dtype=torch.float64)
    if defines(adapter, "before"):
        shift = adapter.before(zero, i, given)
        return (adapter.before(eye, i, given) - eye - shift).detach(), float(shift.detach().norm())
    nothing = torch.zeros(stack.width_in, stack.width_out, dtype=torch.float64)
    return adapter.after(eye, nothing, i, given).detach(), 0.0


@pytest.mark.parametrize("family", ["hf-vit", "hf-swin", "open_clip"])
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_an_adapter_on_disk_shows_the_spectrum_of_the_dense_matrix(family: str, method: inarch.adapter.Method, tmp_path: Path):
    if family == "open_clip" and isinstance(method, LoRA):
        method = LoRA(rank=3, targets=("fc1", "fc2"), alpha=7.0)  # q and v have no port there
    model = grafted(family, method)
    views = {view.name: view for view in inspect(inarch.save(model, tmp_path / "adapter")).stacks}
    scion = model.inarch.default
    assert views.keys() == {stack.name for stack in scion.stacks}
    for stack in scion.stacks:
        view = views[stack.name]
        assert view.width == stack.width_in and len(view.sites) == expected_depth(method, stack)
        for i, site in enumerate(view.sites):
            matrix, shift = dense(scion.adapters()[stack.name], stack, i, scion.given(stack.name))
            close(site.spectrum.singular, torch.linalg.svdvals(matrix)[: len(site.spectrum.singular)])
            close(torch.zeros(()).double(), torch.linalg.svdvals(matrix)[len(site.spectrum.singular) :].sum())
            assert abs(site.shift - shift) < 1e-10


def expected_depth(method: inarch.adapter.Method, stack: Stack) -> int:
    """Layers without a number of their own (one c, no b) are one and the same."""
    return 1 if isinstance(method, ARC) and method.scale == "shared" and not method.bias else stack.depth


def test_arc_eigenvalues_are_those_of_the_r_by_r_problem_and_of_the_dense_matrix():
    basis, scale = randn(40, 7), randn(7, seed=1)
    scale[3] = 0
    found = spectra.symmetric(basis, scale)
    matrix = basis @ scale.diag() @ basis.mT
    small = torch.linalg.eigvals(scale.diag() @ basis.mT @ basis)
    close(found.eigenvalues.sort().values, small.real.sort().values)
    assert small.imag.abs().max() < 1e-10 and (found.eigenvalues < 0).any() and (found.eigenvalues > 0).any()
    close(matrix @ found.reads, found.reads * found.eigenvalues)
    close(found.singular, torch.linalg.svdvals(matrix)[:7])
    assert found.rank == 6 and found.leading(7).shape == (40, 6)


@pytest.mark.parametrize("shape", [(30, 4, 20), (12, 12, 12), (6, 9, 30)])
def test_factored_spectra_rebuild_the_matrix(shape: tuple[int, int, int]):
    dim, rank, out = shape
    down, up = randn(dim, rank), randn(rank, out, seed=1)
    found = spectra.factored(down, up)
    close(found.reads @ found.singular.diag() @ found.writes.mT, down @ up)
    close(found.reads.mT @ found.reads, torch.eye(len(found.singular), dtype=torch.float64))
    close(found.singular, torch.linalg.svdvals(down @ up)[: len(found.singular)])


def test_a_symmetric_spectrum_rebuilds_the_matrix_with_its_signs():
    basis, scale = randn(15, 4), doubles(2, -1, 0.5, -3)
    found = spectra.symmetric(basis, scale)
    close(found.reads @ found.singular.diag() @ found.writes.mT, basis @ scale.diag() @ basis.mT)


def test_ranks_and_energies_of_known_spectra():
    flat, steep, none = torch.ones(8), doubles(3, 1, 0), torch.zeros(5)
    assert spectra.effective_rank(flat) == pytest.approx(8) and spectra.effective_rank(none) == 0
    assert 1 < spectra.effective_rank(steep) < 2
    close(spectra.energy(steep), doubles(0.9, 1, 1))
    assert [spectra.energy_rank(steep, share) for share in (0.5, 0.9, 0.99)] == [1, 1, 2]
    assert spectra.energy_rank(flat, 0.5) == 4 and spectra.energy_rank(none, 0.9) == 0
    assert not spectra.energy(none).any()


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.3, math.pi / 2])
def test_principal_angles_of_a_known_rotation(angle: float):
    eye = torch.eye(4, dtype=torch.float64)
    turned = torch.stack([eye[0] * math.cos(angle) + eye[2] * math.sin(angle), eye[1]], 1)
    found = spectra.principal_angles(eye[:, :2], turned)
    torch.testing.assert_close(found, doubles(0, angle), rtol=1e-12, atol=1e-15)
    assert spectra.overlap(eye[:, :2], turned) == pytest.approx(float(found.cos().square().mean()))
    close(spectra.principal_angles(eye[:, :3], turned), spectra.principal_angles(turned, eye[:, :3]))


def test_overlap_of_unrelated_subspaces_is_what_chance_gives():
    spaces = [torch.linalg.qr(randn(64, 8, seed=k)).Q for k in range(12)]
    found = [spectra.overlap(a, b) for i, a in enumerate(spaces) for b in spaces[:i]]
    assert abs(sum(found) / len(found) - 8 / 64) < 0.02
    assert spectra.overlap(spaces[0], spaces[0][:, :0]) is None


def view_of(model: nn.Module, folder: Path, leading: int = 10) -> dict[str, StackView]:
    return {view.name: view for view in inspect(inarch.save(model, folder), leading=leading).stacks}


def test_layers_that_adapt_the_same_directions_overlap_wholly(tmp_path: Path):
    model = grafted("hf-vit", FullRank())
    delta = model.inarch.default.vision_attn_32.delta.data
    delta[1] = 3 * delta[0]  # the same directions, stronger
    delta[2] = 0
    delta[2, 31, 31] = 1.0
    delta[:2, 31], delta[:2, :, 31] = 0, 0
    view = view_of(model, tmp_path, leading=4)["vision_attn_32"]
    overlaps, angles = view.overlaps(), view.angles()
    assert overlaps[0][1] == pytest.approx(1) and overlaps[0][2] == pytest.approx(0, abs=1e-20)
    assert max(angles["0-1"]) < 1e-6 and angles["1-2"] == pytest.approx([90.0]) and view.chance == 4 / 32


@pytest.mark.parametrize("share, room", [("stack", 6), ("network", 6), ("block", 32), ("none", 32)])
def test_chance_is_that_of_the_space_the_layers_share(share: str, room: int, tmp_path: Path):
    """Inside one basis of rank r even unrelated layers overlap by k / r."""
    view = view_of(grafted("hf-vit", ARC(rank=6, share=share)), tmp_path, leading=3)["vision_attn_32"]
    assert view.room == room and view.chance == 3 / room
    assert view_of(grafted("hf-vit", FullRank()), tmp_path / "full", leading=3)["vision_mlp_32"].chance == 3 / 32


def test_an_untrained_arc_attention_stack_is_empty_and_says_so(tmp_path: Path):
    model = inarch.graft(copy.deepcopy(pristine("hf-vit")), ARC(rank=4, spans=("attn",)))
    found = inspect(inarch.save(model, tmp_path))
    (view,) = found.stacks
    assert view.overlaps() == [[None] * 3] * 3 and all(site.spectrum.rank == 0 for site in view.sites)
    assert "no two layers" in str(found)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["stacks"][0]["sites"][0]["effective_rank"] == 0


def test_the_histogram_holds_every_c_and_json_every_number(tmp_path: Path):
    model = grafted("hf-vit", ARC(rank=6))
    found = inspect(inarch.save(model, tmp_path))
    edges, counts = found.stacks[0].histogram()
    scale = model.inarch.default.vision_attn_32.scale.data.abs()
    assert [sum(row) for row in counts] == [6, 6, 6] and edges[0] == 0 and edges[-1] == pytest.approx(float(scale.max()))
    assert sum(row[-1] for row in counts) == int((scale >= edges[-2]).sum())
    site = found.to_json()["stacks"][0]["sites"][1]
    assert len(site["singular"]) == len(site["eigenvalues"]) == len(site["scale"]) == len(site["energy"]) == 6
    assert site["energy"][-1] == pytest.approx(1) and set(site["energy_rank"]) == {"50%", "90%", "99%"}
    assert inspect(inarch.save(grafted("hf-vit", LoRA(rank=2)), tmp_path / "lora")).stacks[0].histogram() is None


def test_a_run_folder_is_inspected_through_its_adapter_and_prints_a_line_per_layer(tmp_path: Path):
    inarch.save(grafted("hf-vit", ARC(rank=4, layers="-2:")), tmp_path / "run" / "adapter")
    text = str(inspect(tmp_path / "run"))
    assert "layers='-2:'" in text and text.count("input directions") == 2
    assert [line.split()[0] for line in text.splitlines() if line[:7].strip() in ("0", "1")] == ["0", "1"] * 2


def test_what_cannot_be_inspected_is_refused(tmp_path: Path):
    probe = inarch.graft(copy.deepcopy(pristine("hf-vit")), Linear())
    with pytest.raises(ConfigError, match="nothing to inspect"):
        inspect(inarch.save(probe, tmp_path / "probe"))
    with pytest.raises(Incomplete, match="not a folder"):
        inspect(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="leading=0"):
        inspect(tmp_path, leading=0)


def test_a_damaged_folder_is_refused(tmp_path: Path):
    folder = inarch.save(grafted("hf-vit", ARC(rank=4)), tmp_path)
    (weights,) = folder.glob("*.safetensors")
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Corrupt, match=r"not the .* bytes written"):
        inspect(folder)


def test_tensors_that_do_not_fit_the_method_are_refused(tmp_path: Path):
    from inarch.inspect import _rebuilt

    with pytest.raises(Mismatch, match=r"missing tensors: vision_attn_8\.scale"):
        _rebuilt(ARC(rank=2), {"vision_attn_8.down": randn(8, 2), "vision_attn_8.bias": randn(3, 8)}, tmp_path)


@pytest.mark.long
def test_inspecting_loads_no_model_library(tmp_path: Path):
    folder = inarch.save(grafted("hf-vit", ARC(rank=4)), tmp_path)
    code = (f"import sys, inarch.inspect as i; i.inspect({str(folder)!r}); "
            "print([m for m in ('transformers', 'timm', 'matplotlib') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("method", [ARC(rank=4), *(pytest.param(m, marks=pytest.mark.long)
                                                   for m in (FullRank(), LoRA(rank=2, targets=("q",))))], ids=str)
def test_plots_are_drawn(method: inarch.adapter.Method, tmp_path: Path):
    found = inspect(inarch.save(grafted("hf-vit", method), tmp_path))
    assert plot_inspection(found, tmp_path / "out.png").read_bytes().startswith(PNG)


def test_plots_are_refused_before_any_work(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"\.png"):
        plot_scaling([], tmp_path / "out.bmp")
    with pytest.raises(ConfigError, match="no folder"):
        plot_scaling([], tmp_path / "nowhere" / "out.png")


def test_variants_of_arc_train_the_published_numbers():
    assert [v.trained for v in variants()] == [1861632, 941232, 480432, 173232, 96432, 95332, 78000, 58032, 48216, 48216]


def test_ranks_of_arc_train_the_published_numbers():
    published = {10: (34032, 17016), 20: (49632, 24816), 50: (96432, 48216), 100: (174432, 87216), 200: (330432, 165216)}
    assert [v.trained for v in ranks()] == [number for pair in published.values() for number in pair]
    assert [v.config.rank for v in ranks()] == [rank for rank in published for _ in range(2)]


@pytest.mark.long
def test_figure_5_counts_every_method_on_every_backbone(tmp_path: Path):
    points = parameter_scaling()
    found = {(p.backbone, p.method): p.trained for p in points}
    names = ("vit-b16", "vit-l16", "vit-h14", "swin-b")
    assert [found[name, "ARC r=50"] for name in names] == [96432, 153952, 213120, 218464]
    assert [found[name, "ARC_att r=50"] for name in names[:3]] == [48216, 76976, 106560]
    assert found["vit-b16", "LoRA r=8 on q, v"] == 294912 and found["vit-b16", "Adapter r=8"] == 147456
    assert found["swin-b", "Adapter r=8"] == 16 * (2 * 128 + 2 * 256 + 18 * 512 + 2 * 1024)
    assert plot_scaling(points, tmp_path / "figure5.png").read_bytes().startswith(PNG)


def test_counting_leaves_the_model_as_it_was():
    model = copy.deepcopy(pristine("hf-vit"))
    names = list(model.state_dict())
    assert trained(model, ARC(rank=4)) == 2 * (32 * 4 + 3 * (4 + 32))
    assert list(model.state_dict()) == names and all(p.requires_grad for p in model.parameters())
