"""Several adapters on one model, their heads and thawed parameters, dtypes, checkpoint recompute, and what is refused."""

import copy

import pytest
import torch
from families import CLASSES, FAMILIES, pristine
from torch import nn
from torch.utils.checkpoint import checkpoint
from toys import ToyGate, ToyPre, ToyPrepared

import inarch
from inarch import ARC, VLPET, BitFit, Linear, LoRA
from inarch.errors import CannotGraft, ConfigError
from inarch.ports import select

FAMILY = FAMILIES["timm-vit"]


@pytest.fixture
def model() -> nn.Module:
    return copy.deepcopy(pristine("timm-vit"))


def shake(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)


@torch.no_grad()
def run(model: nn.Module) -> torch.Tensor:
    return FAMILY.run(model)


def test_each_named_adapter_keeps_its_own_numbers_thawed_values_and_head(model):
    base = run(model)
    inarch.graft(model, ARC(rank=4), name="pets", thaw=("head", "norms"))
    shake(model)
    pets = run(model)
    inarch.graft(model, LoRA(rank=2), name="cars", head=nn.Linear(32, 9).double())
    shake(model)
    cars = run(model)
    assert pets.shape == (2, 5) and cars.shape == (2, 9)
    assert torch.equal(run(inarch.use(model, "pets")), pets)
    assert torch.equal(run(inarch.use(model, "cars")), cars)
    with inarch.disabled(model):
        frozen = run(model)
    assert torch.allclose(frozen, base, rtol=0, atol=1e-12)
    assert torch.equal(run(model), cars)
    inarch.ungraft(model, "cars")
    assert torch.equal(run(inarch.use(model, "pets")), pets)
    inarch.ungraft(model)
    assert torch.equal(run(model), base)


def test_only_the_active_adapter_trains(model):
    inarch.graft(model, ARC(rank=4), name="a", thaw="head")
    inarch.graft(model, ARC(rank=4), name="b")
    assert {n.split(".")[1] for n, p in model.named_parameters() if p.requires_grad} == {"b"}
    inarch.use(model, "a")
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {"head.weight", "head.bias"} < trained and not any(n.startswith("inarch.b.") for n in trained)


def test_a_stack_is_reached_by_its_name_while_one_adapter_is_active(model):
    inarch.graft(model, ARC(rank=4), name="a")
    assert model.inarch.vision_attn_32 is model.inarch.a.vision_attn_32
    inarch.graft(model, ARC(rank=4), name="b")
    assert model.inarch.vision_attn_32 is model.inarch.b.vision_attn_32
    inarch.use(model, "a", "b")
    with pytest.raises(AttributeError, match="vision_attn_32"):
        _ = model.inarch.vision_attn_32


def test_two_active_adapters_add_up_and_merge_alike(model):
    inarch.graft(model, ToyPre(), name="a")
    inarch.graft(model, ToyPre(), name="b")
    only_b = run(model)
    inarch.use(model, "a", "b")
    both = run(model)
    assert not torch.allclose(both, only_b)
    u = torch.randn(3, 32, dtype=torch.float64)
    joint = model.inarch.joints["blocks.0", "attn"]
    single = [link.before(u) for link in joint.links]
    assert torch.allclose(joint.enter(u), u + (single[0] - u) + (single[1] - u))
    inarch.merge(model)
    assert (run(model) - both).abs().max() < 1e-12


def test_two_heads_cannot_be_active_together(model):
    inarch.graft(model, ARC(rank=4), name="a", thaw="head")
    inarch.graft(model, ARC(rank=4), name="b", thaw="head")
    with pytest.raises(CannotGraft, match=r"adapters 'a' and 'b' both train head\.weight"):
        inarch.use(model, "a", "b")
    assert list(model.inarch.active()) == ["b"]


@pytest.mark.parametrize("name", ["", "../x", "a b", "-a", "x" * 65, "a.b", "joints", "train", "base_head"])
def test_a_bad_name_is_refused(model, name):
    with pytest.raises(ConfigError, match="adapter name"):
        inarch.graft(model, ARC(rank=4), name=name)


