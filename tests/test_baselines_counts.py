"""The rows of the paper's Table 2 that the baselines add: trained numbers and percent, from the configuration alone."""

import json

import pytest

import inarch
from inarch import Full, HyperFormer, LoRA, Prompt, backbones
from inarch.cli import main

BART, T5, VIDEO = "config:vl-bart-base", "config:vl-t5-base", "config:vl-bart-base-video"
PROJECTOR = {BART: 1_582_848, T5: 1_581_312, VIDEO: 403_200}
FOUR = ("vqa", "gqa", "nlvr", "caption")
ROWS = [
    (BART, Prompt(), (), 2_843_936, 2.00), (T5, Prompt(), (), 2_842_400, 1.26), (VIDEO, Prompt(), (), 1_664_288, 1.18),
    (BART, HyperFormer(tasks=FOUR), "norms", 8_579_088, 5.79),
    (VIDEO, LoRA(rank=128, alpha=32, targets=("q", "v", "cross.q", "cross.v")), "biases", 7_607_040, 5.17),
    (T5, Full(), (), 224_540_160, 100.0), (VIDEO, Full(), (), 139_977_216, 100.0),
]


@pytest.mark.parametrize(("place", "method", "thaw", "trained", "percent"), ROWS)
def test_rows(place, method, thaw, trained, percent):
    model = backbones.load(place, device="meta", pretrained=False).model
    count = inarch.count(inarch.graft(model, method, thaw=thaw))
    assert (count.trainable, round(count.percent, 2), count.head) == (trained, percent, 0)


def test_hyperformer_by_its_formula():
    """T k + per tower L k + 2 k h + h + h c + 3 c + per span (c + 1)(2 d r + r + d), with one task and four."""
    k, h, c, r, d, layers = 512, 128, 8, 96, 768, 6
    towers = 2 * (layers * k + 2 * k * h + h + h * c + 3 * c) + 5 * (c + 1) * (2 * d * r + r + d)
    for tasks in (("all",), FOUR):
        model = backbones.load(BART, device="meta", pretrained=False).model
        count = inarch.count(inarch.graft(model, HyperFormer(tasks=tasks)))
        assert (count.adapter, count.thawed) == (len(tasks) * k + towers, PROJECTOR[BART])


def test_prompt_follows_the_width_of_the_model():
    for place in PROJECTOR:
        model = backbones.load(place, device="meta", pretrained=False).model
        count = inarch.count(inarch.graft(model, Prompt(length=7, hidden=11)))
        assert (count.adapter, count.thawed) == (7 * 768 + 2 * 768 * 11 + 11 + 768, PROJECTOR[place])


@pytest.mark.parametrize(("words", "trained"), [
    (["prompt", BART], 2_843_936), (["hyperformer", BART, "--set", "tasks=vqa,gqa,nlvr,caption", "--thaw", "norms"], 8_579_088),
])
def test_command_line(words, trained, capsys):
    main(["count", *words, "--json"])
    assert json.loads(capsys.readouterr().out)["trainable"] == trained
