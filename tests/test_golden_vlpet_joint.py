"""The joint visual-text encoder with VL-PET against numbers of the released code: projector, assembly, layers, gradients, fp64."""

import pytest
import torch
from released_vlpet import PROJECTOR, Released, fill, gradients
from tiny_vl import bart, t5, wrapped
from torch import Tensor
from wide_norms import widened

import inarch
from inarch.backbones.vision_language import VisionLanguage

pytestmark = pytest.mark.real
FILES = ["bart_joint_large_1img", "bart_joint_small_2img", "t5_joint_large_2img", "t5_joint_middleX_1img"]
LAYERS = {"bart": ["layers.0.", "layers.1."], "t5": ["block.0.", "block.1."]}


def leaves(model: VisionLanguage) -> dict[str, str]:
    """Names of the projector's tensors, ours -> the release's."""
    mine = dict(model.visual.named_parameters())
    return {name: f"visual_embedding.{PROJECTOR[name.split('.')[0]]}.{name.split('.')[1]}" for name in mine}


def released(golden: Released) -> VisionLanguage:
    """Stock encoder-decoder with the released encoder's weights and projector, VL-PET grafted and filled; the decoder is not called."""
    c = golden.config
    shape = {"vocab_size": c["vocab"]}
    if golden.kind == "t5":
        shape |= {"d_kv": c["d"] // c["heads"], "relative_attention_num_buckets": c["buckets"]}
    else:
        shape |= {"max_position_embeddings": c["max_position_embeddings"]}
    language = widened({"bart": bart, "t5": t5}[golden.kind](2, **shape))
    model = widened(wrapped(language, c["feat"], c["n_boxes"])).double().eval()
    encoder = model.language.get_encoder()
    encoder.load_state_dict(golden.stock("param", list(encoder.state_dict())), strict=True)
    model.visual.load_state_dict({ours: golden.take("param", theirs) for ours, theirs in leaves(model).items()}, strict=True)
    inarch.graft(model, golden.method)
    for span in ("attn", "mlp"):
        fill(model.inarch.default.get_submodule(f"encoder_{span}_32"), golden.gated("param", span, LAYERS[golden.kind]))
    golden.used.clear()
    return model


def watched(model: VisionLanguage) -> dict[str, Tensor]:
    """What the projector gives, what enters the first layer and what leaves it, filled in by a forward."""
    seen: dict[str, Tensor] = {}
    encoder = model.language.get_encoder()
    layer = (encoder.layers if hasattr(encoder, "layers") else encoder.block)[0]
    model.visual.register_forward_hook(lambda _m, _a, out: seen.update(visual_embedding=out))
    layer.register_forward_pre_hook(lambda _m, args: seen.update(encoder_input=args[0]))
    layer.register_forward_hook(lambda _m, _a, out: seen.update({"layer.0": out[0] if isinstance(out, tuple) else out}))
    return seen


@pytest.mark.parametrize("file", FILES)
def test_released_joint_encoder(shared, file):
    golden = Released(shared / "golden" / f"vlpet_{file}.npz")
    c, model = golden.config, released(golden)
    seen = watched(model)
    ids = golden["in/input_ids"]
    mask = (ids != c["pad_token_id"]).long()
    per_image = lambda t: t.unflatten(1, (c["n_images"], c["grid"]))  # noqa: E731
    features = golden["in/vis_feats"].requires_grad_()
    hidden, visible = model.encode(ids, mask, per_image(features))
    golden.agree(hidden, "out/last_hidden_state")
    for what in ("visual_embedding", "encoder_input", "layer.0"):
        golden.agree(seen[what], f"out/{what}")
    assert visible.shape == hidden.shape[:2] and visible[:, ids.shape[1] :].all()
    (hidden * golden["in/R"]).sum().backward()
    golden.agree(features.grad, "grad_in/vis_feats")
    check_gradients(golden, model)
    boxes = golden["in/boxes_random"]
    golden.agree(model.encode(ids, mask, per_image(features), per_image(boxes))[0], "out/last_hidden_state_random_boxes")
    zero = model.encode(ids, mask, per_image(features), per_image(golden["in/boxes"]))[0]
    assert torch.equal(zero, hidden)
    print(f"{file}: {golden.worst:.1e}")


def check_gradients(golden: Released, model: VisionLanguage) -> None:
    for span in ("attn", "mlp"):
        gradients(golden, model.inarch.default.get_submodule(f"encoder_{span}_32"), golden.gated("grad", span, LAYERS[golden.kind]))
    names = {f"visual.{ours}": theirs for ours, theirs in leaves(model).items()}
    prefix = "language.model.encoder." if golden.kind == "bart" else "language.encoder."
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad and not name.startswith("inarch.")}
    for name, parameter in trained.items():
        expected = golden.take("grad", names.get(name, name.removeprefix(prefix)))
        golden.see(float((parameter.grad - expected).abs().max()), name)
    golden.all_gradients_used()
    assert not model.visual.box.weight.grad.any()  # all boxes are zero
    assert model.visual.image_order.weight.grad[1].any() == (golden.config["n_images"] == 2)