def test_a_refused_graft_changes_nothing(model):
    inarch.graft(model, ARC(rank=4), name="a", thaw="head")
    shake(model)
    before, out = {n: v.clone() for n, v in model.state_dict().items()}, run(model)
    for bad in (ARC(rank=33), LoRA(targets=("vv",)), ARC(rank=4, layers="7:"), ARC(rank=4, towers=("text",)), ARC(rank=4)):
        with pytest.raises(ConfigError):
            inarch.graft(model, bad, name="b", thaw="hed" if bad == ARC(rank=4) else ())
        assert list(model.inarch.active()) == ["a"] and torch.equal(run(model), out)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_refusals_say_what_is_known(model):
    with pytest.raises(CannotGraft, match=r"rank=33 exceeds the width 32 of vision_attn_32; expected 1\.\.32"):
        inarch.graft(model, ARC(rank=33))
    with pytest.raises(CannotGraft, match=r"no span 'vv'; known: attn, mlp, trunk, block, norm1, norm2, stream, qkv, q, k, v, o, fc1, fc2"):
        inarch.graft(model, LoRA(targets=("vv",)))
    with pytest.raises(CannotGraft, match="has no tower 'text'; known: vision"):
        inarch.graft(model, ARC(rank=4, towers=("text",)))
    with pytest.raises(CannotGraft, match="nothing is grafted on this VisionTransformer"):
        inarch.ungraft(model)
    with pytest.raises(CannotGraft, match="would train nothing"):
        model.head = nn.Identity()
        inarch.graft(copy.deepcopy(model), Empty())


class Empty(Linear):
    thaws = ()


@pytest.mark.parametrize("layers", ["4:2", "9", "x:", "1:2:0", [3], [0, 0], [True], "::", [-4]])
def test_the_layer_grammar_refuses(layers):
    if layers == "::":
        assert select(layers, 3) == [0, 1, 2]
        return
    with pytest.raises(ConfigError, match="layer"):
        select(layers, 3)


@pytest.mark.parametrize(("layers", "expected"), [
    ("4:12", list(range(4, 12))), ("-6:", list(range(6, 12))), ([0, 5, 11], [0, 5, 11]), (None, list(range(12))),
    ("::2", [0, 2, 4, 6, 8, 10]), (-1, [11]), ("3", [3]), ((11, -12), [0, 11]),
])
def test_the_layer_grammar(layers, expected):
    assert select(layers, 12) == expected


def test_adapters_of_a_bf16_base_stay_fp32(model):
    model.bfloat16()
    inarch.graft(model, ARC(rank=4, init="identity"), thaw="head")
    x = torch.randn(2, 3, 32, 32, dtype=torch.bfloat16)
    assert {p.dtype for p in model.inarch.parameters()} == {torch.float32}
    with torch.no_grad(), inarch.disabled(model):
        base = model(x)
    out = model(x)
    assert out.dtype == torch.bfloat16 and torch.equal(out, base)
    out.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 for n, p in model.inarch.named_parameters() if n.endswith("bias"))


def test_checkpoint_recompute_gives_the_same_gradients(model):
    inarch.graft(model, ToyPrepared(), thaw="head")
    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        FAMILY.run(model).square().sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.requires_grad]

    plain = gradients()
    adapter = model.inarch.default.vision_attn_32
    assert adapter.calls == 1  # once per forward, not once per layer
    for block in model.blocks:
        forward = block.forward
        block.forward = lambda *a, forward=forward, **k: checkpoint(forward, *a, use_reentrant=False, **k)
    assert all(torch.equal(a, b) for a, b in zip(gradients(), plain, strict=True))
    assert adapter.calls == 2


def test_no_autograd_node_below_the_first_adapted_block(model):
    seen: list[bool] = []
    model.blocks[1].register_forward_hook(lambda m, a, out: seen.append(out.requires_grad))
    inarch.graft(model, ARC(rank=4, layers="-1:"))
    FAMILY.run(model).sum().backward()
    assert seen == [False]


