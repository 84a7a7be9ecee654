"""The vision-language wrapper: text alone is the stock model, visual tokens join as published, copies and recomputation are exact."""

import copy
import math
import pickle

import pytest
import torch
from tiny_vl import DIM, GRID, KINDS, TOKENS, WIDTH, batch, tiny
from torch import Tensor, nn
from torch.nn import functional as F

import inarch
from inarch import VLPET
from inarch.backbones.vision_language import VisionLanguage, VisualProjector
from inarch.errors import DataError

GATED = {"rank": 4, "gate_rank": 3, "value_rank": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_text_alone_is_the_stock_model(kind):
    """Bit for bit, padded or not: encoder, logits, and what is generated."""
    model, b = tiny(kind), batch(kind)
    stock = copy.deepcopy(model.language)
    for mask in (b.attention_mask, torch.ones_like(b.attention_mask)):
        text = {"input_ids": b.input_ids, "attention_mask": mask}
        hidden, seen = model.encode(b.input_ids, mask)
        assert torch.equal(hidden, stock.get_encoder()(**text).last_hidden_state) and torch.equal(seen, mask)
        fed = stock.prepare_decoder_input_ids_from_labels(b.labels)
        assert torch.equal(model(b.input_ids, mask, None, b.labels), stock(**text, decoder_input_ids=fed).logits)
        for beams in (1, 3):
            theirs = stock.generate(**text, num_beams=beams, max_length=9, do_sample=False)
            assert torch.equal(model.generate(b.input_ids, mask, None, beams=beams, max_length=9), theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_every_token_sees_every_visual_token_and_the_reverse(kind):
    model, b = tiny(kind), batch(kind, images=1)
    features = b.features.clone().requires_grad_()
    hidden, mask = model.encode(b.input_ids, b.attention_mask, features)
    text = b.input_ids.shape[1]
    assert hidden.shape == (2, text + TOKENS, DIM) and mask.sum(1).tolist() == [text + TOKENS, text - 2 + TOKENS]
    for place in range(hidden.shape[1]):
        grad = torch.autograd.grad(hidden[:, place].sum(), features, retain_graph=True)[0]
        assert all(grad[row, 0].any() for row in range(2)), place
    other = b.input_ids.clone()
    other[:, 1] = 9
    assert ((model.encode(other, b.attention_mask, features)[0] - hidden)[:, text:].abs().amax((1, 2)) > 1e-6).all()
    logits = torch.autograd.grad(b.on(model)[:, 0].square().sum(), model.visual.feature.bias)[0]
    assert logits.any()  # the decoder attends to them


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_seen_by_nothing(kind):
    model, b = tiny(kind), batch(kind)
    out = b.on(model)
    words = b.input_ids.masked_fill(b.attention_mask == 0, 11)
    assert torch.equal(model(words, b.attention_mask, b.features, b.labels, b.boxes), out)
    longer, mask = F.pad(b.input_ids, (0, 4), value=5), F.pad(b.attention_mask, (0, 4))
    assert (model(longer, mask, b.features, b.labels, b.boxes) - out).abs().max() < 1e-12
    short = int(b.attention_mask[1].sum())
    alone = model(b.input_ids[1:, :short], b.attention_mask[1:, :short], b.features[1:], b.labels[1:], b.boxes[1:])
    assert (alone - out[1:]).abs().max() < 1e-12


def test_t5_has_no_position_bias_where_a_visual_token_takes_part():
    """Attention of the first block by hand: relative bias between text and text, 0 elsewhere; the other blocks get the same table."""
    model, b = tiny("t5"), batch("t5")
    encoder, seen, biases = model.language.get_encoder(), {}, []
    first = encoder.block[0].layer[0].SelfAttention
    first.register_forward_hook(lambda _m, args, out: seen.update(x=args[0], out=out[0]))
    for block in encoder.block:
        hook = lambda _m, _a, kwargs: biases.append(kwargs["position_bias"])  # noqa: E731
        block.layer[0].SelfAttention.register_forward_pre_hook(hook, with_kwargs=True)
    _, mask = model.encode(*b.source)
    n, text = mask.shape[1], b.input_ids.shape[1]
    table = first.relative_attention_bias.weight
    bias = torch.zeros(4, n, n, dtype=torch.float64)
    for i in range(text):
        for j in range(text):
            bias[:, i, j] = table[bucket(j - i)]
    assert all(torch.equal(found[0], bias) for found in biases) and len(biases) == 3
    for row in range(2):
        q, k, v = ((seen["x"][row] @ w.weight.T).unflatten(-1, (4, -1)).transpose(0, 1) for w in (first.q, first.k, first.v))
        scores = (q @ k.transpose(1, 2) + bias).masked_fill(mask[row] == 0, -math.inf)
        out = (torch.softmax(scores, -1) @ v).transpose(0, 1).flatten(1) @ first.o.weight.T
        assert (out - seen["out"][row]).abs().max() < 1e-12


def bucket(distance: int, buckets: int = 8, far: int = 128) -> int:
    """T5's rule for both directions: half of the buckets per sign, of these half exact and half logarithmic."""
    half, away = buckets // 2, abs(distance)
    exact = half // 2
    place = away if away < exact else min(half - 1, exact + int(math.log(away / exact) / math.log(far / exact) * (half - exact)))
    return place + (half if distance > 0 else 0)


def naive_visual(visual: VisualProjector, features: Tensor, boxes: Tensor, table: Tensor) -> list[Tensor]:
    """Tokens of one sample, image by image: 3 x 3 rows pooled to 2 x 2 by overlapping maxima."""
    tokens = []
    for j, grid in enumerate(features):
        square = grid.unflatten(0, (3, 3))
        for k in range(TOKENS):
            r, c = divmod(k, 2)
            f = square[r : r + 2, c : c + 2].flatten(0, 1).amax(0)
            x1, x2, y1, y2 = boxes[j, k]
            box = torch.stack([x1, x2, y1, y2, (x2 - x1) * (y2 - y1)])
            tokens.append(visual.feature_norm(visual.feature(f)) + visual.box_norm(visual.box(box)) + visual.image_order.weight[j]
                          + table[len(table) - 1 - k])
    return tokens


@pytest.mark.parametrize("kind", KINDS)
def test_projector_by_hand(kind):
    model, b = tiny(kind), batch(kind)
    table = model.language.get_input_embeddings().weight
    found = model.visual(b.features, table, b.boxes)
    for row in range(2):
        assert (found[row] - torch.stack(naive_visual(model.visual, b.features[row], b.boxes[row], table))).abs().max() < 1e-12
    none = model.visual(b.features, table)
    assert torch.equal(none, model.visual(b.features, table, torch.zeros_like(b.boxes))) and not torch.equal(none, found)


def test_bart_visual_tokens_have_neither_positions_nor_the_embeddings_norm():
    model, b = tiny("bart"), batch("bart")
    seen: dict[str, Tensor] = {}
    model.language.get_encoder().layers[0].register_forward_pre_hook(lambda _m, args: seen.update(x=args[0]))
    model.encode(*b.source, b.boxes)
    visual = model.visual(b.features, model.language.get_input_embeddings().weight, b.boxes)
    assert torch.equal(seen["x"][:, b.input_ids.shape[1] :], visual)
    assert model.seat.guests is None  # the next forward has none of them


def test_pooling_of_the_papers_grid_is_a_maximum_over_overlapping_windows():
    visual = VisualProjector(5, DIM, nn.LayerNorm(DIM), nn.LayerNorm(DIM), 36)
    grid = torch.randn(1, 1, 49, 5)
    square, pooled = grid.unflatten(2, (7, 7))[0, 0], visual.pooled(grid).unflatten(2, (6, 6))[0, 0]
    assert all(torch.equal(pooled[r, c], square[r : r + 2, c : c + 2].flatten(0, 1).amax(0)) for r in range(6) for c in range(6))
    assert VisualProjector(5, DIM, nn.LayerNorm(DIM), nn.LayerNorm(DIM), 64).pooled(torch.randn(1, 1, 64, 5)).shape == (1, 1, 64, 5)
    assert VisualProjector(5, DIM, nn.LayerNorm(DIM), nn.LayerNorm(DIM), None).pooled(torch.randn(1, 1, 50, 5)).shape[2] == 50


@pytest.mark.parametrize(("shape", "message"), [
    ((2, 2, GRID, WIDTH + 1), rf"shape \[2, 2, 9, 7\]; expected \[batch, images \(1 to 2\), rows, {WIDTH}\]"),
    ((2, 3, GRID, WIDTH), "images"), ((2, GRID, WIDTH), "expected"), ((2, 1, 8, WIDTH), "8 feature rows per image cannot be pooled to 4"),
])
def test_features_that_do_not_fit_are_refused(shape, message):
    model, b = tiny("bart", 1), batch("bart")
    with pytest.raises(DataError, match=message):
        model.encode(b.input_ids, b.attention_mask, torch.zeros(shape, dtype=torch.float64))
    assert model.seat.guests is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_a_copy_has_its_own_seat(kind, copier):
    model, b = tiny(kind), batch(kind)
    out, twin = b.on(model), copier(model)
    assert torch.equal(b.on(twin), out) and twin.seat is not model.seat
    twin.visual.feature.bias.data += 1
    assert not torch.equal(b.on(twin), out) and torch.equal(b.on(model), out)


def gradients(model: VisionLanguage, b) -> dict[str, Tensor]:
    model.zero_grad()
    b.on(model).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_gives_equal_gradients(kind):
    """Blocks are computed again in backward: visual tokens, the T5 bias and the mask of the small gate must be there again."""
    quiet = {"dropout": 0.0} if kind == "bart" else {"dropout_rate": 0.0}
    model, b = tiny(kind, **quiet), batch(kind)
    inarch.graft(model, VLPET(gate="small", small_mean="visible", init="normal", **GATED))
    model.train()
    plain = gradients(model, b)
    model.language.activation_checkpointing_enable()
    assert model.language.get_encoder().gradient_checkpointing
    again = gradients(model, b)
    assert set(plain) == set(again) and all((plain[n] - again[n]).abs().max() < 1e-12 for n in plain)


def test_no_box_and_one_image_leave_two_tensors_without_a_gradient():
    """Published runs have all boxes zero: the box weight has a gradient of exactly zero, and row 1 of the image order with one image."""
    for images in (1, 2):
        model, b = tiny("bart"), batch("bart", images=images)
        model(*b.source, b.labels).square().sum().backward()
        assert not model.visual.box.weight.grad.any() and model.visual.box.bias.grad.any()
        assert model.visual.image_order.weight.grad.any(-1).tolist() == [True, images == 2]
