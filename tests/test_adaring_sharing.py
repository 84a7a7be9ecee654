"""Our AdaRing: what is counted, who shares what, how gates mix."""

import json
from functools import cache

import naive_adaring as naive
import pytest
import torch
from naive_adaring import QUIET, WIDE, moved, toy
from naive_fewshot import features
from torch import nn

import inarch
from inarch import AdaRing, backbones
from inarch.cli import main
from inarch.errors import CannotGraft
from inarch.methods.ring_adapters import mixed

# counts


@cache
def clip(name: str) -> nn.Module:
    return backbones.load(f"config:clip-vit-{name}", device="meta", pretrained=False).model


def counted(method: AdaRing, name: str = "b16") -> tuple[int, int]:
    """Cores and gates."""
    model = inarch.graft(clip(name), method)
    try:
        gates = sum(p.numel() for n, p in model.inarch.default.trained().items() if ".gates." in n)
        return inarch.count(model).adapter - gates, gates
    finally:
        inarch.ungraft(model)


ALL = {"layers": None}
COUNTS = [
    ({}, 55_440, 48), (ALL, 55_608, 72), ({"ranks": (2, 4)}, 52_800, 32), ({"ranks": (2, 4), **ALL}, 52_960, 48),
    ({"ranks": (1, 3, 4)}, 68_640, 48), ({"ranks": (1, 3, 4), **ALL}, 68_848, 72), ({"ranks": (2, 3, 4)}, 76_560, 48),
    ({"ranks": (2, 3, 4), **ALL}, 76_792, 72), ({"ranks": (4,)}, 42_240, 0), ({"ranks": (4,), **ALL}, 42_368, 0),
    ({"ranks": (5,)}, 66_000, 0), ({"ranks": (5,), **ALL}, 66_200, 0), ({"share_towers": "never"}, 57_120, 48),
    ({"share_towers": "never", **ALL}, 57_456, 72), ({"site": "lora", "targets": ("v",)}, 53_928, 48),
    ({"site": "lora", "targets": ("v",), **ALL}, 54_012, 72), ({"site": "lora", "targets": ("q", "k", "v"), **ALL}, 54_516, 72),
    ({"ranks": (4, 8, 12), "tensorize": "heads64"}, 55_552, 48), ({"ranks": (4, 8, 12), "tensorize": "heads64", **ALL}, 57_344, 72),
    ({"gate": "uniform"}, 55_440, 0), ({"gate": "router"}, 55_440, 3 * 1280), ({"layers": "-4:"}, 55_272, 24),
    ({"ranks": (4,), "init": "mma", "bias": True}, 42_240 + 8 * (32 + 768) + 8 * (32 + 512), 0),
    ({"form": "train", "ranks": (16,)}, 2 * 16 * (1280 + 32) + 2 * 256 * 8, 0),
]


@pytest.mark.parametrize(("settings", "cores", "gates"), COUNTS, ids=str)
def test_counts_on_clip_b16(settings, cores, gates):
    assert counted(AdaRing(**settings)) == (cores, gates)


def test_counts_where_the_towers_are_not_equally_deep():
    """ViT-L/14: 24 blocks and 12. The last eight of each share, all of them cannot."""
    assert counted(AdaRing(), "l14") == (21 * (2 * 1792 + 2 * (32 + 8)), 48)
    assert counted(AdaRing(layers=None), "l14") == (21 * (2 * 1792 + 2 * (2 * 32 + 36)), 36 * 3)
    with pytest.raises(CannotGraft, match=r"different numbers of slices \((text_768: 12, )?vision_1024: 24"):
        inarch.graft(clip("l14"), AdaRing(layers=None, share_towers="required"))


def test_toy_counts_and_the_share_of_mma():
    assert inarch.count(toy(AdaRing(**QUIET | {"bottleneck": 8}))).adapter == 900 + 8
    assert 1 - sum(counted(AdaRing())) / 674_560 > 0.9175


