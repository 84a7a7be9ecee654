"""HyperFormer and prompt tuning against loops written from their equations: outputs and gradients in fp64, on BART and T5."""

import copy

import pytest
import torch
from naive_baselines import DEPTH, HYPER, LEAVES, Replace, agree, generated, grafted, prompt_by_hand
from tiny_vl import DIM, KINDS, Batch, batch, tiny

import inarch
from inarch import HyperFormer, Prompt, backbones
from inarch.errors import CannotFold, CannotGraft, ConfigError
from inarch.methods.hyperformer import choose_task


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", [0, 1])
def test_hyperformer(kind, task):
    model, leaves = grafted(kind, HYPER)
    base, data = tiny(kind, DEPTH).requires_grad_(False), batch(kind)
    for tower, spans in LEAVES[kind].items():
        for span, path in spans.items():
            for layer in range(DEPTH):
                module = base.language.get_submodule(f"{'model.' if kind == 'bart' else ''}{tower}.{path.format(layer)}")
                module.register_forward_hook(Replace(generated(leaves, tower, span, layer, task)))
    choose_task(model, HYPER.tasks[task])
    ours, naive = data.on(model), data.on(base)
    agree(model, ours, naive, leaves)
    assert not leaves["shared.embedding"].grad[1 - task].any()  # the other task's embedding had no part in it


def test_hyperformer_must_be_told_the_task():
    model, data = inarch.graft(tiny("bart", DEPTH), HYPER), batch("bart")
    with pytest.raises(ConfigError, match="which of the tasks vqa, gqa"):
        data.on(model)
    with pytest.raises(ConfigError, match=r"no task 'gpa'; .*gqa"):
        choose_task(model, "gpa")
    found = []
    for task in HYPER.tasks:
        choose_task(model, task)
        found.append(data.on(model))
    assert not torch.equal(*found)
    single = inarch.graft(tiny("bart", DEPTH), HyperFormer(rank=3, task_dim=5, hidden=7))
    before = data.on(single)
    choose_task(single, "vqa")  # one embedding serves every task
    assert torch.equal(before, data.on(single))


def test_hyperformer_shares_within_a_tower_and_follows_the_model():
    model, _ = grafted("bart", HyperFormer(rank=3, task_dim=5, hidden=7, projected=4, layers="-1:"))
    shapes = {name: tuple(p.shape) for name, p in model.inarch.default.trained().items()}
    assert shapes["shared.embedding"] == (1, 5) and shapes["shared.towers.decoder.layers"] == (1, 5)
    assert {name for name in shapes if name.startswith("shared.towers.encoder.")} == {
        f"shared.towers.encoder.{part}" for part in ("layers", "into.weight", "into.bias", "out.weight", "out.bias", "norm.weight",
                                                     "norm.bias")}
    assert [key for key in model.inarch.default.keys if "cross" in key] == [f"decoder_cross_{DIM}"]
    picture = inarch.graft(backbones.load("mini-vit", classes=2, device="meta").model, HyperFormer())
    assert {key.split("_")[1] for key in picture.inarch.default.keys} == {"attn", "mlp"}  # cross is a decoder's
    with pytest.raises(CannotGraft, match="finds no decoder"):
        inarch.graft(backbones.load("mini-vit", classes=2, device="meta").model, HyperFormer(spans=("cross",)))


def test_hyperformer_starts_at_the_base_only_where_it_says_so():
    data, base = batch("bart"), tiny("bart", DEPTH)
    for init in ("zero", "normal"):
        method = HyperFormer(rank=3, task_dim=5, init=init)
        model = inarch.graft(copy.deepcopy(base), method)
        assert torch.equal(data.on(model), data.on(base)) == method.identity_at_start == (init == "zero")


