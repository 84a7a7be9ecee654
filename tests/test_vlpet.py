"""Acceptance tests of VL-PET (spec, section 8): start, neutrality, gates, heads, padding, decoder, what trains, files, batches."""

import pytest
import torch
from tiny_vl import DIM, KINDS, batch, tiny
from torch import Tensor, nn
from torch.nn import functional as F

import inarch
from inarch import VLPET
from inarch.methods.gates import Large, MiddleX, MiddleY, Small

GATES = ("small", "middleX", "middleY", "large")
START = {"bart": {"middleY": 1.0}, "t5": {"middleY": 0.3, "small": 0.15, "middleX": 0.15, "large": 0.15}}
LEAVES = {"bart": {"attn": "self_attn", "mlp": "fc2"}, "t5": {"attn": "layer.0.SelfAttention", "mlp": "layer.1.DenseReluDense"}}


def grafted(kind: str, *, shaken: bool = True, **settings: object) -> nn.Module:
    model = tiny(kind)
    torch.manual_seed(2)
    inarch.graft(model, VLPET(**{"rank": 8, "gate_rank": 6, "value_rank": 4, **settings}))
    for parameter in model.inarch.default.trained().values() if shaken else ():
        parameter.data.copy_(0.3 * torch.randn_like(parameter))
    return model


def layers_of(model: nn.Module) -> nn.ModuleList:
    encoder = model.language.get_encoder()
    return encoder.layers if hasattr(encoder, "layers") else encoder.block


