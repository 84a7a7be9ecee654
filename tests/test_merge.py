"""Folding: what is exact, what is put back bit for bit, and what is refused before a weight is touched."""

import copy
from functools import cache

import pytest
import torch
from families import FAMILIES, SIZE, VIT, pristine
from torch import nn
from toys import ToyParallel, ToyPost

import inarch
from inarch import ARC, FullRank, LoRA
from inarch.errors import CannotFold, CannotGraft, CheckpointError, ConfigError

IMAGES = 64

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


@pytest.mark.row("F1", "merge and unmerge, 100 rounds in each of four float types")
@pytest.mark.parametrize("dtype", [torch.float32, *(pytest.param(dtype, marks=pytest.mark.long)
                                                    for dtype in (torch.float64, torch.float16, torch.bfloat16))], ids=str)
def test_a_hundred_rounds_change_no_bit(dtype, tried):
    """Every tensor of the model is bit-equal to the start."""
    model = model_of("timm-vit-nobias", dtype)
    inarch.graft(model, ARC(rank=4), thaw="head")
    shake(model)
    before = snapshot(model)
    for _ in range(100):
        inarch.merge(model)
        inarch.unmerge(model)
    assert same(snapshot(model), before)
    tried(100)


@cache
def twelve_blocks() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    model = ViTForImageClassification(ViTConfig(**VIT | {"num_hidden_layers": 12, "num_labels": 5})).double().eval()
    for parameter in model.parameters():  # logits of the size of real ones, no zero bias
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def logits_of(model: nn.Module) -> torch.Tensor:
    pixels = torch.randn(IMAGES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return model(pixel_values=pixels.to(next(model.parameters()).dtype)).logits.double()


@pytest.mark.row("F2", "12 blocks in fp64, fp32, fp16 and bf16: merged, unmerged and the fp64 truth on 64 images")
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 3e-6), (torch.float16, 2e-3),
                                               (torch.bfloat16, 1.5e-2)])
def test_merged_is_no_further_from_the_truth_than_unmerged(dtype, bound, tried):
    """Outputs differ by at most 1e-13, 3e-6, 2e-3, 1.5e-2, stay within 1.5 times the unmerged distance to the truth; fp32 classes equal."""
    exact = copy.deepcopy(twelve_blocks())
    for parameter in exact.parameters():
        parameter.data = parameter.data.to(dtype).double()
    model = copy.deepcopy(exact).to(dtype)
    for one in (exact, model):
        inarch.graft(one, ARC(rank=4))
        torch.manual_seed(5)
        for parameter in one.inarch.parameters():
            parameter.data.copy_(0.1 * torch.randn(parameter.shape))
    truth, graft = logits_of(exact), logits_of(model)
    merged = logits_of(inarch.merge(model))
    assert (merged - graft).abs().max() / truth.abs().max() <= bound
    assert (merged - truth).abs().max() <= 1.5 * (graft - truth).abs().max() + 1e-15
    if dtype in (torch.float64, torch.float32):
        assert torch.equal(merged.argmax(1), graft.argmax(1))
    tried(IMAGES)


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


@pytest.mark.row("F4", "two adapters that read one another")
@pytest.mark.parametrize("methods", [(ARC(rank=4), LoRA(rank=2)), (ToyPost(), ToyPost()),
                                     (ToyPost(spans=("mlp",)), ToyParallel(spans=("fc2",)))])
def test_adapters_that_read_one_another_are_not_summed(methods):
    """A ConfigError that says to merge one at a time, before a weight is changed."""
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


WHILE_MERGED = {  # what is asked of a merged model, and what it says
    "merge": (inarch.merge, CannotFold, r"already merged; call inarch\.unmerge"),
    "save": (lambda m: inarch.save(m, "adapter"), CheckpointError, r"is merged.*call inarch\.unmerge"),
    "load": (lambda m: inarch.load(m, "saved"), CannotGraft, r"is merged; call inarch\.unmerge"),
    "graft": (lambda m: inarch.graft(m, ARC(rank=2), name="b"), CannotGraft, r"is merged; call inarch\.unmerge"),
    "ungraft": (inarch.ungraft, CannotGraft, r"is merged.*call inarch\.unmerge"),
    "use": (lambda m: inarch.use(m, "default"), CannotGraft, r"is merged.*call inarch\.unmerge"),
    "disabled": (lambda m: inarch.disabled(m).__enter__(), CannotGraft, r"is merged.*call inarch\.unmerge"),
    "count": (inarch.count, CannotGraft, r"is merged.*call inarch\.unmerge"),
}