def test_hyperformer_start_is_that_of_bart():
    torch.manual_seed(0)
    net = inarch.graft(tiny("bart", DEPTH), HyperFormer(task_dim=256)).inarch.default
    found = dict(net.trained())
    assert abs(found["shared.embedding"].std() - 1) < 0.2
    for name, parameter in found.items():
        if name.endswith((".weight", ".layers")) and "norm" not in name:
            assert abs(parameter.std() - 0.02) < 0.004, name
        elif name.endswith(".bias"):
            assert not parameter.any(), name


@pytest.mark.parametrize("wrong", [{"tasks": ()}, {"tasks": ("a", "a")}, {"spans": ()}, {"projected": 1}, {"rank": 0}])
def test_hyperformer_refuses(wrong):
    with pytest.raises(ConfigError, match=f"HyperFormer: {next(iter(wrong))}"):
        HyperFormer(**wrong)


def test_prompt_on_t5():
    """[P ; text ; visual]; relative positions count the prompt, as released; the decoder sees all of it."""
    model, leaves = grafted("t5", Prompt(length=3, hidden=5))
    base, data = tiny("t5", DEPTH).requires_grad_(False), batch("t5")
    text, rows = base.language.get_input_embeddings()(data.input_ids), len(data.input_ids)
    text = torch.stack([torch.cat([prompt_by_hand(leaves), sample]) for sample in text])
    visual = base.visual(data.features, base.language.get_input_embeddings().weight, data.boxes)
    mask = torch.cat([torch.ones(rows, 3), data.attention_mask, torch.ones(visual.shape[:2])], dim=1).long()
    hidden = base.seat(base.language.get_encoder(), text, visual, mask)
    naive = base.decode(hidden, mask, base.language.prepare_decoder_input_ids_from_labels(data.labels))
    agree(model, data.on(model), naive, leaves)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_leaves_padding_without_effect(kind):
    model, _ = grafted(kind, Prompt(length=3, hidden=5))
    both = batch(kind)
    short = int(both.attention_mask[1].sum())
    alone = Batch(both.input_ids[1:, :short], both.attention_mask[1:, :short], both.features[1:], both.labels[1:], both.boxes[1:])
    assert (both.on(model)[1:] - alone.on(model)).abs().max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_generation_with_and_without_cache_under_a_prompt(kind):
    model, _ = grafted(kind, Prompt(length=3, hidden=5))
    data, told = batch(kind), {"max_length": 9, "min_length": 9, "output_logits": True, "return_dict_in_generate": True}
    cached, whole = (torch.stack(model.generate(*data.source, use_cache=use, **told).logits) for use in (True, False))
    with inarch.disabled(model):
        base = torch.stack(model.generate(*data.source, **told).logits)
    assert (cached - whole).abs().max() < 1e-11 and cached.shape == base.shape and (cached - base).abs().max() > 1e-3


def test_a_prompt_needs_text_embeddings_that_can_be_lengthened():
    with pytest.raises(CannotGraft, match="no span 'tokens'"):
        inarch.graft(backbones.load("mini-vit", classes=2, device="meta").model, Prompt())
    model, _ = grafted("bart", Prompt(length=3, hidden=5))
    with pytest.raises(CannotFold, match="lengthens the input"):
        inarch.merge(model)
    for wrong in ({"length": 0}, {"hidden": 0}, {"init": "zero"}):
        with pytest.raises(ConfigError, match=f"Prompt: {next(iter(wrong))}"):
            Prompt(**wrong)


def test_a_prompt_starts_as_said():
    torch.manual_seed(0)
    for init, table, out in (("normal", 0.02, 0.02), ("library", 1.0, 1 / (3 * 800) ** 0.5)):
        found = inarch.graft(tiny("bart", DEPTH), Prompt(init=init)).inarch.default.get_submodule(f"prompt_tokens_{DIM}")
        assert abs(found.table.std() / table - 1) < 0.1 and abs(found.out.std() / out - 1) < 0.1
        assert bool(found.into_bias.any()) == (init == "library")
