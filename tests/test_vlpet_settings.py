"""VL-PET's settings: what is refused, what the backbone fills in, and where else the method can be put."""

import copy

import pytest
from families import pristine
from tiny_vl import tiny

import inarch
from inarch import VLPET
from inarch.errors import ConfigError


@pytest.mark.parametrize(("kind", "rank", "gate_rank", "scale", "init"), [("bart", 96, 96, 1.0, "normal"), ("t5", 192, 192, 0.3, "zero")])
def test_what_is_left_out_is_as_published_for_the_backbone(kind, rank, gate_rank, scale, init):
    model = inarch.graft(tiny(kind, 1), VLPET())
    method = model.inarch.scion("default").method
    assert (method.rank, method.gate_rank, method.scale, method.init, method.value_rank) == (rank, gate_rank, scale, init, 96)
    named = inarch.graft(tiny(kind, 1), VLPET(rank=4, scale=0.7, init="normal")).inarch.scion("default").method
    assert (named.rank, named.gate_rank, named.scale, named.init) == (4, gate_rank, 0.7, "normal")


@pytest.mark.parametrize(("settings", "message"), [
    ({"gate": "tiny"}, "gate='tiny'"), ({"rank": 0}, "rank=0"), ({"gate_rank": -1}, "gate_rank=-1"), ({"value_rank": 0}, "value_rank=0"),
    ({"scale": 0.0}, "scale=0.0"), ({"scale": float("nan")}, "scale=nan"), ({"decoder": ("value", "value")}, "twice"),
    ({"decoder": ("query",)}, "decoder"), ({"gate": "large", "gate_reads": "output"}, "gate_reads='output' has no effect"),
    ({"gate": "middleY", "gate_input": "normed"}, "gate_input='normed' has no effect"),
    ({"gate": "small", "middle_y": "sigmoid"}, "middle_y='sigmoid' has no effect"),
    ({"gate": "none", "small_mean": "visible"}, "small_mean='visible' has no effect"),
    ({"change": "lora", "gate_input": "normed"}, "gate_input='normed' has no effect"),
])
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        VLPET(**settings)


def test_towers_of_classifiers():
    """Encoders without a decoder take it too; where attention sees windows, only gates that need no residual stream."""
    vit = inarch.graft(copy.deepcopy(pristine("hf-vit")), VLPET(gate="small", rank=4))
    assert vit.inarch.scion("default").method.scale == 1.0 and "vision_attn_32" in vit.inarch.default.keys
    with pytest.raises(inarch.CannotGraft, match="reads the residual stream"):
        inarch.graft(copy.deepcopy(pristine("hf-swin")), VLPET(gate="small", rank=4))
    inarch.graft(copy.deepcopy(pristine("hf-swin")), VLPET(gate="small", rank=4, gate_input="normed"))
