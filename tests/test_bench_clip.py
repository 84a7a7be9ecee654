"""bench of the clip family on two small towers: what the floor reaches, saved bytes by hand, goals, epochs from kept prefixes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inarch.backbones.two_tower import Tokens, TwoTower
from inarch.bench import prefixes, report, results, timing, train
from inarch.bench.clip import CLIP, CLIP_LORA, asked
from inarch.bench.clip import family as clip
from inarch.bench.families import FAMILIES, family_named
from inarch.bench.goals import Goal, judged
from inarch.bench.saved import blocks_in_graph, saved
from inarch.bench.subjects import Data, Epoch, Family, Subject
from inarch.bench.vl import trained
from inarch.errors import ConfigError, InarchError
from inarch.methods import MMA, AdaRing, LoRA

SIDE, PATCH, DIM, TEXT_DIM, NAMES, WORDS = 16, 4, 48, 32, 3, 6
TOKENS = (SIDE // PATCH) ** 2 + 1
RING: dict[str, Any] = {"ranks": (1, 2), "bottleneck": 8, "layers": "-2:"}
WIDE = 2 * 8  # experts times bottleneck
NUMBER = 4  # bytes


@cache
def pristine() -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    shape = {"num_hidden_layers": 3, "num_attention_heads": 4}
    vision = {"hidden_size": DIM, "intermediate_size": 2 * DIM, "image_size": SIDE, "patch_size": PATCH, **shape}
    text = {"hidden_size": TEXT_DIM, "intermediate_size": 64, "vocab_size": 50, "max_position_embeddings": 8, "eos_token_id": 49, **shape}
    torch.manual_seed(0)
    return TwoTower(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))).eval().requires_grad_(False)


def batch(size: int, number: int = 0) -> Data:
    pixels = torch.randn(size, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(number))
    ids = torch.arange(1, 1 + NAMES * WORDS).reshape(NAMES, WORDS)
    ids[:, -1] = 49
    return pixels, Tokens(ids), torch.arange(size) % NAMES


SMALL = replace(
    CLIP, base=lambda address: pristine(), batch=batch, settings={"side": SIDE, "names": NAMES, "words": WORDS},
    epoch=Epoch("adaring", ("vision", "text"), batch, steps=2), resized=None,
    subjects={
        "floor": Subject("floor", asked(2)), "beside": Subject("beside", asked(1)),
        "adaring": Subject("AdaRing", trained(AdaRing(**RING))), "adaring-dense": Subject("dense", trained(AdaRing(**RING, path="dense"))),
        "mma": Subject("MMA", trained(MMA(rank=4, layers="-2:"))), "lora": Subject("LoRA", trained(LoRA(**CLIP_LORA))),
    })


def bytes_of(name: str) -> int:
    model = SMALL.prepared(pristine(), name)
    return saved(model, lambda size: SMALL.loss(model, batch(size))).per_image


@pytest.mark.parametrize(("name", "reached"), [("floor", 2), ("beside", 1), ("adaring", 2), ("mma", 2), ("lora", 3)])
def test_blocks_in_graph(name: str, reached: int) -> None:
    model = SMALL.prepared(pristine(), name)
    assert blocks_in_graph(model, lambda: SMALL.loss(model, batch(1))) == ([False] * (3 - reached) + [True] * reached) * 2


def test_the_floor_asks_both_towers_and_trains_nothing() -> None:
    model = SMALL.prepared(pristine(), "floor")
    assert not any(p.requires_grad for p in model.parameters())
    trainer = timing.Trainer(model, partial(SMALL.loss, model, batch(2)))
    assert trainer.optimiser is None and trainer().total > 0
    seen: list[Tensor] = []
    for tower in (model.stock.vision_model, model.stock.text_model):
        tower.encoder.layers[1].register_forward_pre_hook(
            lambda block, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True)
    SMALL.loss(model, batch(2)).backward()
    assert [x.is_leaf and bool(x.grad.any()) for x in seen] == [True, True]


def test_what_adaring_keeps_of_a_token() -> None:
    """A byte for every hidden unit that may be dropped, and once what enters a norm that nothing else asks a gradient of."""
    beside = bytes_of("beside")
    for name in ("adaring", "adaring-dense"):
        assert bytes_of(name) - beside == TOKENS * (NUMBER * DIM + 2 * WIDE)


def test_what_mma_keeps_of_a_token() -> None:
    assert bytes_of("mma") - bytes_of("beside") == 2 * TOKENS * NUMBER * (DIM + 2 * 4)


def test_memory_is_ordered_as_the_graphs_are() -> None:
    assert bytes_of("beside") < bytes_of("floor") < bytes_of("lora")


def measured(methods: list[str], monkeypatch: pytest.MonkeyPatch, small: Family = SMALL) -> tuple[dict[str, Any], list[str]]:
    monkeypatch.setitem(FAMILIES, "clip", small)
    ticks: list[str] = []
    return train.bench_train(None, methods, family="clip", batch=2, repeats=1, tick=ticks.append), ticks


@pytest.mark.long
def test_bench_of_clip_reports_goals_and_an_epoch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found, ticks = measured(["beside", "adaring", "mma"], monkeypatch)
    assert len(ticks) == train.steps(None, ["beside", "adaring", "mma"], 1, "clip") == 2 * (4 + 3)
    entry = found["models"]["b"]
    rows, goals = entry["methods"], entry["goals"]
    assert list(rows) == ["floor", "beside", "adaring", "mma"]
    whole = {name: 2 * row["saved_per_image"] + row["saved_fixed"] for name, row in rows.items()}
    assert rows["mma"]["saved_batch_ratio"] == whole["mma"] / whole["floor"]
    assert [(goal["figure"], goal["against"]) for goal in goals] == [
        ("saved", "floor"), ("time", "floor"), ("saved", "beside"), ("time", "beside"), ("saved", "mma"), ("time", "mma")]
    assert goals[4]["value"] == whole["adaring"] / whole["mma"] and goals[4]["met"] is (whole["adaring"] <= whole["mma"])
    prefix = entry["prefix"]
    assert prefix["first"] == {"vision": 1, "text": 1} and prefix["losses_equal"] == prefix["steps"] * 2
    assert prefix["ratio"]["median"] > 0 and prefix["over_floor"]["median"] > 0
    assert prefix["kept_per_image"] == TOKENS * DIM * NUMBER
    results.store(found, tmp_path / "clip.json")
    page = report.report(tmp_path)
    assert "both towers, batch 2 (16 px, 3 names of 6 tokens)" in page and "whole batch / floor" in page
    assert page.count(" P3 |") == 4 and page.count(" P3, strictly |") == 2 and "All 4 losses equal the plain ones" in page


def test_goals_and_epochs_need_their_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = measured(["mma"], monkeypatch)[0]["models"]["b"]
    assert entry["goals"] == [] and "prefix" not in entry


def test_losses_from_kept_prefixes_must_be_the_plain_ones() -> None:
    laps = prefixes.against_plain(SMALL, SMALL.epoch, pristine(), 2, 2, lambda what: None)
    assert laps["losses_equal"] == 2 * 3
    prefixes.refuse_unequal([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(InarchError, match=r"step 1 has loss 2\.0 plainly and 2\.5"):
        prefixes.refuse_unequal([1.0, 2.0], [1.0, 2.5])


def test_an_inexact_prefix_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: what is kept is a little wrong."""
    whole = prefixes._recorded
    monkeypatch.setattr(prefixes, "_recorded", lambda *args: [kept * 1.001 for kept in whole(*args)])
    with pytest.raises(InarchError, match="not exact"):
        prefixes.against_plain(SMALL, SMALL.epoch, pristine(), 2, 1, lambda what: None)