def test_command_line(capsys):
    main(["count", "adaring", "config:clip-vit-b16", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["adapter"] == found["trainable"] == 55488 and '"adapter": 55488' in json.dumps(found)


# sharing


@torch.no_grad()
def updates(model: nn.Module) -> dict[tuple[str, int], torch.Tensor]:
    """y of every block of every tower, for the same n."""
    scion, found = model.inarch.default, {}
    for key, adapter in scion.adapters().items():
        x = torch.randn(2, 3, WIDE[key.split("_")[0]], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        given = adapter.prepare(scion.shared, None)
        found |= {(key.split("_")[0], i): adapter.after(x, torch.zeros_like(x), i, given) for i in range(naive.DEPTH)}
    return found


def changed(model: nn.Module, name: str, layer: int | None = None) -> set[tuple[str, int]]:
    """Blocks that say something else once this tensor (of it, this layer's slice) has changed."""
    before, tensor = updates(model), model.inarch.default.get_parameter(name).data
    (tensor if layer is None else tensor[:, layer]).add_(0.3)
    return {place for place, y in updates(model).items() if not torch.equal(y, before[place])}


BOTH = {(tower, layer) for tower in WIDE for layer in range(naive.DEPTH)}


@pytest.mark.parametrize("name", ["down_slices", "up_slices"])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_slice_belongs_to_one_block_of_both_towers_iff_shared(name, layer):
    shared, _ = moved(AdaRing(**QUIET, share_towers="required"))
    assert changed(shared, f"shared.between.all.0.{name}", layer) == {("vision", layer), ("text", layer)}
    own, _ = moved(AdaRing(**QUIET, share_towers="never"))
    assert changed(own, f"shared.between.vision_48.1.{name}", layer) == {("vision", layer)}


@pytest.mark.parametrize(("name", "places"), [
    ("shared.features.vision_48.0.into", {p for p in BOTH if p[0] == "vision"}), ("shared.between.all.1.down", BOTH),
    ("shared.features.vision_48.1.out", {p for p in BOTH if p[0] == "vision"}), ("shared.between.all.0.up", BOTH),
    ("shared.features.text_32.1.into", {p for p in BOTH if p[0] == "text"})])
def test_feature_cores_belong_to_all_blocks_of_one_tower_and_small_ones_to_all(name, places):
    model, _ = moved(AdaRing(**QUIET))
    assert changed(model, name) == places


def test_gates_belong_to_a_tower_and_a_layer():
    model, _ = moved(AdaRing(**QUIET))
    before = updates(model)
    model.inarch.default.shared.gates["text_32"].data[1, 0] += 1
    assert {place for place, y in updates(model).items() if not torch.equal(y, before[place])} == {("text", 1)}


def test_who_shares():
    owners = lambda model: set(model.inarch.default.shared.between)  # noqa: E731
    assert owners(toy(AdaRing(**QUIET))) == {"all"} and owners(toy(AdaRing(**QUIET, share_towers="never"))) == {"vision_48", "text_32"}
    assert owners(toy(AdaRing(**QUIET), text_depth=3)) == {"vision_48", "text_32"}
    assert owners(toy(AdaRing(**QUIET, layers="-2:"), text_depth=3)) == {"all"}
    with pytest.raises(CannotGraft, match=r"choose layers of equal depth in all towers, or share_towers='equal depth' or 'never'"):
        toy(AdaRing(**QUIET, share_towers="required"), text_depth=3)
    with pytest.raises(CannotGraft, match="only the tower 'vision' is adapted"):
        toy(AdaRing(**QUIET, share_towers="required", towers=("vision",)))


def test_unequal_towers_run_on_slices_of_their_own():
    naive.agree(AdaRing(**QUIET, layers="-1:"), text_depth=3)
    model, _ = moved(AdaRing(**QUIET), text_depth=3)
    depths = {unit: between[0].up_slices.shape[1] for unit, between in model.inarch.default.shared.between.items()}
    assert depths == {"vision_48": 2, "text_32": 3}
    features(model).sum().backward()
    assert all(p.grad is not None for p in model.inarch.default.trained().values())


# gates


def test_gates_sum_to_one_and_one_hot_gates_are_one_expert():
    model, w = moved(AdaRing(**QUIET))
    adapter, bank = model.inarch.vision_block_48, model.inarch.default.shared
    assert torch.allclose(adapter.gates(bank, None).sum(1), torch.full((2,), 0.1, dtype=torch.float64))
    for chosen in (0, 1):
        for gates in bank.gates.values():
            gates.data.zero_()[:, chosen] = 1e4
        alone = toy(AdaRing(**QUIET | {"ranks": (chosen + 1,), "expert_dropout": 0.1}))
        for name, value in alone.inarch.default.trained().items():
            value.data.copy_(w[name.replace(".0.", f".{chosen}.")])
        assert (features(model) - features(alone)).abs().max() < 1e-12


@pytest.mark.parametrize("gate", ["static", "uniform", "router"])
def test_experts_drop_by_chance_never_all_and_the_rest_sum_to_one(gate):
    model, _ = moved(AdaRing(**QUIET | {"ranks": (1, 2, 3), "expert_dropout": 0.6}, gate=gate))
    adapter, bank = model.inarch.vision_block_48, model.inarch.default.shared
    assert adapter.eval().kept(bank) is None
    drawn = torch.cat([adapter.train().kept(bank) for _ in range(300)])
    assert drawn.any(1).all() and drawn.shape == (600, 3)
    assert abs(float((~drawn).double().mean()) - (0.6 - 0.6**3 / 3)) < 0.05  # of three that would all drop, one stays
    logits = torch.randn(600, 3, dtype=torch.float64)
    g = mixed(logits, drawn)
    assert torch.allclose(g.sum(1), torch.ones(600, dtype=torch.float64)) and not g[~drawn].any()
    whole = torch.softmax(logits, 1) * drawn
    assert torch.allclose(g, whole / whole.sum(1, keepdim=True))
    torch.manual_seed(0)
    some = features(model)
    torch.manual_seed(1)
    assert not torch.equal(some, features(model)) and torch.isfinite(some).all()
    assert torch.equal(features(model.eval()), features(model))


def test_a_router_reads_the_tokens_that_are_there():
    model, _ = moved(AdaRing(**QUIET, gate="router"))
    adapter, bank = model.inarch.text_block_32, model.inarch.default.shared
    x, visible = torch.randn(2, 4, 32, dtype=torch.float64), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.bool)
    y = adapter.after(x, torch.zeros_like(x), 0, adapter.prepare(bank, visible))
    short = adapter.after(x[1:, :2], torch.zeros_like(x[1:, :2]), 0, adapter.prepare(bank, None))
    assert (y[1:, :2] - short).abs().max() < 1e-14


def test_router_and_dropped_experts_together():
    model, w = moved(AdaRing(**QUIET | {"ranks": (1, 2, 3), "expert_dropout": 0.6}, gate="router"))
    adapter, bank = model.inarch.vision_block_48, model.inarch.default.shared
    given, x = adapter.train().prepare(bank, None), torch.randn(2, 4, 48, dtype=torch.float64)
    for i in (0, 1):
        each = torch.softmax(x.mean(1) @ w["shared.gates.vision_48"].mT, 1) * given.kept[i]
        expected = (each / each.sum(1, keepdim=True)).repeat_interleave(6, dim=1)[:, None]
        assert (adapter._routed(x, i, given) - expected).abs().max() < 1e-14