@pytest.mark.row("F3", "unmerge unmerged; merge, save, load, graft, ungraft, use, disabled and count while merged")
def test_states_are_kept_apart(tmp_path, monkeypatch, tried):
    """Each is refused with what to call first, changes nothing and writes nothing; unmerge then still gives the start bit for bit."""
    monkeypatch.chdir(tmp_path)
    model = model_of("timm-vit")
    with pytest.raises(CannotFold, match="is not merged"):
        inarch.unmerge(model)
    inarch.graft(model, ARC(rank=4), thaw="head")
    with pytest.raises(CannotFold, match="is not merged"):
        inarch.unmerge(model)
    shake(model)
    inarch.save(model, "saved")
    start = snapshot(model)
    merged = snapshot(inarch.merge(model))
    for ask, error, reason in WHILE_MERGED.values():
        with pytest.raises(error, match=reason):
            ask(model)
        assert same(snapshot(model), merged) and [path.name for path in tmp_path.iterdir()] == ["saved"]
    assert same(snapshot(inarch.unmerge(model)), start)
    tried(2 + len(WHILE_MERGED))


@pytest.mark.row("F3", "train while merged")
def test_training_a_merged_model_trains_what_was_thawed():
    """What was folded is frozen, the thawed head learns; unmerge puts the adapter back and keeps the head as trained."""
    model = model_of("timm-vit")
    inarch.graft(model, ARC(rank=4), thaw="head")
    shake(model)
    start = snapshot(model)
    merged = snapshot(inarch.merge(model.train()))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    FAMILIES["timm-vit"].run(model).square().sum().backward()
    optimizer.step()
    now = snapshot(model)
    moved = {name for name in merged if not torch.equal(merged[name], now[name])}
    assert moved == {"head.weight", "head.bias"}
    after = snapshot(inarch.unmerge(model))
    assert {name for name in start if not torch.equal(start[name], after[name])} == moved


NEVER_AFFINE = {
    "AdaRing with an activation": inarch.AdaRing(ranks=(1, 2), bottleneck=4, dropout=0.0, expert_dropout=0.0),
    "VL-PET's gate": inarch.VLPET(rank=4, gate_rank=3, value_rank=2), "a bottleneck": inarch.Bottleneck(rank=4),
    "ARC on the residual stream": ARC(rank=4, placement="trunk"), "MMA": inarch.MMA(rank=4, layers="-2:"),
    "ARC with dropout in training mode": ARC(rank=4, dropout=0.1),
}


@pytest.mark.row("F4", "methods that are no affine map: an activation, a gate on the input, the skip connection, drawn dropout")
def test_what_is_not_affine_is_never_approximated(tried):
    """A ConfigError with the reason before a weight is changed; outputs, hooks and adapters stay."""
    for name, method in NEVER_AFFINE.items():
        model = model_of("timm-vit")
        inarch.graft(model, method)
        shake(model.eval())
        before, said = snapshot(model), run("timm-vit", model)
        with pytest.raises(ConfigError) as refused:
            inarch.merge(model.train("training" in name))
        assert isinstance(refused.value, CannotFold) and same(snapshot(model), before), name
        assert torch.equal(run("timm-vit", model.eval()), said), name
    tried(len(NEVER_AFFINE))


def test_a_weight_that_half_precision_cannot_hold_is_not_written():
    """65504 is the largest fp16: 40000 + 40000 is finite in the fp32 of the fold, and inf as it would be stored."""
    model = model_of("timm-vit").half()
    inarch.graft(model, FullRank(spans=("mlp",)))
    for parameter in model.inarch.parameters():
        parameter.data += 60_000
    model.blocks[0].mlp.fc1.weight.data += 60_000
    before = snapshot(model)
    with pytest.raises(CannotFold, match="weights not finite, the first blocks"):
        inarch.merge(model)
    assert same(snapshot(model), before)


def test_dropout_in_training_mode_is_refused():
    model = model_of("timm-vit")
    inarch.graft(model, ARC(rank=4, dropout=0.1))
    model.train()
    with pytest.raises(CannotFold, match=r"draws dropout in training mode; call model\.eval\(\) first"):
        inarch.merge(model)
    inarch.merge(model.eval())


@pytest.mark.row("F3", "unmerge after a folded weight was trained, or the model cast")
@pytest.mark.parametrize("spoil", [lambda m: m.blocks[1].mlp.fc1.weight.data.add_(1e-3), lambda m: m.float()])
def test_unmerge_refuses_weights_that_changed_since(spoil):
    """Refused by the name of the tensor, and nothing is overwritten."""
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