def test_frozen_weights_are_frozen(model):
    before = {n: p.clone() for n, p in model.named_parameters()}
    inarch.graft(model, ARC(rank=4), thaw="head")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(5):
        FAMILY.run(model).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, value in before.items():
        assert torch.equal(dict(model.named_parameters())[name], value) != name.startswith("head.")


def test_bitfit_trains_the_biases_and_the_head_where_asked(model):
    inarch.graft(model, BitFit(), thaw="head")
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {n for n, _ in model.named_parameters() if n.endswith("bias")} | {"head.weight"}


def test_the_repr_is_the_recipe_line():
    assert repr(ARC(rank=50, layers="-6:")).startswith("ARC(layers='-6:', towers=None, rank=50, spans=('attn', 'mlp')")


@pytest.mark.parametrize(("fields", "message"), [
    ({"rnak": 4}, "unknown key 'rnak'; did you mean 'rank'"), ({"rank": "4"}, "rank='4'; expected int"),
    ({"rank": 4.0}, "expected int"), ({"rank": True}, "expected int"), ({"rank": 0}, "out of range"), ({"rank": -1}, "out of range"),
    ({"dropout": 1.0}, "out of range"), ({"dropout": -0.1}, "out of range"), ({"dropout": float("nan")}, "expected a finite float"),
    ({"spans": []}, "expected 'attn', 'mlp' or both"), ({"spans": ["attn", "attn"]}, "each once"),
    ({"spans": ["mpl"]}, "one of 'attn', 'mlp'"), ({"init": "publishd"}, "did you mean 'published'"), ({"bias": None}, "expected bool"),
    ({"scale": "none", "init": "identity"}, "never zero"),
])
def test_a_bad_arc_is_refused_before_any_backbone_is_built(fields, message):
    with pytest.raises(ConfigError, match=message):
        ARC.parse(fields)


@pytest.mark.parametrize("key", ["rank", "spans", "dropout", "share", "symmetric", "scale", "bias", "init", "basis", "placement",
                                 "layers", "towers"])
def test_every_one_letter_typo_is_refused_with_the_right_key(key):
    for position in range(len(key)):
        typo = key[:position] + "x" + key[position + 1:]
        with pytest.raises(ConfigError, match=f"did you mean '{key}'"):
            ARC.parse({typo: 1})


def test_after_reads_the_tensor_it_declares(model):
    """A gate that reads the residual sees the start of the skip connection, before the norm, and not what the span reads."""
    inarch.graft(model, ToyGate())
    shake(model)
    block, tokens = model.blocks[1], torch.randn(2, 5, 32, dtype=torch.float64)
    gates = {span: getattr(model.inarch.default, f"vision_{span}_32").gate[1] for span in ("attn", "mlp")}
    found = block(tokens)
    with inarch.disabled(model):
        middle = tokens + block.ls1(block.attn(block.norm1(tokens)) * torch.sigmoid(tokens * gates["attn"]))
        expected = middle + block.ls2(block.mlp(block.norm2(middle)) * torch.sigmoid(middle * gates["mlp"]))
    assert (found - expected).abs().max() < 1e-12


def test_a_root_that_calls_its_children_in_turn_takes_a_graft(model):
    """``nn.Sequential(tower, head)``: the container stands among the children and lets pass what comes."""
    model, x = nn.Sequential(model, nn.Linear(CLASSES, 2).double()), FAMILY.inputs()["pixels"]
    before = model(x)
    inarch.graft(model, ARC(rank=4), thaw="1.*")
    model.inarch.default.vision_attn_32.bias.data.normal_()
    after = model(x)
    assert after.shape == before.shape and not torch.equal(after, before)
    assert torch.equal(inarch.ungraft(model)(x), before) and len(model) == 2


@pytest.mark.parametrize("method", [ARC(rank=4), ARC(rank=4, symmetric=False, share="network"), LoRA(rank=2), VLPET(rank=4, gate_rank=2)])
def test_torch_fx_traces_a_graft(model, method):
    """Feature extractors of torchvision and timm trace symbolically: no rule of an adapter may look into a tensor's size."""
    inarch.graft(model, method)
    assert torch.equal(torch.fx.symbolic_trace(model)(FAMILY.inputs()["pixels"]), FAMILY.run(model))
