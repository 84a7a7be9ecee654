"""Two towers: features and logits are the stock's own; texts are cut to the longest of a batch without a change; adapters at every span."""

from __future__ import annotations

import copy

import pytest
import torch
from clip_folders import CONTEXT, PROMPTS, WIDTH, pixels, save_bert, save_clip, save_open_clip, timm_folder
from families import FAMILIES, pristine
from toys import ToyGate, ToyPost, ToyPre

import inarch
from inarch import backbones
from inarch.backbones import pair_folder
from inarch.backbones.two_tower import Pair, Tokens, TwoTower, mean
from inarch.errors import CannotGraft, ConfigError


@pytest.fixture(scope="module")
def stocks(tmp_path_factory) -> dict[str, TwoTower]:
    folder = tmp_path_factory.mktemp("stocks")
    save_clip(folder / "clip")
    save_clip(folder / "old", end=2)
    save_open_clip(folder / "open")
    save_bert(folder / "bert")
    timm_folder(folder / "timm")
    found = {name: backbones.load(f"clip:{folder / name}").model for name in ("clip", "old", "open")}
    return found | {"pair": pair_folder.pair(backbones.load(f"timm:{folder / 'timm'}"), folder / "bert", WIDTH, seed=1).model}


NAMES = ("clip", "old", "open", "pair")


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_logits_are_the_stocks_own(stocks, name):
    model = copy.deepcopy(stocks[name]).double()
    tokens, x = model.tokens(PROMPTS), pixels().double()
    logits = model(x, tokens)
    assert logits.shape == (3, 4)
    if name in ("clip", "old"):
        theirs = model.tokenizer(list(PROMPTS), padding="max_length", return_tensors="pt")
        expected = model.stock(pixel_values=x, **theirs).logits_per_image
    elif name == "open":
        expected = model.stock.get_logits(x, model.tokenizer(list(PROMPTS)))[0]
    else:
        expected = by_hand(model.stock, x, tokens)
    assert (logits - expected).abs().max() < 1e-6 * expected.abs().max()
    assert (logits - expected).abs().max() < 1e-10
    assert torch.equal(model.logits(model.images(x), model.texts(tokens)), logits)


def by_hand(pair: Pair, x: torch.Tensor, tokens: Tokens) -> torch.Tensor:
    """Each text by itself, without padding: nothing that stands behind it counts."""
    f = pair.image_head(pair.vision_model(x))
    w = torch.stack([
        pair.text_head(pair.text_model(input_ids=ids[None, : int(mask.sum())]).last_hidden_state.mean(1))[0]
        for ids, mask in zip(tokens.ids, tokens.mask, strict=True)])
    return pair.logit_scale.exp() * (f / f.norm(dim=1, keepdim=True)) @ (w / w.norm(dim=1, keepdim=True)).T


def test_a_bias_of_the_stock_is_added(stocks):
    model = copy.deepcopy(stocks["open"])
    before = model(pixels(), model.tokens(PROMPTS))
    model.stock.logit_bias = torch.nn.Parameter(torch.tensor(-3.0))
    assert torch.equal(model(pixels(), model.tokens(PROMPTS)), before - 3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_cut_texts_have_the_features_of_whole_ones(stocks, name, dtype):
    model = copy.deepcopy(stocks[name]).to(dtype)
    cut = model.tokens(PROMPTS)
    spare = model.context - cut.ids.shape[1]
    assert spare > 0 and cut.ids.shape[1] == max(len(ids) for ids in model.make.encode(model.tokenizer, PROMPTS))
    whole = Tokens(torch.nn.functional.pad(cut.ids, (0, spare)),
                   None if cut.mask is None else torch.nn.functional.pad(cut.mask, (0, spare)))
    bound = 1e-13 if dtype == torch.float64 else 1e-5
    assert (model.texts(cut) - model.texts(whole)).abs().max() < bound
    for k, prompt in enumerate(PROMPTS):
        assert (model.texts(model.tokens([prompt]))[0] - model.texts(cut)[k]).abs().max() < bound


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_that_does_not_fit_is_refused_by_name(stocks, name):
    model = stocks[name]
    fits = " ".join(["cat"] * (model.context - 2))
    assert model.tokens([fits]).ids.shape[1] == model.context
    with pytest.raises(ConfigError, match=rf"prompt '{fits} dog' is {model.context + 1} tokens long.*reads {model.context}: shorten"):
        model.tokens(["a cat", f"{fits} dog"])


def test_tokens():
    tokens = Tokens(torch.arange(12).view(3, 4), torch.ones(3, 4))
    assert torch.equal(tokens.rows([2, 0]).ids, tokens.ids[[2, 0]]) and tokens.rows([1]).mask.shape == (1, 4)
    assert tokens.to("meta").mask.is_meta and Tokens(tokens.ids).to("cpu").mask is None and Tokens(tokens.ids).rows([1]).mask is None


@pytest.mark.parametrize("prompts", [(), [], "a cat"])
def test_prompts_are_a_list_of_texts(stocks, prompts):
    with pytest.raises(ConfigError, match="expected a list of at least one text"):
        stocks["clip"].tokens(prompts)


def test_a_tokenizer_that_does_not_end_its_texts_is_refused(stocks):
    model = TwoTower(stocks["clip"].stock, stocks["pair"].tokenizer)
    with pytest.raises(ConfigError, match=r"does not end in the token that this text tower is read at"):
        model.tokens(["a cat"])
    with pytest.raises(ConfigError, match="has no tokenizer"):
        TwoTower(stocks["clip"].stock).tokens(["a cat"])


def test_open_clip_without_a_causal_mask_gets_the_whole_context(tmp_path):
    save_open_clip(tmp_path, no_causal_mask=True)
    model = backbones.load(f"clip:{tmp_path}").model
    tokens = model.tokens(PROMPTS)
    assert tokens.ids.shape[1] == model.context == 16 and torch.equal(tokens.ids, model.tokenizer(list(PROMPTS)))
    assert torch.equal(model.texts(tokens), model.stock.encode_text(tokens.ids))


def test_cutting_leaves_open_clip_as_it_is(stocks):
    """It is lent the first positions for a moment; a trained table of positions gets its gradient."""
    model = copy.deepcopy(stocks["open"])
    table, mask = model.stock.positional_embedding, model.stock.attn_mask
    model.texts(model.tokens(PROMPTS)).sum().backward()
    assert model.stock.positional_embedding is table and model.stock.attn_mask is mask and len(table) == 16
    length = model.tokens(PROMPTS).ids.shape[1]
    assert table.grad[:length].any() and not table.grad[length:].any()


def test_mean_over_the_mask():
    states = torch.tensor([[[1.0, 2], [3, 4], [100, 100]], [[1, 1], [7, 7], [4, 4]]])
    assert torch.equal(mean(states, torch.tensor([[1, 1, 0], [1, 1, 1]])), torch.tensor([[2.0, 3], [4, 4]]))


def test_an_image_tower_that_pools_nothing_is_refused():
    from transformers import ViTConfig, ViTForImageClassification

    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "image_size": 32}
    vit = ViTForImageClassification(ViTConfig(**shape))
    text = copy.deepcopy(pristine("clip-pair")).stock.text_model
    model = TwoTower(Pair(vit, text, torch.nn.Linear(8, 4), torch.nn.Linear(32, 4)))
    with pytest.raises(ConfigError, match="ImageClassifierOutput is no pooled feature"):
        model.images(pixels())
    bare = TwoTower(Pair(vit.vit, text, torch.nn.Linear(8, 4), torch.nn.Linear(32, 4)))
    with torch.no_grad():
        assert torch.equal(bare.images(pixels()), bare.stock.image_head(vit.vit(pixels()).last_hidden_state[:, 0]))


