"""bench: the exact parts (saved bytes, graph, bookkeeping) by equality; no test depends on a time."""

import copy
import math
import subprocess
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import inarch
from inarch import ARC, Linear, anatomy
from inarch.bench import imports, infer, machine, memory, profile, report, results, subjects, timing, train
from inarch.bench.families import FAMILIES, family_named
from inarch.bench.saved import blocks_in_graph, saved, saved_bytes
from inarch.bench.vision import VISION, loss
from inarch.bench.vl import VL
from inarch.cli import main
from inarch.errors import ConfigError, MissingExtra

DIM, DEPTH, HIDDEN, SIDE, PATCH, CLASSES = 64, 3, 256, 32, 8, 5
UNIT = ((SIDE // PATCH) ** 2 + 1) * DIM * 4  # bytes of one image's tokens in single precision
HEAD = (DIM + 1) * CLASSES
ROOT = Path(__file__).parents[1]


@cache
def pristine() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(hidden_size=DIM, num_hidden_layers=DEPTH, num_attention_heads=4, intermediate_size=HIDDEN, image_size=SIDE,
                       patch_size=PATCH, num_labels=CLASSES)
    return ViTForImageClassification(config).eval()


def tiny() -> nn.Module:
    return copy.deepcopy(pristine())


def batch(size: int) -> tuple[Tensor, Tensor]:
    return torch.ones(size, 3, SIDE, SIDE), torch.zeros(size, dtype=torch.long)


def kept(name: str) -> int:
    return saved_of(VISION.prepared(pristine(), name)).per_image


def saved_of(model: nn.Module):
    return saved(model, lambda size: loss(model, batch(size)))


def test_saved_bytes_of_a_small_network_are_those_counted_by_hand():
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    found = saved(network, lambda size: loss(network, (torch.ones(size, 8), torch.zeros(size, dtype=torch.long))))
    # its input, the ReLU's output (which the next layer keeps too, counted once), log-probabilities, one label of eight bytes
    assert found.per_image == 4 * (8 + 16 + 4) + 8
    assert found.fixed == 4  # the total weight of the loss


def test_a_storage_that_several_nodes_keep_counts_once_and_whole():
    class Slices(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x * 2.0
            return (x[:, :4] * x[:, :4].sin()).requires_grad_() * 3.0

    rows = torch.ones(2, 8, requires_grad=True)
    found = saved_bytes(slices := Slices(), partial(loss, slices, (rows, torch.zeros(2, dtype=torch.long))))
    # 2 x (a slice is kept: all of it), its sine, log-probabilities, labels, total weight
    assert found == 4 * (2 * 8 + 2 * 4 + 2 * 4) + 2 * 8 + 4


def test_the_linear_probe_keeps_the_last_tokens_and_the_loss_only():
    assert kept("linear") == UNIT + 4 * CLASSES + 8


def test_the_floor_keeps_what_the_input_gradient_needs():
    """Two norm inputs, q, k, v and the attention's output, and the MLP's hidden tokens, in every block."""
    units = DEPTH * (6 + HIDDEN // DIM) + 2  # and the last norm's input and output
    assert units * UNIT <= kept("floor") <= 1.1 * units * UNIT


def test_memory_is_ordered_as_the_graphs_are():
    found = {name: kept(name) for name in ("linear", "floor", "arc", "full")}
    top = saved_of(inarch.graft(tiny(), ARC(rank=4, layers="-1:"), thaw="head")).per_image
    assert found["linear"] < top < found["floor"] < found["arc"] < found["full"]


def test_lower_layers_cost_nothing_when_only_upper_ones_are_adapted():
    """The k top layers of ARC keep exactly what those layers keep when all are adapted."""
    sizes = [saved_of(inarch.graft(tiny(), ARC(rank=4, layers=f"-{k}:"), thaw="head")).per_image for k in (1, 2, 3)]
    assert sizes[0] < sizes[1] < sizes[2] and sizes[2] - sizes[1] == sizes[1] - sizes[0]


@pytest.mark.parametrize("name, reached", [("floor", 3), ("arc", 3), ("linear", 0), ("lora", 3), ("full", 3)])
def test_blocks_in_graph(name: str, reached: int):
    model = VISION.prepared(pristine(), name)
    assert blocks_in_graph(model, lambda: loss(model, batch(1))) == [False] * (3 - reached) + [True] * reached


def graph(root: torch.autograd.graph.Node) -> list[torch.autograd.graph.Node]:
    seen, waiting = {root}, [root]
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is not None and node not in seen:
                seen.add(node)
                waiting.append(node)
    return list(seen)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_no_autograd_node_below_the_first_adapter(k: int):
    model = inarch.graft(tiny(), ARC(rank=4, layers=f"-{k}:"), thaw="head")
    assert blocks_in_graph(model, lambda: loss(model, batch(1))) == [False] * (3 - k) + [True] * k
    nodes = graph(loss(model, batch(2)).grad_fn)
    leaves = {node.variable for node in nodes if "AccumulateGrad" in node.name()}
    assert leaves == {p for p in model.parameters() if p.requires_grad}
    # each adapted block's second norm, the first norm of all but the lowest of them, and the last norm
    assert sum(node.name() == "NativeLayerNormBackward0" for node in nodes) == 2 * k


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_peft_trains_and_keeps_what_our_lora_does():
    ours, theirs = (VISION.prepared(pristine(), name) for name in ("lora", "lora-peft"))
    counts = [sum(p.numel() for p in model.parameters() if p.requires_grad) for model in (ours, theirs)]
    assert counts[0] == counts[1] == DEPTH * 8 * (3 * 2 * DIM + DIM + HIDDEN) + HEAD
    assert saved_of(ours) == saved_of(theirs)


def test_the_floor_asks_for_the_first_block_s_input_gradient_and_trains_the_head_only():
    model = VISION.prepared(pristine(), "floor")
    inputs: list[Tensor] = []
    first = next(block for block in anatomy.blocks(model) if block.row.matrices)
    first.module.register_forward_pre_hook(lambda block, args: inputs.append(args[0]))
    loss(model, batch(2)).backward()
    assert inputs[0].is_leaf and inputs[0].grad.abs().sum() > 0
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"classifier.weight", "classifier.bias"}


def test_rivals_alternate_their_order_and_the_first_repeat_is_dropped():
    calls: list[str] = []
    rivals = {name: lambda name=name: calls.append(name) or len(calls) for name in "abc"}
    ticks: list[str] = []
    found = timing.race(rivals, 2, ticks.append)
    assert "".join(calls) == "abc" "cba" "abc" and ticks == calls
    assert found == {"a": [6, 7], "b": [5, 8], "c": [4, 9]}


def test_what_warms_up_runs_in_the_place_of_the_dropped_repeat():
    calls: list[str] = []
    rivals, warm = ({name: partial(calls.append, name) for name in names} for names in ("ab", "AB"))
    timing.race(rivals, 2, lambda what: None, warm=dict(zip("ab", warm.values(), strict=True)))
    assert "".join(calls) == "AB" "ba" "ab"


@pytest.mark.parametrize(("seconds", "repeats"), [(0.0, 3), (45.0, 4), (math.inf, 5)])
def test_a_repeat_that_would_end_too_late_is_left_out_but_three_are_run(seconds, repeats, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(timing, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def eleven_seconds() -> float:
        clock[0] += 11
        return clock[0]

    found = timing.race({"a": eleven_seconds}, 5, lambda what: None, seconds=seconds)
    assert found["a"] == [22.0 + 11 * k for k in range(repeats)]


def test_ratios_are_paired_within_a_repeat():
    assert timing.ratio([2.0, 30.0, 4.0], [1.0, 10.0, 4.0]) == timing.Ratio(2.0, 1.0, 3.0)


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), timing.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def test_a_step_trains_and_times_its_parts():
    model = inarch.graft(tiny(), Linear())
    before = model.classifier.weight.detach().clone()
    step = timing.Trainer(model, partial(loss, model, batch(2)))()
    assert not torch.equal(before, model.classifier.weight) and model.classifier.weight.grad is None
    assert step.total == step.forward + step.backward + step.optimiser


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict:
    small = replace(VISION, base=lambda address: tiny(), batch=batch, settings={"side": SIDE, "classes": CLASSES})
    monkeypatch.setitem(FAMILIES, "vision", small)
    ticks: list[str] = []
    found = train.bench_train(["ti"], ["linear", "arc"], batch=2, repeats=2, tick=ticks.append)
    assert len(ticks) == train.steps(["ti"], ["linear", "arc"], 2) == 9
    return found


def test_bench_train_reports_what_it_measured(measured: dict):
    entry = measured["models"]["ti"]
    assert list(entry["methods"]) == ["floor", "linear", "arc"]
    assert entry["settings"] == {"batch": 2, "repeats": 2, "threads": 1, "side": SIDE, "classes": CLASSES}
    floor, linear, arc = entry["methods"].values()
    assert floor["saved_ratio"] == 1 and floor["time_ratio"] == {"median": 1, "low": 1, "high": 1}
    assert (linear["trained"], arc["trained"]) == (HEAD, HEAD + 2 * (DIM * 50 + DEPTH * (50 + DIM)))
    assert linear["frozen_bytes"] == arc["frozen_bytes"] == sum(p.nbytes for p in pristine().parameters()) - 4 * HEAD
    assert linear["blocks_in_graph"] == 0 and arc["blocks_in_graph"] == arc["blocks"] == 3 and len(arc["steps"]) == 2
    assert {"torch", "inarch", "python"} <= set(entry["versions"]) and entry["hardware"]


def test_measurements_are_kept_per_model_and_shown(measured: dict, tmp_path: Path):
    path = tmp_path / "train.json"
    results.store(measured, path)
    again = {**measured, "models": {"s": copy.deepcopy(measured["models"]["ti"])}}
    del again["models"]["s"]["methods"]["arc"]["frozen_bytes"]  # as in files from before it was counted
    results.store(again, path)
    assert set(results.fetch(path)["models"]) == {"ti", "s"}
    page = report.write_report(tmp_path, tmp_path / "README.md").read_text()
    assert page.index("ViT-Ti/16, batch 2") < page.index("ViT-S/16, batch 2") and page.count("| ARC r=50 ") == 2
    assert " **1.000** |" in page and f"{HEAD:,}" in page and "frozen MiB" in page


def test_a_table_of_what_is_measured_by_name_alone_says_so_and_stands_behind_the_usual_one(measured: dict):
    entry = copy.deepcopy(measured["models"]["ti"])
    entry["methods"] = {"floor": entry["methods"]["floor"], "arc-int8": entry["methods"]["arc"]}
    page = report.tables([{**measured, "models": {"ti": entry}}, measured])
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## Training step, ViT-Ti/16, batch 2", "## Training step, ViT-Ti/16, batch 2, weights in eight bits"]


def test_rivals_share_numbers_and_train_their_own():
    """A twin costs nothing until a method trains: then what it trains is a copy, and nobody else's changes."""
    base = pristine()
    model = VISION.prepared(base, "linear")
    same = {name: p.data_ptr() == dict(base.named_parameters())[name].data_ptr() for name, p in model.named_parameters()}
    assert same == {name: not name.startswith("classifier.") for name in same}
    before = base.classifier.weight.detach().clone()
    timing.Trainer(model, partial(loss, model, batch(2)))()
    assert torch.equal(base.classifier.weight, before) and not torch.equal(model.classifier.weight, before)
    assert all(p.requires_grad for p in base.parameters())


def test_saved_bytes_over_a_base_in_bf16_are_those_counted_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Half of everything that the frozen base keeps; adapters stay in fp32, so what ARC keeps of its own is as wide as before."""
    small = replace(VISION, base=lambda address: tiny(), batch=batch, settings={"side": SIDE, "classes": CLASSES})
    monkeypatch.setitem(FAMILIES, "vision", small)
    ticks: list[str] = []
    found = memory.bench_memory(["ti"], ["linear", "arc"], batch=2, tick=ticks.append)
    assert len(ticks) == memory.steps(["ti"], ["linear", "arc"]) == 6
    full, half = (found["models"]["ti"]["widths"][width] for width in ("fp32", "bf16"))
    assert full["weights"] == 2 * half["weights"] == sum(p.nbytes for p in pristine().parameters())
    tokens, heads, label = UNIT // DIM // 4, 4, 8
    for name, still in (("floor", DEPTH * heads * tokens * 4), ("linear", 0)):  # attention keeps a logarithm per head and token in fp32
        assert full["methods"][name]["saved_per_image"] - label == 2 * (half["methods"][name]["saved_per_image"] - label) - still
    own = [width["methods"]["arc"]["saved_per_image"] - width["methods"]["floor"]["saved_per_image"] for width in (full, half)]
    assert own[0] > 0 and own[1] <= own[0] + UNIT
    results.store(found, tmp_path / "memory.json")
    page = report.report(tmp_path)
    assert "## Saved bytes, ViT-Ti/16, batch 2" in page and "bf16 base" in page and page.count("**1.000**") == 2
    with pytest.raises(ConfigError, match="batch=0"):
        memory.bench_memory(batch=0)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_inference_is_measured_with_filled_adapters_and_folds_are_the_same_function(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(infer, "VISION", replace(VISION, base=lambda address: tiny(), batch=batch))
    ticks: list[str] = []
    found = infer.bench_infer(["ti"], batch=2, repeats=2, tick=ticks.append)
    assert len(ticks) == infer.steps(["ti"], 2) == 3 * len(infer.SUBJECTS)
    rows = found["models"]["ti"]
    assert rows["base"]["ratio"] == {"median": 1, "low": 1, "high": 1} and set(rows) == set(infer.SUBJECTS)
    results.store(found, tmp_path / "infer.json")
    assert "ARC r=50, folded |" in report.report(tmp_path)
    x = torch.randn(2, 3, SIDE, SIDE)
    said = {name: infer.SUBJECTS[name].prepare(subjects.twin(pristine().eval()))(x).logits for name in ("base", "arc", "arc-folded")}
    assert torch.allclose(said["arc"], said["arc-folded"], atol=1e-5) and not torch.allclose(said["arc"], said["base"], atol=2e-3)
    with pytest.raises(ConfigError, match="repeats=0"):
        infer.bench_infer(repeats=0)


def test_a_profile_s_shares_add_up_to_the_distance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    small = replace(VISION, base=lambda address: tiny(), batch=batch, settings={"side": SIDE, "classes": CLASSES})
    monkeypatch.setitem(FAMILIES, "vision", small)
    ticks: list[str] = []
    found = profile.bench_profile("ti", ["arc"], batch=2, repeats=1, tick=ticks.append)
    assert len(ticks) == profile.steps(["arc"], 1) == 4
    arc = found["methods"]["arc"]
    assert sum(part["share"] for part in arc["operations"]) == pytest.approx(arc["ratio"] - 1)
    assert arc["operations"][-1]["operation"] == profile.REST and len(arc["operations"]) > 3
    results.store(found, tmp_path / "profile.json")
    assert "## Where the distance to the floor goes, ViT-Ti/16, batch 2" in report.report(tmp_path)
    with pytest.raises(ConfigError, match="repeats=0"):
        profile.bench_profile("ti", repeats=0)


@pytest.mark.long
def test_an_epoch_of_vision_starts_behind_the_frozen_blocks(monkeypatch: pytest.MonkeyPatch):
    top = subjects.Subject("ARC, last block", lambda model: inarch.graft(model, ARC(rank=4, layers="-1:"), thaw="head"))
    small = replace(VISION, base=lambda address: tiny().eval(), batch=batch, subjects=VISION.subjects | {"arc-top6": top},
                    epoch=replace(VISION.epoch, steps=2, batch=lambda size, number: batch(size)))
    monkeypatch.setitem(FAMILIES, "vision", small)
    entry = train.bench_train(["b"], ["arc-top6"], batch=2, repeats=1)["models"]["b"]
    assert entry["prefix"]["first"] == {"vision": DEPTH - 1} and entry["prefix"]["losses_equal"] == 4
    assert [goal["figure"] for goal in entry["goals"]] == ["time", "saved", "epoch"]
    assert not VISION.base("config:vit-ti16").training


def test_goals_of_vision_are_for_their_size(measured: dict):
    """On ViT-Ti none is set; the same figures under the name of ViT-B are judged."""
    entry = measured["models"]["ti"]
    assert entry["goals"] == []
    names = [(goal["name"], goal["figure"]) for goal in train.judged(VISION.goals, "b", entry)]
    assert names == [("P1", "time"), ("P2", "saved")]


def test_import_costs_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(imports, "COMMANDS", {name: ("-c", "pass") for name in imports.COMMANDS})
    found = imports.bench_import(repeats=2)
    results.store(found, tmp_path / "import.json")
    assert "| `inarch --help` " in report.report(tmp_path) and "inarch over torch" in report.report(tmp_path)
    assert all(row["wall"]["low"] > 0 for row in found["commands"].values())
    with pytest.raises(subprocess.CalledProcessError):
        imports.Fresh(("-c", "raise SystemExit(3)"))()


def test_what_cannot_be_measured_is_refused(tmp_path: Path):
    for wrong in ({"models": ["xl"]}, {"methods": ["arx"]}, {"batch": 0}, {"repeats": 0}, {"n_threads": 0}, {"family": "audio"},
                  {"family": "vl", "methods": ["arc"]}):
        with pytest.raises(ConfigError, match="bench: "):
            train.bench_train(**wrong)
    assert family_named("vl") is VL
    with pytest.raises(ConfigError, match="repeats=0"):
        imports.bench_import(repeats=0)
    with pytest.raises(ConfigError, match="no folder"):
        results.check_place("train", tmp_path / "nowhere" / "train.json")
    with pytest.raises(ConfigError, match="no measurements"):
        report.report(tmp_path)
    with pytest.raises(ConfigError, match="no folder"):
        report.write_report(tmp_path, tmp_path / "nowhere" / "README.md")


def test_a_file_of_something_else_is_not_overwritten(tmp_path: Path):
    path = tmp_path / "other.json"
    path.write_text('{"format": 1, "kind": "import"}')
    with pytest.raises(ConfigError, match="choose another file"):
        results.check_place("train", path)
    path.write_text('{"name": "package"}')
    with pytest.raises(ConfigError, match="holds no measurements"):
        results.store({"format": 1, "kind": "import"}, path)
    assert path.read_text() == '{"name": "package"}'


def test_a_backbone_is_known_by_its_longer_name_too(capsys: pytest.CaptureFixture):
    assert VISION.models(["vit_b", "ti", "b"]) == ["b", "ti"]
    assert main(["bench", "train", "--model", "vit_x"]) and "did you mean 'vit_" in capsys.readouterr().err


def test_the_floor_comes_first_and_methods_in_table_order():
    assert VISION.chosen(["full", "arc"]) == ["floor", "arc", "full"]


def test_a_package_is_left_out_where_it_is_absent_and_missed_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subjects.importlib.util, "find_spec", lambda name: name)
    aside = {"arc-int8", "arc-fp8"}  # asked for by name alone
    assert all(family.chosen(None) == [name for name in family.subjects if name not in aside] for family in FAMILIES.values())
    assert VISION.chosen(["arc-fp8"]) == ["floor", "arc-fp8"]
    monkeypatch.setattr(subjects.importlib.util, "find_spec", lambda name: None)
    assert VISION.chosen(None) == [name for name in VISION.subjects if name not in aside and not name.endswith(("peft", "peft-dropout"))]
    with pytest.raises(MissingExtra, match=r"inarch\[peft\]"):
        VISION.prepared(pristine(), "lora-peft")


def test_a_measurement_names_its_circumstances(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    found = machine.circumstances()
    assert set(found) == {"date", "commit", "hardware", "versions", "load"}
    monkeypatch.setattr(inarch, "__file__", str(tmp_path / "inarch" / "__init__.py"))
    assert machine.commit() is None  # an installed package lies in no checkout


def test_the_page_in_the_repository_is_the_one_its_measurements_give():
    assert (ROOT / "bench" / "README.md").read_text() == report.report(ROOT / "results" / "bench")
