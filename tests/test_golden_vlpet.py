"""VL-PET's encoder and decoder layers against numbers of the released code: outputs and every gradient, fp64, to 1e-10."""

import pytest
import torch
from released_vlpet import GATES, Released, fill, gradients, grafted_layer
from torch import Tensor

pytestmark = pytest.mark.real
CELLS = [(kind, gate) for kind in ("bart", "t5") for gate in GATES]
LEAVES = {"attn": {"bart": "self_attn", "t5": "layer.0.SelfAttention"}, "mlp": {"bart": "fc2", "t5": "layer.1.DenseReluDense"}}


def first(out: object) -> Tensor:
    return out[0] if isinstance(out, tuple) else out


def allowed(mask: Tensor) -> Tensor:
    """``[batch, 1, 1, keys]``, True where a key may be read."""
    return mask.bool()[:, None, None, :]


def encoder(golden: Released, wide: bool = True):
    """The stock model, its layer with VL-PET on it, and the frozen outputs H that hooks of our own see before the graft's."""
    model, layer = grafted_layer(golden, "encoder", wide)
    for span in ("attn", "mlp"):
        fill(model.inarch.default.get_submodule(f"encoder_{span}_32"), golden.gated("param", span, [""]))
    golden.used.clear()
    seen: dict[str, Tensor] = {}
    for span, leaf in LEAVES.items():
        hook = lambda _m, _a, out, span=span: seen.update({span: first(out)})  # noqa: E731
        layer.get_submodule(leaf[golden.kind]).register_forward_hook(hook, prepend=True)
    return model, layer, seen


@pytest.mark.parametrize(("kind", "gate"), CELLS)
def test_released_encoder_layer(shared, kind, gate):
    golden = Released(shared / "golden" / f"vlpet_{kind}_enc_{gate}.npz")
    model, layer, seen = encoder(golden)
    x = golden["in/hidden_states"].requires_grad_()
    out = first(layer(x, allowed(golden["in/attention_mask"])))
    golden.agree(out, "out/hidden_states")
    golden.agree(seen["attn"], "out/self_attn_H")
    golden.agree(seen["mlp"], "out/ff_H")
    (out * golden["in/R"]).sum().backward()
    golden.agree(x.grad, "grad_in/hidden_states")
    for span in ("attn", "mlp"):
        gradients(golden, model.inarch.default.get_submodule(f"encoder_{span}_32"), golden.gated("grad", span, [""]))
    trained = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    for name, expected in golden.stock("grad", list(trained)).items():
        golden.see(float((trained[name].grad - expected).abs().max()), name)
    golden.all_gradients_used()
    alone = int(golden["in/attention_mask"][-1].sum())
    golden.agree(first(layer(golden["in/hidden_states"][-1:, :alone], None)), "out/unpadded_last_row")
    same = torch.allclose(out[-1:, :alone], golden["out/unpadded_last_row"])
    assert same == (gate != "small")  # whose mean runs over padding
    print(f"{kind} {gate}: {golden.worst:.1e}")


@pytest.mark.parametrize("gate", GATES)
def test_released_t5_layer_with_its_float32_islands(shared, gate):
    """Stock T5 as it is, variance in float32: as near as float32 is to the release in the same state."""
    golden = Released(shared / "golden" / f"vlpet_t5_enc_{gate}.npz")
    _, layer, _ = encoder(golden, wide=False)
    out = first(layer(golden["in/hidden_states"], allowed(golden["in/attention_mask"])))
    golden.agree(out, "out/hidden_states_float32_islands", 1e-5)
    assert not torch.equal(out, golden["out/hidden_states"])


def heads(golden: Released, flat: Tensor) -> Tensor:
    return flat.unflatten(-1, (golden.config["heads"], -1)).transpose(1, 2)


def run_decoder(golden: Released, layer: torch.nn.Module, x: Tensor, e: Tensor) -> Tensor:
    causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()[None, None]
    visible = allowed(golden["in/encoder_attention_mask"])
    if golden.kind == "bart":
        return layer(x, causal, e, visible, use_cache=False)
    return layer(x, causal, None, e, visible)[0]


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_released_decoder_layer(shared, kind):
    golden = Released(shared / "golden" / f"vlpet_{kind}_dec.npz")
    model, layer = grafted_layer(golden, "decoder")
    adapter = model.inarch.default.decoder_cross_v_32
    fill(adapter, golden.value("param"))
    golden.used.clear()
    cross = layer.encoder_attn if kind == "bart" else layer.layer[1].EncDecAttention
    seen: dict[str, Tensor] = {}
    projections = {"k_proj": "key", "v_proj": "value"} if kind == "bart" else {"k": "key", "v": "value"}
    for leaf, what in projections.items():
        cross.get_submodule(leaf).register_forward_hook(lambda _m, _a, out, what=what: seen.update({what: out}))
    cross.register_forward_hook(lambda _m, _a, out: seen.update(attn=out[0]))
    x, e = golden["in/hidden_states"].requires_grad_(), golden["in/encoder_hidden_states"].requires_grad_()
    out = run_decoder(golden, layer, x, e)
    golden.agree(out, "out/hidden_states")
    golden.agree(seen["attn"], "out/cross_attn")
    golden.agree(heads(golden, seen["key"]), "out/cross_key")
    golden.agree(heads(golden, seen["value"]), "out/cross_value")
    (out * golden["in/R"]).sum().backward()
    golden.agree(x.grad, "grad_in/hidden_states")
    golden.agree(e.grad, "grad_in/encoder_hidden_states")
    gradients(golden, adapter, golden.value("grad"))
    golden.all_gradients_used()
    assert not any(p.requires_grad for p in layer.parameters())
    print(f"{kind} decoder: {golden.worst:.1e}")


def test_released_t5_decoder_with_its_float32_islands(shared):
    golden = Released(shared / "golden" / "vlpet_t5_dec.npz")
    model, layer = grafted_layer(golden, "decoder", wide=False)
    fill(model.inarch.default.decoder_cross_v_32, golden.value("param"))
    out = run_decoder(golden, layer, golden["in/hidden_states"], golden["in/encoder_hidden_states"])
    golden.agree(out, "out/hidden_states_float32_islands", 1e-5)
