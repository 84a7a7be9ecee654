"""Generation from image and text: with and without cache equal, equal to a loop by hand, and free of adapter cost per token."""

import pytest
import torch
from tiny_vl import KINDS, batch, tiny
from torch import Tensor, nn

import inarch
from inarch import VLPET

LOUD = {"bart": {"init_std": 0.4}, "t5": {"initializer_factor": 1.0}}  # so that what is said depends on what is seen
START = {"bart": 2, "t5": 0}
END = {"bart": 2, "t5": 1}


def talking(kind: str) -> nn.Module:
    """With VL-PET of random values: the encoder gates and the decoder's value adapters all take part."""
    model = tiny(kind, **LOUD[kind])
    inarch.graft(model, VLPET(gate="small", rank=4, value_rank=3))
    torch.manual_seed(6)
    for parameter in model.inarch.default.trained().values():
        parameter.data.copy_(0.4 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beams", [1, 4])
def test_cached_and_uncached_say_the_same(kind, beams):
    model, b = talking(kind), batch(kind, rows=4)
    cached = model.generate(*b.source, beams=beams, max_length=12)
    assert torch.equal(cached, model.generate(*b.source, beams=beams, max_length=12, use_cache=False))
    assert len({tuple(row.tolist()) for row in cached}) > 1  # the images differ, and so do the answers
    with inarch.disabled(model):
        assert not torch.equal(cached, model.generate(*b.source, beams=beams, max_length=12))


def greedy(kind: str, model: nn.Module, b, length: int) -> list[list[int]]:
    """Row by row, token by token, everything computed again for each: until the end token or ``length``."""
    said = []
    for row in range(len(b.input_ids)):
        hidden, mask = model.encode(*(t[row : row + 1] for t in b.source))
        tokens = [START[kind]]
        while len(tokens) < length and (len(tokens) == 1 or tokens[-1] != END[kind]):
            logits = model.decode(hidden, mask, torch.tensor([tokens]))[0, -1]
            last = kind == "bart" and len(tokens) == length - 1  # BART's configuration forces the end token
            tokens.append(END[kind] if last else int(logits.argmax()))
        said.append(tokens)
    return said


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_greedy_search_by_hand(kind):
    model, b = talking(kind), batch(kind, rows=4, text=5)
    b.attention_mask.fill_(1)  # at one length: what the small gate makes of a row depends on its padding
    said = model.generate(*b.source, max_length=10)
    pad = {"bart": 1, "t5": 0}[kind]
    for row, expected in zip(said.tolist(), greedy(kind, model, b, 10), strict=True):
        assert row == expected + [pad] * (len(row) - len(expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("length", [4, 14])
def test_the_value_adapter_runs_once_per_layer_whatever_is_said(kind, beams, length):
    """Values of the cross-attention are cached, so it costs nothing per generated token; the encoder's adapters run once too."""
    model, b = talking(kind), batch(kind)
    runs: dict[str, int] = {}
    for name in ("encoder_attn_32", "encoder_mlp_32", "decoder_cross_v_32"):
        update = model.inarch.default.get_submodule(name).update
        update.register_forward_hook(lambda _m, _a, _o, name=name: runs.update({name: runs.get(name, 0) + 1}))
    steps: list[int] = []
    model.language.get_decoder().register_forward_hook(lambda _m, _a, _o: steps.append(1))
    model.generate(*b.source, beams=beams, max_length=length, eos_token_id=None, forced_eos_token_id=None)
    assert len(steps) == length - 1
    assert runs == {"encoder_attn_32": 3, "encoder_mlp_32": 3, "decoder_cross_v_32": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_stepwise_decoding_agree(kind):
    """Teacher forcing gives the same logits as the cached decoder fed one token after another."""
    from transformers import DynamicCache, EncoderDecoderCache

    model, b = talking(kind), batch(kind)
    hidden, mask = model.encode(*b.source)
    fed = torch.cat([torch.full((2, 1), START[kind]), b.labels[:, :3].clamp(min=3)], dim=1)
    whole, cache = model.decode(hidden, mask, fed), EncoderDecoderCache(DynamicCache(), DynamicCache())
    for i in range(fed.shape[1]):
        out = model.language(encoder_outputs=(hidden,), attention_mask=mask, decoder_input_ids=fed[:, i : i + 1], past_key_values=cache,
                             use_cache=True)
        assert (out.logits[:, 0] - whole[:, i]).abs().max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_shifted_behind_the_start_token(kind):
    model, b = talking(kind), batch(kind)
    hidden, mask = model.encode(*b.source, b.boxes)
    pad = {"bart": 1, "t5": 0}[kind]
    shifted = torch.cat([torch.full((2, 1), START[kind]), b.labels[:, :-1].masked_fill(b.labels[:, :-1] == -100, pad)], dim=1)
    assert torch.equal(b.on(model), model.decode(hidden, mask, shifted))


def test_generation_needs_no_gradient_and_leaves_none():
    model, b = talking("bart"), batch("bart")
    said: Tensor = model.generate(*b.source)
    assert said.dtype == torch.long and said.shape[1] <= 20
    assert all(p.grad is None for p in model.parameters())
