"""Our AdaRing against loops written from the formulas of its specification: outputs and gradients in fp64; and where it starts."""

import naive_adaring as naive
import pytest
import torch
from naive_adaring import HEADED, LONE, QUIET, SLIM, agree, moved, toy
from naive_fewshot import batch, features
from torch import nn

import inarch
from inarch import AdaRing
from inarch.methods.ring_bank import Bank, Draw, Ranks, Unit

BANK = "shared.between.all.{}.{}"


@pytest.mark.parametrize("wrong", [
    {}, {"gate": "router"}, {"bias": True}, {"path": "dense"}, *(pytest.param(wrong, marks=pytest.mark.long) for wrong in (
        {"gate": "uniform"}, {"path": "contract"}, {"share_towers": "never"}, {"form": "train", "ranks": (2, 3)},
        {"activation": "quick_gelu"}, {"activation": "none", "layers": "-1:"}))], ids=str)
def test_bottleneck(wrong):
    agree(AdaRing(**QUIET | wrong))


@pytest.mark.long
@pytest.mark.parametrize("gate", ["router", "static"])
def test_biases_of_the_dense_path(gate):
    agree(AdaRing(**QUIET, path="dense", bias=True, gate=gate))


@pytest.mark.long
def test_heads_of_64():
    agree(AdaRing(**QUIET, tensorize="heads64"), HEADED, **HEADED)


@pytest.mark.long
@pytest.mark.parametrize("more", [{"site": "lora", "targets": ("q", "v", "fc1", "fc2")}, {"site": "post"},
                                  {"site": "lora", "gate": "uniform", "form": "train", "ranks": (2, 3)},
                                  {"site": "lora", "share_towers": "never", "layers": "-2:"}], ids=str)
def test_linear(more):
    agree(AdaRing(**{"ranks": (1, 2), "dropout": 0.0, "expert_dropout": 0.0} | more), SLIM, **SLIM)


@pytest.mark.long
def test_linear_with_heads_of_64():
    shape = {"vision": 64, "text": 64}
    agree(AdaRing(ranks=(2,), site="lora", targets=("v",), tensorize="heads64", dropout=0.0, layers="-1:"), shape, **shape)


def test_parity_gives_numbers_the_gradient_of_s_equal_to_one():
    """MMA's trick: forward as written, backward 1 / s times the true gradient for every number of the adapter, through both blocks."""
    agree(AdaRing(**LONE, init="mma", scale=0.01, bias=True), gain=100.0)


def test_parity_gives_the_input_its_true_gradient():
    config = AdaRing(**LONE, init="mma", scale=0.5, bias=True)
    model, w = moved(config)
    found = []
    for one in (model, naive.by_hand(config, w)):
        pixels = batch()[0].requires_grad_()
        one.get_image_features(pixels).pooler_output.cos().sum().backward()
        found.append(pixels.grad)
    assert found[0].abs().max() > 1e-3 and (found[0] - found[1]).abs().max() < 1e-10


@pytest.mark.parametrize("gate", ["static", "router"])
def test_both_paths_are_equal_and_auto_takes_the_cheaper(gate):
    settings = QUIET | {"ranks": (2, 4), "bias": True, "gate": gate}
    found = []
    for path in ("contract", "dense", "auto"):
        model, _ = moved(AdaRing(**settings, path=path))
        found.append(features(model).detach())
        adapter, shared = model.inarch.vision_block_48, model.inarch.default.shared
        thin = adapter.prepare(shared, None).into is not None
        assert thin == (path == "contract")  # 4 + 16 directions, and two experts of width 6: auto builds D and U
    assert max(float((one - found[0]).abs().max()) for one in found) < 1e-11
    fewer, _ = moved(AdaRing(**settings | {"ranks": (1, 3)}, path="auto"))
    assert fewer.inarch.vision_block_48.prepare(fewer.inarch.default.shared, None).into is not None


# where it starts


def bank(draw: Draw, ranks: Ranks, m: int = 32, heads: bool = False) -> Bank:
    torch.manual_seed(0)
    return Bank([ranks], [Unit("vision_768", 768, 8, "all"), Unit("text_512", 512, 8, "all")], m, heads, draw)


def variance(found: torch.Tensor) -> float:
    return float(found.detach().var(unbiased=False))


@pytest.mark.parametrize("ranks", [Ranks(4, 4, 4), Ranks(1, 8, 8), Ranks(1, 1, 1)])
@pytest.mark.parametrize("slices", ["identity", "orthogonal"])
def test_cores_are_drawn_as_said(ranks, slices):
    net, terms = bank(Draw(slices), ranks, m=512), ranks.around * ranks.left
    assert abs(variance(net.features["vision_768"][0].into) * 768 - 1) < 0.15
    assert abs(variance(net.features["text_512"][0].out) * terms - 1) < 0.15
    between = net.between["all"][0]
    assert abs(variance(between.down) * terms - 1) < 0.15 and abs(variance(between.up) * 512 / 2 - 1) < 0.15
    assert not between.up_slices.any()
    eye = torch.eye(ranks.left)
    for layer in range(8):
        own = between.down_slices[:, layer]
        assert torch.equal(own, eye) if slices == "identity" else torch.allclose(own @ own.mT, eye, atol=1e-5)
    assert ranks.left == 1 or (slices == "identity") == torch.equal(between.down_slices[:, 0], between.down_slices[:, 1])