def test_a_model_of_one_tower_is_refused():
    with pytest.raises(ConfigError, match="Linear is no two-tower model that is known here"):
        TwoTower(torch.nn.Linear(1, 1))


SPANS = {"block": {"vision", "text"}, "words": {"words"}, "features": {"image", "sentence"}, "attn": {"vision", "text"}}


@pytest.mark.parametrize("name", ["clip", *(pytest.param(name, marks=pytest.mark.long) for name in ("clip-open", "clip-pair"))])
@pytest.mark.parametrize("span", SPANS)
def test_adapters_at_every_span_of_two_towers(name, span):
    family, model = FAMILIES[name], copy.deepcopy(pristine(name)).requires_grad_(False)
    before = family.run(model)
    torch.manual_seed(1)
    inarch.graft(model, ToyPost(spans=(span,)))
    joints = model.inarch.joints.values()
    assert {joint.site.tower for joint in joints} == SPANS[span] and len(joints) == {"words": 1, "features": 2}.get(span, 6)
    out = family.run(model)
    out.sum().backward()
    changed = [not torch.equal(a, b) for a, b in zip(out.split(16, -1), before.split(16, -1), strict=True)]
    assert changed == [span != "words", True]
    assert all(p.grad is not None for n, p in model.named_parameters() if n.startswith("inarch."))
    with inarch.disabled(model):
        assert torch.equal(family.run(model), before)
    twin = copy.deepcopy(model)
    for parameter in model.inarch.parameters():
        parameter.data += 1
    assert torch.equal(family.run(twin), out) and not torch.equal(family.run(model), out)
    inarch.ungraft(model)
    assert torch.equal(family.run(model), before) and torch.equal(family.run(twin), out)


@pytest.mark.parametrize("name", ["clip", "clip-open", "clip-pair"])
def test_words_are_seen_before_positions_and_for_every_length(name):
    """What is added to the word of one token is what a changed row of the table would bring."""
    family, model = FAMILIES[name], copy.deepcopy(pristine(name)).requires_grad_(False)
    inarch.graft(model, ToyPost(spans=("words",)))
    adapter = model.inarch.scion("default").adapters()["words_words_32"]
    with torch.no_grad():
        adapter.left.zero_()
        adapter.shift.fill_(0.25)
        found = family.run(model)
        inarch.ungraft(model)
        table = next(p for n, p in model.named_parameters() if n.endswith(("token_embedding.weight", "word_embeddings.weight")))
        table += 0.25
    assert (family.run(model) - found).abs().max() < 1e-12


def test_features_and_words_have_no_residual():
    for span in ("features", "words"):
        with pytest.raises(CannotGraft, match="residual"):
            inarch.graft(copy.deepcopy(pristine("clip")), ToyGate(spans=(span,)))


@pytest.mark.parametrize("name", ["clip", "open", "pair"])
def test_adapted_texts_of_another_length(stocks, name):
    model = copy.deepcopy(stocks[name])
    inarch.graft(model, ToyPre(spans=("attn", "block")))
    longest = model.texts(model.tokens(PROMPTS))
    for k, prompt in enumerate(PROMPTS):
        assert (model.texts(model.tokens([prompt]))[0] - longest[k]).abs().max() < 1e-4


def test_the_context_of_the_tiny_ones(stocks):
    assert {name: model.context for name, model in stocks.items()} == {"clip": CONTEXT, "old": CONTEXT, "open": 16, "pair": CONTEXT}
