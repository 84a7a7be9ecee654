"""One graph, no break: ``fullgraph=True`` over the grid with the eager backend, inductor once per method (mark ``compile``)."""

import copy

import pytest
import torch
from families import FAMILIES, pristine
from grid import METHODS, REFUSED
from toys import ToyGate

import inarch
from inarch import ARC, LoRA

ONE_EACH = ("arc", "arc-trunk", "lora", "lora-mlp", "fullrank", "toy-gate", "toy-prepared")
CELLS = [(f, m) for f in ("hf-vit", "timm-vit", "timm-swin", "open_clip") for m in ONE_EACH if (f, m) not in REFUSED]
CELLS += [("hf-vit", "vlpet"), ("timm-vit", "vlpet-small")]
CELLS += [("hf-vit", "adaring"), ("hf-clip", "adaring"), ("timm-vit", "adaring-lora"), ("hf-clip", "mma"), ("hf-vit", "fact")]
CELLS += [("timm-vit", "vpt-deep"), ("hf-vit", "vpt-shallow"), ("timm-vit", "ssf"), ("hf-clip", "repadapter"), ("hf-vit", "adaptformer")]
CELLS += [("vl-bart", "vlpet"), ("vl-bart", "vlpet-small"), ("vl-t5", "vlpet-visible"), ("vl-t5", "vlpet-places")]


def compiled(model, family, backend: str):
    torch._dynamo.reset()
    inputs = family.inputs()
    return torch.compile(lambda: family.forward(model, inputs), backend=backend, fullgraph=True)()


@pytest.fixture(autouse=True)
def fresh_compiler():
    yield
    torch._dynamo.reset()


def shake(model) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("family", "method"), CELLS)
def test_one_graph(family, method):
    kind, model = FAMILIES[family], copy.deepcopy(pristine(family))
    inarch.graft(model, METHODS[method])
    shake(model)
    expected = kind.run(model)
    with torch.no_grad():
        assert (compiled(model, kind, "eager") - expected).abs().max() < 1e-12
    out = compiled(model.train(), kind, "eager")
    out.square().sum().backward()
    assert all(p.grad is not None for p in model.inarch.parameters())


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", [ARC(rank=4), LoRA(rank=2), ToyGate()], ids=["arc", "lora", "toy-gate"])
def test_inductor(method):
    kind, model = FAMILIES["timm-vit"], copy.deepcopy(pristine("timm-vit"))
    inarch.graft(model, method)
    shake(model)
    expected = kind.run(model)
    out = compiled(model, kind, "inductor")
    assert (out - expected).abs().max() < 1e-10
    out.square().sum().backward()
    assert all(p.grad is not None for p in model.inarch.parameters())


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore")
def test_taking_an_adapter_off_after_compiling_is_noticed():
    kind, model = FAMILIES["timm-vit"], copy.deepcopy(pristine("timm-vit"))
    with torch.no_grad():
        base = kind.run(model)
        inarch.graft(model, ARC(rank=4))
        shake(model)
        inputs = kind.inputs()
        graph = torch.compile(lambda: kind.forward(model, inputs), backend="eager", fullgraph=True)
        assert (graph() - base).abs().max() > 1e-3
        with inarch.disabled(model):
            assert (graph() - base).abs().max() < 1e-12
        inarch.ungraft(model)
        assert (graph() - base).abs().max() < 1e-12
