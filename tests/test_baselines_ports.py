"""Places outside the blocks of a vision-language backbone: biases that T5 lacks, and a prompt without positions on BART."""

import pytest
import torch
from naive_baselines import DEPTH, agree, grafted, prompt_by_hand
from tiny_vl import DIM, VOCAB, batch, tiny
from torch import Tensor, nn

import inarch
from inarch import AddedBias, Prompt, backbones
from inarch.errors import CannotFold, CannotGraft

T5 = "config:vl-t5-base"
SUBLAYERS = {"encoder": {"attn": (0, "SelfAttention"), "mlp": (1, "DenseReluDense")},
             "decoder": {"attn": (0, "SelfAttention"), "cross": (1, "EncDecAttention"), "mlp": (2, "DenseReluDense")}}
MATRICES = {"SelfAttention": {name: name for name in "qkvo"}, "EncDecAttention": {f"cross_{name}": name for name in "qkvo"},
            "DenseReluDense": {"fc1": "wi", "fc2": "wo"}}


def widths(stack: str) -> str:
    return {"fc1": f"{DIM}x64", "fc2": f"64x{DIM}"}.get(stack, str(DIM))


def places(leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Path of the linear or norm in the stock T5 -> the bias that its output gets."""
    found = {"encoder.final_layer_norm": leaves[f"encoded_leaves_{DIM}.bias"][0],
             "decoder.final_layer_norm": leaves[f"decoded_leaves_{DIM}.bias"][0], "lm_head": leaves[f"scores_leaves_{VOCAB}.bias"][0]}
    for tower, spans in SUBLAYERS.items():
        for span, (place, module) in spans.items():
            for layer in range(DEPTH):
                path = f"{tower}.block.{layer}.layer.{place}"
                found[f"{path}.layer_norm"] = leaves[f"{tower}_{span}_{DIM}.bias"][layer]
                for stack, name in MATRICES[module].items():
                    found[f"{path}.{module}.{name}"] = leaves[f"{tower}_{stack}_{widths(stack)}.bias"][layer]
    return found


class Add:
    """Forward hook: a bias."""

    def __init__(self, bias: Tensor) -> None:
        self.bias = bias

    def __call__(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        return output + self.bias


def test_added_bias():
    """On every linear and norm of both stacks and on the LM head, one by one; a bias of keys has no gradient but rounding."""
    model, leaves = grafted("t5", AddedBias())
    base, data = tiny("t5", DEPTH).requires_grad_(False), batch("t5")
    found = places(leaves)
    modules = {path: module for path, module in base.language.named_modules()
               if type(module) is nn.Linear or "Norm" in type(module).__name__}
    assert set(found) == set(modules) and len({id(bias) for bias in found.values()}) == len(found)
    for path, bias in found.items():
        modules[path].register_forward_hook(Add(bias))
    told = {name: leaf for name, leaf in leaves.items() if "_k_" not in name}
    agree(model, data.on(model), data.on(base), told)
    for name, parameter in model.inarch.default.trained().items():
        assert ("_k_" in name) == (parameter.grad.abs().max() < 1e-12), name


def test_added_bias_starts_at_the_base_and_folds_nowhere():
    data, model = batch("t5"), inarch.graft(tiny("t5", DEPTH), AddedBias())
    with torch.no_grad():  # fused kernels follow what asks for a gradient
        started = data.on(model)
        with inarch.disabled(model):
            assert torch.equal(started, data.on(model))
    with pytest.raises(CannotFold, match="which have no bias in this base"):
        inarch.merge(model)
    for place in ("mini-vit", "config:vl-bart-base"):
        with pytest.raises(CannotGraft, match="no span 'leaves'"):
            inarch.graft(backbones.load(place, device="meta", pretrained=False).model, AddedBias())


def test_added_bias_counts_as_published():
    count = inarch.count(inarch.graft(backbones.load(T5, device="meta", pretrained=False).model, AddedBias()))
    block, cross = 4 * 768 + 768 + 3072 + 768 + 768, 4 * 768 + 768  # q k v o, norm, wi, wo, norm; cross q k v o, norm
    assert count.adapter == 12 * (2 * block + cross) + 2 * 768 + 32_200 == 282_568
    assert (count.trainable, round(count.percent, 2)) == (1_863_880, 0.83)


def test_generation_adds_the_biases_at_every_token():
    model, _ = grafted("t5", AddedBias())
    data, told = batch("t5"), {"max_length": 9, "min_length": 9, "output_logits": True, "return_dict_in_generate": True}
    cached, whole = (torch.stack(model.generate(*data.source, use_cache=use, **told).logits) for use in (True, False))
    with inarch.disabled(model):
        base = torch.stack(model.generate(*data.source, **told).logits)
    assert (cached - whole).abs().max() < 1e-11 and (cached - base).abs().max() > 1e-3


def test_prompt_on_bart():
    """LN([P ; text + positions]): the prompt has no positions, and the text has those that it has without one."""
    model, leaves = grafted("bart", Prompt(length=3, hidden=5))
    base, data = tiny("bart", DEPTH).requires_grad_(False), batch("bart")
    encoder, table = base.language.get_encoder(), base.language.get_input_embeddings()
    rows, length = data.input_ids.shape
    text = table(data.input_ids) + encoder.embed_positions.weight[2 : 2 + length]
    text = torch.stack([encoder.layernorm_embedding(torch.cat([prompt_by_hand(leaves), sample])) for sample in text])
    visual = base.visual(data.features, table.weight, data.boxes)
    mask = torch.cat([torch.ones(rows, 3), data.attention_mask, torch.ones(visual.shape[:2])], dim=1)
    hidden = torch.cat([text, visual], dim=1)
    for layer in encoder.layers:
        hidden = layer(hidden, mask.bool()[:, None, None, :].expand(-1, 1, hidden.shape[1], -1))
    naive = base.decode(hidden, mask, base.language.prepare_decoder_input_ids_from_labels(data.labels))
    agree(model, data.on(model), naive, leaves)


def test_a_prompt_of_t5_starts_as_it_did_there():
    """T5's initialiser of that time left what was added as PyTorch made it."""
    for kind, init in (("t5", "library"), ("bart", "normal")):
        assert inarch.graft(tiny(kind, DEPTH), Prompt()).inarch.default.method.init == init


def test_two_prompts_at_once_are_refused():
    model, _ = grafted("bart", Prompt(length=3, hidden=5))
    inarch.graft(model, Prompt(length=2, hidden=5), name="second")
    model.inarch.scion("second").thawed = []  # the projector cannot be trained by both; here it is about the tokens
    inarch.use(model, "default", "second")
    with pytest.raises(CannotGraft, match="how many tokens"):
        batch("bart").on(model)