def test_goals_are_judged_by_bytes_and_by_paired_steps() -> None:
    rows = {"floor": {"saved_per_image": 10, "saved_fixed": 20, "steps": [1.0, 2.0, 4.0]},
            "adaring": {"saved_per_image": 11, "saved_fixed": 22, "steps": [1.1, 2.6, 4.0]}}
    goals = (Goal("P3", "adaring", "saved", 1.10), Goal("P3", "adaring", "time", 1.05), Goal("P3", "adaring", "time", 1.0, "mma"),
             Goal("P5", "adaring", "epoch", 0.6), Goal("P1", "adaring", "time", 1.0, size="s"))
    entry = {"methods": rows, "settings": {"batch": 4}}
    by_bytes, by_steps = judged(goals, "b", entry)
    by_epoch = judged(goals, "b", entry | {"prefix": {"over_floor": {"median": 0.5, "low": 0.4, "high": 0.7}}})[2]
    assert (by_epoch["value"], by_epoch["high"], by_epoch["met"]) == (0.5, 0.7, True)
    assert judged(goals, "s", entry)[-1]["most"] == 1.0
    assert by_bytes["value"] == pytest.approx(1.1) and by_bytes["met"] is (66 / 60 <= 1.10)
    assert (by_steps["value"], by_steps["low"], by_steps["high"]) == pytest.approx((1.1, 1.0, 1.3)) and by_steps["met"] is False


def test_batches_are_the_same_every_time_and_names_in_all_of_them() -> None:
    family = clip(32)
    one, again, other = family.batch(2), family.batch(2), family.epoch.batch(2, 1)
    assert one[0].shape == (2, 3, 32, 32) and one[1].ids.shape == (20, 16) and bool((one[1].ids[:, -1] == 49_407).all())
    assert torch.equal(one[0], again[0]) and not torch.equal(one[0], other[0]) and torch.equal(one[1].ids, other[1].ids)
    assert torch.equal(one[0], family.epoch.batch(2, 0)[0])


def test_the_side_can_be_chosen_for_clip_alone() -> None:
    assert family_named("clip", 64).settings["side"] == 64 and family_named("clip").settings["side"] == 224
    for name in ("vision", "vl"):
        with pytest.raises(ConfigError, match="leave out side=64"):
            family_named(name, 64)