def multipliers(kind: str, gate: str) -> list[Tensor]:
    """H' / H at every encoder sub-layer of a fresh graft, where H is not tiny."""
    model, found = grafted(kind, shaken=False, gate=gate), []
    for layer in layers_of(model):
        for leaf in LEAVES[kind].values():
            module, seen = layer.get_submodule(leaf), {}
            keep = lambda out: out[0] if isinstance(out, tuple) else out  # noqa: E731
            module.register_forward_hook(lambda _m, _a, out, seen=seen, keep=keep: seen.update(h=keep(out)), prepend=True)
            module.register_forward_hook(lambda _m, _a, out, seen=seen, keep=keep: seen.update(whole=keep(out)))
            found.append(seen)
    batch(kind).on(model)
    big = [seen["h"].abs() > 0.1 * seen["h"].abs().max() for seen in found]
    return [seen["whole"][at] / seen["h"][at] for seen, at in zip(found, big, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gate", GATES)
def test_multiplier_of_the_first_step(kind, gate):
    """Spec 1.5: about 0.5 (middleY: 1) on BART; 0.15 (0.3) on T5 exactly, where the update starts at zero too."""
    for ratio in multipliers(kind, gate):
        if kind == "t5":
            assert torch.allclose(ratio, torch.full_like(ratio, START[kind][gate]), rtol=1e-12)
        else:
            assert abs(float(ratio.detach().median()) - START[kind].get(gate, 0.5)) < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_of_the_update_is_the_published_one(kind):
    update = grafted(kind, shaken=False, gate="large").inarch.default.encoder_attn_32.update
    if kind == "bart":  # N(0, 0.02^2), biases zero, up-projection included: dH is small, not zero
        assert 0.01 < update.down.std() < 0.03 and 0.01 < update.up.std() < 0.03
        assert not update.down_bias.any() and not update.up_bias.any()
    else:  # PyTorch's own U(+- 1 / sqrt(fan_in)), then the up-projection set to zero, weight and bias
        assert 0.9 / DIM**0.5 < update.down.abs().max() <= 1 / DIM**0.5 and update.down_bias.any()
        assert not update.up.any() and not update.up_bias.any()


@pytest.mark.parametrize("kind", KINDS)
def test_neutral_is_the_stock_backbone(kind):
    base, b = tiny(kind), batch(kind)
    for settings in ({"gate": "none", "init": "zero"}, {"gate": "middleY", "init": "zero", "scale": 1.0}):
        model = grafted(kind, shaken=False, **settings)
        for name, parameter in base.named_parameters():  # which kernels run depends on what requires a gradient
            parameter.requires_grad_(model.get_parameter(name).requires_grad)
        assert torch.equal(b.on(model), b.on(base))
    gated = grafted(kind, shaken=False, init="zero", gate="large", scale=2.0)  # every gate at sigma(0) = 1 / 2
    assert (b.on(gated) - b.on(base)).abs().max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_gate_of_scale_one_is_a_plain_adapter(kind):
    b, plain = batch(kind), grafted(kind, gate="none")
    opened = grafted(kind, gate="large", scale=1.0)
    values = plain.inarch.default.state_dict()
    opened.inarch.default.load_state_dict(values, strict=False)
    for stack in ("encoder_attn_32", "encoder_mlp_32"):
        look = opened.inarch.default.get_submodule(stack).gate.look
        look.up.data.zero_()
        look.up_bias.data.fill_(50.0)  # sigma(50) = 1 in fp64 but for 2e-22
    assert (b.on(opened) - b.on(plain)).abs().max() < 1e-12


def test_shapes_and_ranges_of_the_gates():
    torch.manual_seed(0)
    x, h = torch.randn(2, 5, DIM).double(), torch.randn(2, 5, DIM).double()
    gates = {"large": Large(3, DIM, 6, "normal"), "middleX": MiddleX(3, DIM, "normal"), "middleY": MiddleY(3, DIM, "normal", "linear"),
             "small": Small(3, DIM, "normal", "all"), "sigmoid": MiddleY(3, DIM, "normal", "sigmoid")}
    shapes = {"large": (2, 5, DIM), "middleX": (2, 5, 1), "middleY": (DIM,), "small": (2, 1, 1), "sigmoid": (DIM,)}
    low = {"sigmoid": 1.0}
    for name, gate in gates.items():
        for parameter in gate.double().parameters():
            parameter.data.normal_()
        g = gate(x, h, 1, None)
        assert g.shape == shapes[name]
        if name != "middleY":  # 1 + z is not bounded
            assert low.get(name, 0.0) < g.min() and g.max() < low.get(name, 0.0) + 1
    assert gates["middleY"].z.min() < -1


def test_every_gate_reads_what_it_should():
    """Distinct X and H: large sees X alone, middleX and small both, middleY neither; small's X half comes first."""
    x, h, z = (torch.randn(1, 4, DIM).double() for _ in range(3))
    reads = {"large": (Large(1, DIM, 6, "normal"), True, False), "middleX": (MiddleX(1, DIM, "normal"), True, True),
             "middleY": (MiddleY(1, DIM, "normal", "linear"), False, False), "small": (Small(1, DIM, "normal", "all"), True, True)}
    for name, (gate, reads_x, reads_h) in reads.items():
        for parameter in gate.double().parameters():
            parameter.data.normal_()
        g = gate(x, h, 0, None)
        assert (not torch.equal(g, gate(z, h, 0, None))) == reads_x == gate.reads_stream, name
        assert (not torch.equal(g, gate(x, z, 0, None))) == reads_h, name
    small = reads["small"][0]
    small.weight.data[..., DIM:] = 0
    assert not torch.equal(small(x, h, 0, None), small(z, h, 0, None)) and torch.equal(small(x, h, 0, None), small(x, z, 0, None))


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
def test_heads_are_rows_of_one_matrix(heads):
    """Spec 2.1: N_h down-projections that all read the whole of H are one linear after stacking their rows."""
    update = grafted("bart").inarch.default.encoder_mlp_32.update
    h = torch.randn(2, 5, DIM).double()
    down, bias = update.down[1].chunk(heads), update.down_bias[1].chunk(heads)
    z = F.gelu(torch.cat([F.linear(h, d, c) for d, c in zip(down, bias, strict=True)], -1), approximate="tanh")
    assert (update(h, 1) - F.linear(z, update.up[1], update.up_bias[1])).abs().max() < 1e-14


@pytest.mark.parametrize("kind", KINDS)
def test_only_small_depends_on_padding_and_its_masked_mean_does_not(kind):
    b = batch(kind, rows=1)
    pad = {"bart": 1, "t5": 0}[kind]
    longer, mask = F.pad(b.input_ids, (0, 3), value=pad), F.pad(b.attention_mask, (0, 3))

    def moved(**settings: object) -> float:
        model = grafted(kind, **settings)
        text = model(b.input_ids, b.attention_mask, None, b.labels)
        seen = model(b.input_ids, b.attention_mask, b.features, b.labels)
        off = [model(longer, mask, b.features, b.labels) - seen, model(longer, mask, None, b.labels) - text]
        return max(float(difference.detach().abs().max()) for difference in off)

    for gate in GATES:
        assert (moved(gate=gate) > 1e-6) == (gate == "small"), gate
    assert moved(gate="small", small_mean="visible") < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gate", GATES)
def test_batch_size_does_not_matter(kind, gate):
    """At one length: small's mean is over the sample's own tokens."""
    model, b = grafted(kind, gate=gate), batch(kind, rows=4)
    whole = b.on(model)
    rows = [model(*(t[i : i + 1] for t in (*b.source, b.labels, b.boxes))) for i in range(4)]
    assert (whole - torch.cat(rows)).abs().max() < 1e-12


@pytest.mark.parametrize(("kind", "norms"), [("bart", 2 * 3 + 1), ("t5", 2 * 3 + 1)])
def test_what_trains(kind, norms):
    """The adapters, every encoder norm, the projector; no decoder norm, no token or position table, no head."""
    model = grafted(kind)
    trained = {name for name, p in model.named_parameters() if p.requires_grad and not name.startswith("inarch.")}
    modules = {name.rpartition(".")[0] for name in trained}
    assert all(name.startswith("visual.") or ".encoder." in name for name in trained)
    assert {m for m in modules if m.startswith("visual.")} == {f"visual.{m}" for m in
                                                              ("feature", "feature_norm", "box", "box_norm", "image_order")}
    inside = {m for m in modules if not m.startswith("visual.")}
    assert len(inside) == norms and all("Norm" in type(model.get_submodule(m)).__name__ for m in inside)
    frozen = grafted(kind, encoder_norms=False)
    assert {n for n, p in frozen.named_parameters() if p.requires_grad and not n.startswith("inarch.")} == {
        n for n in trained if n.startswith("visual.")}


@pytest.mark.parametrize(("address", "norms"), [("config:vl-bart-base", 13), ("config:vl-t5-base", 25)])
def test_norms_that_train_in_the_papers_backbones(address, norms):
    model = inarch.backbones.load(address, device="meta", pretrained=False).model
    inarch.graft(model, VLPET())
    thawed = {name.rpartition(".")[0] for name, p in model.named_parameters() if p.requires_grad and ".encoder." in name}
    assert len(thawed) == norms


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gate", GATES)
def test_a_file_holds_what_trains_and_gives_the_same_logits(kind, gate, tmp_path):
    model, b = grafted(kind, gate=gate), batch(kind)
    model.visual.feature.weight.data += 0.1
    layers_of(model)[1].get_submodule("self_attn_layer_norm" if kind == "bart" else "layer.1.layer_norm").weight.data += 0.1
    inarch.save(model, tmp_path / "a")
    numbers = sum(file.stat().st_size for file in (tmp_path / "a").rglob("*.safetensors")) / 8
    assert inarch.count(model).trainable <= numbers < 1.2 * inarch.count(model).trainable + 2000
    fresh = tiny(kind)
    inarch.load(fresh, tmp_path / "a")
    assert torch.equal(b.on(fresh), b.on(model))
    assert fresh.inarch.scion("default").method == model.inarch.scion("default").method


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["value", "key"])
def test_the_decoder_adapter_changes_its_own_projection_alone(kind, place):
    base, model, b = tiny(kind), grafted(kind, decoder=(place,)), batch(kind)
    hidden, mask = base.encode(*b.source)
    fed = torch.full((2, 3), 4)
    leaves = {"bart": ("decoder.layers.1.encoder_attn.k_proj", "decoder.layers.1.encoder_attn.v_proj"),
              "t5": ("decoder.block.1.layer.1.EncDecAttention.k", "decoder.block.1.layer.1.EncDecAttention.v")}[kind]

    def projected(m: nn.Module) -> list[Tensor]:
        seen, root = {}, m.language.model if kind == "bart" else m.language
        handles = [root.get_submodule(p).register_forward_hook(lambda _m, _a, out, p=p: seen.update({p: out})) for p in leaves]
        m.decode(hidden, mask, fed)
        for handle in handles:
            handle.remove()
        return [seen[p] for p in leaves]

    (k0, v0), (k1, v1) = projected(base), projected(model)
    assert torch.equal(k0, k1) == (place == "value") and torch.equal(v0, v1) == (place == "key")
