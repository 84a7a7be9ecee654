"""The trained numbers and percentages of the paper's Tables 2 and 9, from the configuration alone, and through the command line."""

import json

import pytest

import inarch
from inarch import VLPET, BitFit, Bottleneck, Compacter, Frozen, Full, LoRA, backbones
from inarch.adapter import Method
from inarch.cli import main
from inarch.counting import Count

BART, T5, VIDEO = "config:vl-bart-base", "config:vl-t5-base", "config:vl-bart-base-video"
GATES = ("small", "middleX", "middleY", "large")
PUBLISHED = {  # trained, total, percent to two decimals
    BART: ((4_291_020, 143_845_068, 2.98), (4_281_804, 143_835_852, 2.98), (4_281_792, 143_835_840, 2.98),
           (6_052_416, 145_606_464, 4.16)),
    T5: ((10_518_168, 233_457_816, 4.51), (10_499_736, 233_439_384, 4.50), (10_499_712, 233_439_360, 4.50),
         (17_582_208, 240_521_856, 7.31)),
    VIDEO: ((3_111_372, 142_665_420, 2.18), (3_102_156, 142_656_204, 2.17), (3_102_144, 142_656_192, 2.17),
            (4_872_768, 144_426_816, 3.37)),
}
CELLS = [(place, gate, *row) for place, rows in PUBLISHED.items() for gate, row in zip(GATES, rows, strict=True)]
THREE = {"spans": ("attn", "mlp", "cross")}
EVERY_Q_AND_V = ("q", "v", "cross.q", "cross.v")
BASELINES = [  # VL-Adapter and Compacter also train every norm, LoRA every bias
    (BART, Bottleneck(**THREE), "norms", 6_081_600, 4.18), (BART, Compacter(**THREE), "norms", 3_870_240, 2.70),
    (BART, LoRA(rank=128, alpha=32, targets=EVERY_Q_AND_V), "biases", 8_786_688, 5.93), (BART, BitFit(), (), 1_708_800, 1.21),
    (BART, Full(), (), 141_156_864, 100.0), (BART, Frozen(), (), 1_582_848, 1.12), (T5, Frozen(), (), 1_581_312, 0.70),
    (T5, Bottleneck(rank=192, **THREE), (), 19_333_632, 7.98), (T5, Bottleneck(rank=192, **THREE), "norms", 19_381_248, 8.00),
    (T5, LoRA(rank=150, targets=EVERY_Q_AND_V), (), 18_170_112, 7.54), (VIDEO, Bottleneck(**THREE), "norms", 4_901_952, 3.39),
]
TRANSFERRED = [  # Table 9: G and the lightweight placement on Compacter (hyper-complex in the value path too) and on VL-Adapter
    *((VLPET(gate=gate, change="compacter"), percent) for gate, percent in zip(GATES, (2.08, 2.07, 2.07, 3.28), strict=True)),
    *((VLPET(gate=gate), percent) for gate, percent in zip(GATES, (2.98, 2.98, 2.98, 4.16), strict=True)),
]


def counted(place: str, method: Method, thaw: str | tuple[str, ...] = ()) -> Count:
    model = backbones.load(place, device="meta", pretrained=False).model
    return inarch.count(inarch.graft(model, method, thaw=thaw))


@pytest.mark.parametrize(("place", "gate", "trained", "total", "percent"), CELLS)
def test_vlpet(place, gate, trained, total, percent):
    count = counted(place, VLPET(gate=gate))
    assert (count.trainable, count.total, round(count.percent, 2), count.head) == (trained, total, percent, 0)


@pytest.mark.long
def test_building_blocks():
    """adapter(r) = 2 d r + r + d; the four gates; projector and encoder norms, as the spec's section 4 has them."""
    for place, rank, projector, norms, layers in ((BART, 96, 1_582_848, 19_968, 6), (T5, 192, 1_581_312, 19_200, 12)):
        adapter, value = 2 * 768 * rank + rank + 768, 2 * 768 * 96 + 96 + 768
        gates = {"none": 0, "middleY": 768, "middleX": 769, "small": 1537, "large": adapter}
        for gate, numbers in gates.items():
            count = counted(place, VLPET(gate=gate))
            assert count.adapter == layers * (2 * (adapter + numbers) + value)
            assert count.thawed == projector + norms
        assert counted(place, VLPET(encoder_norms=False)).thawed == projector


@pytest.mark.parametrize(("place", "method", "thaw", "trained", "percent"), BASELINES)
def test_baselines(place, method, thaw, trained, percent):
    count = counted(place, method, thaw)
    assert (count.trainable, round(count.percent, 2)) == (trained, percent)


@pytest.mark.parametrize(("method", "percent"), TRANSFERRED)
def test_designs_on_other_methods(method, percent):
    assert round(counted(BART, method).percent, 2) == percent


@pytest.mark.parametrize(("place", "gate", "trained", "total", "percent"), [cell for cell in CELLS if cell[1] in ("small", "large")])
def test_command_line(place, gate, trained, total, percent, capsys):
    main(["count", "vlpet", place, "--set", f"gate={gate}", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["trainable"], found["total"], round(found["percent"], 2)) == (trained, total, percent)


def test_command_line_of_a_baseline(capsys):
    main(["count", "bottleneck", BART, "--set", "spans=attn,mlp,cross", "--thaw", "norms", "--json"])
    assert json.loads(capsys.readouterr().out)["trainable"] == 6_081_600