@pytest.mark.parametrize("heads", [False, True])
def test_hidden_units_start_with_unit_variance(heads):
    """n of unit variance gives D n of unit variance; and U has the variance of C' once its slices are the identity."""
    net = bank(Draw(), Ranks(4, 4, 4), m=256, heads=heads)
    for unit, dim in (("vision_768", 768), ("text_512", 512)):
        into, out = net.thin(unit)
        z = torch.randn(512, dim) @ into.mT @ net.bottleneck(unit, slice(0, 8))[0][0].mT
        assert 0.7 < variance(z) < 1.4
        net.between["all"][0].up_slices.data.copy_(torch.eye(4)[:, None].expand(4, 8, 4))
        up = out @ net.bottleneck(unit, slice(0, 8))[1][0]
        assert 0.6 < variance(up) / (2 / 256) < 1.5


def test_parity_starts_as_large_as_mma():
    """Var(D) = 2 / m and Var(U) = 2 / d of both towers, though C and C' are theirs in common."""
    net = bank(Draw(open=True), Ranks(4, 4, 4), m=256)
    for unit, dim in (("vision_768", 768), ("text_512", 512)):
        into, out = net.thin(unit)
        down, up = net.bottleneck(unit, slice(0, 8))
        assert abs(variance(down[0] @ into) * 256 / 2 - 1) < 0.3 and abs(variance(out @ up[0]) * dim / 2 - 1) < 0.3
    assert not AdaRing(ranks=(4,), init="mma").identity_at_start and AdaRing().identity_at_start


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("more", [{}, {"gate": "router"}, {"tensorize": "heads64"}, {"site": "lora"}, {"site": "post"}], ids=str)
def test_a_fresh_graft_is_the_frozen_model_bit_for_bit(dtype, more):
    """Of logits, in training mode of the adapters too."""
    model = toy(**HEADED).to(dtype)
    pixels, words = batch()
    with torch.no_grad():
        before = model(pixel_values=pixels.to(dtype), input_ids=words).logits_per_image
        inarch.graft(model, AdaRing(**more))
        model.inarch.train()
        assert torch.equal(model(pixel_values=pixels.to(dtype), input_ids=words).logits_per_image, before)
    assert all(p.dtype == torch.float32 for p in model.inarch.default.trained().values())


def first_gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    model.zero_grad()
    features(model).cos().sum().backward()
    return {name: p.grad.clone() for name, p in model.inarch.default.trained().items()}


@pytest.mark.parametrize(("more", "own"), [
    ({}, "up_slices"), ({"tensorize": "heads64"}, "up_slices"), ({"gate": "router"}, "up_slices"), ({"site": "lora"}, "slices"),
    ({"site": "post"}, "slices")], ids=str)
def test_the_first_gradient_is_the_zero_slices_alone(more, own):
    quiet = {key: value for key, value in QUIET.items() if key != "bottleneck" or "site" not in more}
    model = toy(AdaRing(**quiet | more), **HEADED)
    for name, gradient in first_gradients(model).items():
        if name.rpartition(".")[2] == own:
            assert all(gradient[:, layer].any() for layer in range(gradient.shape[1])), name
        else:
            assert not gradient.any(), name
    step = torch.optim.SGD(model.inarch.default.trained().values(), lr=1.0)
    step.step()
    assert all(gradient.any() for gradient in first_gradients(model).values())


def test_the_gradient_of_a_zero_slice_by_its_formula():
    """s g sum_{t,i,a} delta[t,i] A[a,i,b] sum_k C'[c,k,a] relu(z)[t,k]."""
    model = toy(AdaRing(**QUIET))
    torch.manual_seed(4)
    adapter, shared = model.inarch.vision_block_48, model.inarch.default.shared
    n, delta = torch.randn(5, 48, dtype=torch.float64), torch.randn(5, 48, dtype=torch.float64)
    (adapter.after(n, torch.zeros_like(n), 1, adapter.prepare(shared, None)) * delta).sum().backward()
    w = model.inarch.default.trained()
    for e in (0, 1):
        down, _ = naive.matrices(w, "vision_48", "all", e, 1)
        hidden = (n @ down.mT).clamp(min=0)
        out, up = w[f"shared.features.vision_48.{e}.out"], w[BANK.format(e, "up")]
        expected = 0.1 * 0.5 * torch.einsum("ti,aib,cka,tk->bc", delta, out, up, hidden)
        found = w[BANK.format(e, "up_slices")].grad
        assert (found[:, 1] - expected).abs().max() < 1e-12 and not found[:, 0].any() and expected.any()
