"""bench of the vision-language family on a tiny BART: what the floor reaches, what trains, and exact calls per generated token."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tiny_vl
import torch
from torch import nn

from inarch.bench import report, results, telling, timing, train
from inarch.bench.families import FAMILIES
from inarch.bench.saved import blocks_in_graph, saved
from inarch.bench.subjects import Data
from inarch.bench.vl import VL

WIDE = 128  # as LoRA's rank
SPEECH = (7, 4, 5)  # text, visual and target tokens


def talker() -> nn.Module:
    torch.manual_seed(0)
    return tiny_vl.wrapped(tiny_vl.bart(depth=2, d_model=WIDE, max_position_embeddings=64)).eval()


def talk(size: int) -> Data:
    text, visual, target = SPEECH
    ids, labels = (torch.full((size, tokens), 5) for tokens in (text, target))
    return ids, torch.ones_like(ids), torch.ones(size, 1, visual, tiny_vl.WIDTH), labels


TALK = replace(VL, base=lambda address: talker(), batch=talk)


def talking(name: str) -> nn.Module:
    return TALK.prepared(talker(), name)


def test_the_floor_of_vl_reaches_every_layer_and_keeps_least():
    found = {}
    for name in ("floor", "vlpet-small", "vlpet-large", "bottleneck", "bitfit", "full"):
        model = talking(name)
        reached = blocks_in_graph(model, lambda model=model: TALK.loss(model, talk(1)))
        assert reached == [True] * 4  # two layers of the encoder, two of the decoder
        found[name] = saved(model, lambda size, model=model: TALK.loss(model, talk(size))).per_image
    assert found.pop("floor") < min(found.values()) and found["vlpet-small"] == found["vlpet-large"]


@pytest.mark.long
def test_every_row_of_vl_trains_what_it_says():
    """Each subject steps, and the floor's trained numbers are the projector's alone."""
    projector = sum(p.numel() for p in talker().visual.parameters())
    for name in TALK.subjects:
        model = talking(name)
        trained = [p for p in model.parameters() if p.requires_grad]
        assert (sum(p.numel() for p in trained) == projector) == (name == "floor")
        timing.Trainer(model, partial(TALK.loss, model, talk(2)))()
        assert all(torch.isfinite(p).all() for p in trained)


def test_the_value_adapter_costs_nothing_per_generated_token():
    """Called once per decoder layer and generation however long; an adapter after the sub-layers is called at every token."""
    once = {"encoder_attn_128": 2, "encoder_mlp_128": 2, "decoder_cross_v_128": 2}
    for name, encoder, per_token in (("vlpet-small", once, 0), ("vlpet-large", once, 0), ("floor", {}, 0),
                                     ("bottleneck", {"encoder_attn_128": 2, "encoder_mlp_128": 2}, 6)):
        model = talking(name).eval()
        for tokens in (3, 9):
            with telling.counted(model) as calls:
                assert TALK.tell(model, talk(2), tokens).shape == (2, tokens + 1)
            assert {key: n for key, n in calls.items() if key in once} == encoder
            assert sum(calls.values()) == sum(encoder.values()) + tokens * per_token
    assert not any(gesture in adapter.__dict__ for adapter in model.inarch.default.adapters().values() for gesture in ("before", "after"))


@pytest.mark.long
def test_bench_of_vl_reports_training_and_generation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(FAMILIES, "vl", TALK)
    ticks: list[str] = []
    found = train.bench_train(None, ["vlpet-small", "bottleneck"], family="vl", batch=2, repeats=1, tick=ticks.append)
    assert len(ticks) == train.steps(None, ["vlpet-small", "bottleneck"], 1, "vl") == 12
    entry = found["models"]["bart"]
    assert (entry["family"], entry["settings"]["long"]) == ("vl", telling.LONG)
    assert list(entry["methods"]) == ["floor", "vlpet-small", "bottleneck"]
    calls = {name: row["generation"]["calls_per_token"] for name, row in entry["methods"].items()}
    assert calls == {"floor": 0, "vlpet-small": 0, "bottleneck": 6}
    results.store(found, tmp_path / "vl.json")
    page = report.report(tmp_path)
    assert page.index("## Training step, BART-base with visual tokens, batch 2 (20 text tokens") < page.index("## Generation, BART-base")
    line = next(line for line in page.split("## Generation")[1].splitlines() if line.startswith("| VL-PET small"))
    assert [cell.strip() for cell in line.split("|")[4:8]] == ["4", "2", "0", "0"] and page.count("| MiB / example |") == 1
