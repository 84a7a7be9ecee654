"""The frozen lower part of a tower, kept: features and gradients are those without, bit for bit, and what lies below is not computed."""

from __future__ import annotations

import copy

import pytest
import torch
from families import FAMILIES, Family, pristine
from toys import ToyPost, ToyPre

import inarch
from inarch import anatomy
from inarch.errors import CannotGraft, ConfigError
from inarch.prefix import Prefix

TOWERS = [(name, tower) for name in ("clip", "clip-open", "clip-pair") for tower in ("vision", "text")]
TOWERS += [(name, "vision") for name in ("timm-vit", "hf-vit", "timm-swin", "hf-swin", "timm-eva")]
cases = pytest.mark.parametrize(("name", "tower"), TOWERS)


def grafted(name: str, tower: str, layers: str = "2:", **more) -> tuple[Family, torch.nn.Module]:
    model = copy.deepcopy(pristine(name))
    torch.manual_seed(2)
    inarch.graft(model, more.pop("method", ToyPre)(layers=layers, towers=(tower,), **more))
    return FAMILIES[name], model


def outcome(family: Family, model: torch.nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Output and the gradient of everything that trains."""
    model.zero_grad()
    out = family.run(model)
    (out * torch.arange(out.numel(), dtype=out.dtype).cos().view_as(out)).sum().backward()
    return out.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def same(one, other) -> bool:
    return torch.equal(one[0], other[0]) and one[1].keys() == other[1].keys() and all(torch.equal(one[1][n], other[1][n]) for n in one[1])


class Calls:
    """How often the first norm, or any first module, of every block of a tower is called."""

    def __init__(self, prefix: Prefix) -> None:
        self.counts = [0] * len(prefix.blocks)
        for k, block in enumerate(prefix.blocks):
            next(m for m in block.module.modules() if not list(m.children())).register_forward_hook(self.note(k))

    def note(self, k: int):
        def hook(*_):
            self.counts[k] += 1
        return hook


@cases
@pytest.mark.parametrize("method", [ToyPre, ToyPost])
def test_features_and_gradients_are_those_without(name, tower, method):
    family, model = grafted(name, tower, method=method)
    state = {n: list(vars(m)) for n, m in model.named_modules()}
    plain = outcome(family, model)
    prefix = Prefix(model, tower)
    assert prefix.first == 2 and prefix.keeps and len(prefix.below) == 2
    recorded, kept = prefix.record(lambda: family.run(model))
    assert torch.equal(recorded.detach(), plain[0]) and not kept.requires_grad
    with prefix.play(kept):
        assert same(outcome(family, model), plain)
    assert plain[1] and same(outcome(family, model), plain)
    assert {n: list(vars(m)) for n, m in model.named_modules()} == state


@pytest.mark.parametrize("name", ["clip", "clip-open", "clip-pair", "timm-vit"])
def test_in_single_precision(name):
    family, model = grafted(name, "vision")
    model = model.float()
    x = {key: value.float() if value.is_floating_point() else value for key, value in family.inputs().items()}
    prefix = Prefix(model, "vision")
    expected, kept = prefix.record(lambda: family.forward(model, x))
    with prefix.play(kept):
        assert kept.dtype == torch.float32 and torch.equal(family.forward(model, x), expected)


@cases
def test_blocks_below_are_not_called(name, tower):
    family, model = grafted(name, tower)
    prefix = Prefix(model, tower)
    _, kept = prefix.record(lambda: family.run(model))
    calls = Calls(prefix)
    with prefix.play(kept):
        family.run(model)
    assert calls.counts[:2] == [0, 0] and min(calls.counts[2:]) > 0


@cases
def test_no_graph_below(name, tower):
    """Nothing that is saved for backward was made below: the graph of the features has no leaf but what trains."""
    family, model = grafted(name, tower)
    prefix = Prefix(model, tower)
    _, kept = prefix.record(lambda: family.run(model))
    with prefix.play(kept):
        out = family.run(model)
    leaves, seen, queue = set(), set(), [out.grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaves |= {id(node.variable)} if hasattr(node, "variable") else set()
        queue += [n for n, _ in node.next_functions]
    assert leaves == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["clip", "clip-open", "clip-pair"])
def test_rows_may_be_picked(name):
    family, model = grafted(name, "text")
    x = family.inputs(4)
    prefix = Prefix(model, "text")
    _, kept = prefix.record(lambda: family.forward(model, x))
    rows = torch.tensor([0, 2])
    x = {key: value[rows] for key, value in x.items()}
    with prefix.play(kept[rows]):
        picked = family.forward(model, x)
    assert (picked[:, 16:] - family.forward(model, x)[:, 16:]).abs().max() < 1e-12
    with pytest.raises(ConfigError, match=r"4 examples were kept and 2 come in; pick their rows"), prefix.play(kept):
        family.forward(model, x)
    assert not any("forward" in vars(m) for m in model.modules())


@cases
def test_a_whole_frozen_tower(name, tower):
    """Nothing is adapted: what leaves the last block is kept."""
    family, model = grafted(name, tower)
    prefix = Prefix(model, tower)
    with inarch.disabled(model):
        frozen = Prefix(model, tower)
        assert frozen.first is None and frozen.below == [b.module for b in frozen.blocks]
        out, kept = frozen.record(lambda: family.run(model))
        calls = Calls(frozen)
        with frozen.play(kept):
            assert torch.equal(family.run(model), out)
        assert not any(calls.counts)
    with inarch.disabled(model), torch.no_grad():  # the frozen model's features start from the same kept tensor
        out, kept = prefix.record(lambda: family.run(model))
        with prefix.play(kept):
            assert torch.equal(family.run(model), out)


def test_the_other_towers_do_not_matter():
    _, model = grafted("clip", "vision")
    assert Prefix(model, "vision").first == 2 and Prefix(model, "text").first is None
    inarch.graft(model, ToyPost(spans=("features",)), name="last")
    inarch.use(model, "last")
    assert Prefix(model, "vision").first is None and Prefix(model, "text").first is None


@pytest.mark.parametrize("name", ["clip", "clip-open", "clip-pair", "hf-clip", "open_clip"])
def test_words_stand_before_the_text_blocks(name):
    model = copy.deepcopy(pristine(name))
    inarch.graft(model, ToyPost(spans=("words",)))
    prefix = Prefix(model, "text")
    assert prefix.first == 0 and not prefix.keeps and Prefix(model, "vision").first is None
    with pytest.raises(ConfigError, match="nothing to keep"):
        prefix.record(lambda: FAMILIES[name].run(model))
    with pytest.raises(ConfigError, match="nothing to keep"), prefix.play(torch.zeros(1)):
        pass


@pytest.mark.parametrize(("name", "thaw", "vision", "text"), [
    ("clip", "vision.norms", 0, 2), ("clip", "stock.text_model.encoder.layers.1.*", 2, 1), ("clip", "stock.logit_scale", 2, 2),
    ("clip", "stock.vision_model.embeddings.*", 0, 2), ("clip-pair", "stock.image_head.*", 2, 2), ("clip-pair", "biases", 0, 0),
    ("clip-open", "stock.positional_embedding", 0, 0), ("clip-open", "stock.text_projection", 2, 2),
])
def test_thawed_parameters_count_as_adapted(name, thaw, vision, text):
    model = inarch.graft(copy.deepcopy(pristine(name)), ToyPre(layers="2:"), thaw=thaw)
    assert (Prefix(model, "vision").first, Prefix(model, "text").first) == (vision, text)


def test_a_head_stands_behind_the_blocks():
    family, model = FAMILIES["timm-vit"], copy.deepcopy(pristine("timm-vit"))
    inarch.graft(model, ToyPre(layers="1:"), thaw="head")
    prefix = Prefix(model, "vision")
    assert prefix.first == 1
    plain = outcome(family, model)
    with prefix.play(prefix.record(lambda: family.run(model))[1]):
        assert same(outcome(family, model), plain)


def test_a_model_that_nobody_froze_has_nothing_to_keep():
    model = copy.deepcopy(pristine("hf-vit"))
    assert Prefix(model, "vision").first == 0
    assert Prefix(model.requires_grad_(False), "vision").first is None


def test_a_block_computed_again_in_backward():
    """With gradient checkpointing the blocks run again after ``play`` has ended."""
    family, model = grafted("clip", "vision")
    prefix = Prefix(model, "vision")
    _, kept = prefix.record(lambda: family.run(model))
    plain = outcome(family, model)
    model.stock.activation_checkpointing_enable({"use_reentrant": False})
    for block in prefix.blocks:
        block.module.training = True  # transformers checkpoints blocks in training mode only
    with prefix.play(kept):
        out = family.run(model)
    model.zero_grad()
    (out * torch.arange(out.numel(), dtype=out.dtype).cos().view_as(out)).sum().backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == plain[1].keys() and all(torch.allclose(found[n], plain[1][n], atol=1e-12) for n in found)


def test_an_exception_leaves_nothing_behind():
    family, model = grafted("clip", "text")
    prefix = Prefix(model, "text")
    plain = outcome(family, model)
    _, kept = prefix.record(lambda: family.run(model))

    def broken():
        family.run(model)
        raise KeyError("x")

    with pytest.raises(KeyError):
        prefix.record(broken)
    with pytest.raises(KeyError), prefix.play(kept):
        broken()
    assert same(outcome(family, model), plain) and not any("forward" in vars(m) for m in model.modules())
    assert not any(b.module._forward_hooks for b in prefix.blocks[:2])


def test_misuse_is_refused():
    family, model = grafted("clip", "vision")
    prefix = Prefix(model, "vision")
    with pytest.raises(CannotGraft, match=r"no tower of blocks 'words'; known: text, vision"):
        Prefix(model, "words")
    with pytest.raises(ConfigError, match="was called 0 times"):
        prefix.record(lambda: None)
    with pytest.raises(ConfigError, match="was called 2 times"):
        prefix.record(lambda: (family.run(model), family.run(model)))
    with pytest.raises(ConfigError, match="record one call"), prefix.play(torch.zeros(2, 17, 32)):
        pass
    _, kept = prefix.record(lambda: family.run(model))
    with pytest.raises(ConfigError, match="was not called while"), prefix.play(kept):
        pass
    pixels = family.inputs()["pixels"].requires_grad_()
    with pytest.raises(ConfigError, match="takes a gradient"):
        prefix.record(lambda: model.images(pixels))
    model.train()
    with pytest.raises(ConfigError, match="training mode"):
        prefix.record(lambda: family.run(model))


def test_blocks_that_hand_on_more_than_their_stream_are_refused():
    """T5's first block makes the position bias that the others read."""
    family, model = grafted("vl-t5", "encoder")
    with inarch.disabled(model), pytest.raises(ConfigError, match=r"T5Block leaves a tuple with more than its stream"):
        Prefix(model, "encoder").record(lambda: family.run(model))
    assert not any(type(h).__name__ == "_Keep" for b in anatomy.blocks(model) for h in b.module._forward_hooks.values())


def test_a_decoder_reads_its_encoder_and_an_encoder_the_projector():
    _, model = grafted("vl-bart", "encoder")
    assert Prefix(model, "decoder").first == Prefix(model, "encoder").first == 0
    with inarch.disabled(model):
        assert Prefix(model, "decoder").first is None
