"""Folding: what is exact, what is put back bit for bit, and what is refused before a weight is touched."""

import copy

import pytest
import torch
from families import FAMILIES, pristine
from torch import nn
from toys import ToyParallel, ToyPost

import inarch
from inarch import ARC, FullRank, LoRA
from inarch.errors import CannotFold


def model_of(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    return copy.deepcopy(pristine(name)).to(dtype)


def shake(model: nn.Module, size: float = 0.1) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += size * torch.randn_like(parameter)


@torch.no_grad()
def run(name: str, model: nn.Module) -> torch.Tensor:
    family = FAMILIES[name]
    dtype = next(model.parameters()).dtype
    inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in family.inputs().items()}
    return family.forward(model, inputs)


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_hundred_rounds_change_no_bit(dtype):
    model = model_of("timm-vit-nobias", dtype)
    inarch.graft(model, ARC(rank=4), thaw="head")
    shake(model)
    before = snapshot(model)
    for _ in range(100):
        inarch.merge(model)
        inarch.unmerge(model)
    assert same(snapshot(model), before)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 3e-6), (torch.float16, 2e-3),
                                               (torch.bfloat16, 1.5e-2)])
def test_merged_is_no_further_from_the_truth_than_unmerged(dtype, bound):
    torch.manual_seed(0)
    exact = model_of("hf-vit")
    for parameter in exact.parameters():
        parameter.data = parameter.data.to(dtype).double()
    model = copy.deepcopy(exact).to(dtype)
    for one in (exact, model):
        torch.manual_seed(4)
        inarch.graft(one, ARC(rank=4))
        torch.manual_seed(5)
        for parameter in one.inarch.parameters():
            parameter.data.copy_(0.1 * torch.randn(parameter.shape))
    truth, graft = run("hf-vit", exact), run("hf-vit", model).double()
    merged = run("hf-vit", inarch.merge(model)).double()
    scale = truth.abs().max()
    assert (merged - graft).abs().max() / scale < bound
    assert (merged - truth).abs().max() <= 1.5 * (graft - truth).abs().max() + 1e-15


def test_a_bias_is_created_where_needed_and_taken_away_again():
    model = model_of("timm-vit-nobias")
    names = list(model.state_dict())
    inarch.graft(model, ARC(rank=4))
    shake(model)
    graft = run("timm-vit-nobias", model)
    inarch.merge(model)
    assert set(model.state_dict()) - set(names) == {f"blocks.{i}.attn.qkv.bias" for i in range(3)}
    assert (run("timm-vit-nobias", model) - graft).abs().max() < 1e-12
    inarch.ungraft(inarch.unmerge(model))
    assert list(model.state_dict()) == names


def test_no_bias_is_created_for_keys_under_plain_softmax():
    model = model_of("hf-beit")
    names = list(model.state_dict())
    inarch.graft(model, ARC(rank=4))
    shake(model)
    inarch.merge(model)
    assert list(model.state_dict()) == names


def test_swin_folds_where_windows_are_padded():
    """At 240 px timm Swin pads after the norm: a graft at the norm's output would be off by 7.5e-3."""
    from timm.models.swin_transformer import SwinTransformer

    torch.manual_seed(0)
    model = SwinTransformer(img_size=40, patch_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=4, num_classes=3)
    model.double().eval()
    inarch.graft(model, ARC(rank=4))
    shake(model)
    x = torch.randn(1, 3, 40, 40, dtype=torch.float64)
    graft = model(x).detach()
    inarch.merge(model)
    assert model.layers[0].blocks[0].attn.window_area == 16 and 10 % 4 != 0
    assert (model(x) - graft).abs().max() < 1e-12


@pytest.mark.parametrize("methods", [(ARC(rank=4), LoRA(rank=2)), (ToyPost(), ToyPost()),
                                     (ToyPost(spans=("mlp",)), ToyParallel(spans=("fc2",)))])
def test_adapters_that_read_one_another_are_not_summed(methods):
    model = model_of("timm-vit")
    for index, method in enumerate(methods):
        inarch.graft(model, method, name=f"a{index}")
    inarch.use(model, *[f"a{index}" for index in range(len(methods))])
    shake(model)
    before = snapshot(model)
    with pytest.raises(CannotFold, match="merge one at a time"):
        inarch.merge(model)
    assert same(snapshot(model), before)


def test_lora_on_two_parts_of_one_fused_matrix_and_arc_on_another_span():
    model = model_of("timm-vit")
    inarch.graft(model, LoRA(rank=2, targets=("q", "v", "o")), name="a")
    inarch.graft(model, FullRank(spans=("mlp",)), name="b")
    inarch.use(model, "a", "b")
    shake(model)
    graft = run("timm-vit", model)
    inarch.merge(model)
    assert (run("timm-vit", model) - graft).abs().max() < 1e-12


def test_states_are_kept_apart():
    model = model_of("timm-vit")
    with pytest.raises(CannotFold, match="is not merged"):
        inarch.unmerge(model)
    inarch.graft(model, ARC(rank=4), thaw="head")
    shake(model)
    inarch.merge(model)
    with pytest.raises(CannotFold, match="already merged"):
        inarch.merge(model)


def test_dropout_in_training_mode_is_refused():
    model = model_of("timm-vit")
    inarch.graft(model, ARC(rank=4, dropout=0.1))
    model.train()
    with pytest.raises(CannotFold, match=r"draws dropout in training mode; call model\.eval\(\) first"):
        inarch.merge(model)
    inarch.merge(model.eval())


@pytest.mark.parametrize("spoil", [lambda m: m.blocks[1].mlp.fc1.weight.data.add_(1e-3), lambda m: m.float()])
def test_unmerge_refuses_weights_that_changed_since(spoil):
    model = model_of("timm-vit")
    inarch.graft(model, ARC(rank=4))
    shake(model)
    inarch.merge(model)
    spoil(model)
    before = snapshot(model)
    with pytest.raises(CannotFold, match="is not what merge wrote"):
        inarch.unmerge(model)
    assert same(snapshot(model), before)


def test_a_merged_copy_is_independent():
    model = model_of("timm-vit")
    inarch.graft(model, ARC(rank=4))
    shake(model)
    graft = run("timm-vit", model)
    inarch.merge(model)
    twin = copy.deepcopy(model)
    inarch.unmerge(model)
    assert (run("timm-vit", twin) - graft).abs().max() < 1e-12
    assert torch.equal(run("timm-vit", inarch.unmerge(twin)), graft)
