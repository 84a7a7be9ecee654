"""inspect of AdaRing: what is read from small cores equals what the dense matrices show, whatever the choice of cores."""

import copy
import json
from pathlib import Path

import pytest
import torch
from families import pristine
from torch import Tensor, nn

import inarch
from inarch.errors import Mismatch
from inarch.inspect import inspect
from inarch.inspection import spectra
from inarch.inspection.alike import Alike, between, cosines, told, triangle
from inarch.inspection.plot import plot_inspection
from inarch.inspection.ring_report import HONESTY, RingInspection, inspect_rings
from inarch.inspection.rings import Kind, placed
from inarch.methods import AdaRing, FullRank
from inarch.methods import tensor_ring as ring
from inarch.methods.ring_bank import Bank

PNG = b"\x89PNG\r\n"
SMALL = {"ranks": (1, 2), "bottleneck": 4, "layers": "-2:"}
LINEAR = AdaRing(ranks=(1, 2), site="lora", targets=("q", "v", "fc1", "fc2"), layers="-2:")
METHODS = [AdaRing(**SMALL), AdaRing(**SMALL, share_towers="never"), AdaRing(ranks=(3,), bottleneck=5, layers="-2:"),
           AdaRing(**SMALL, gate="uniform"), AdaRing(**SMALL, gate="router"), AdaRing(**SMALL, form="train"), AdaRing(**SMALL, bias=True),
           LINEAR, AdaRing(ranks=(1, 2), site="post", layers="-2:"), AdaRing(ranks=(2,), site="lora", targets=("q", "v"), layers="-2:")]


def grafted(method: AdaRing, family: str = "clip") -> nn.Module:
    """Every number random, so that no zero hides a mistake."""
    model = inarch.graft(copy.deepcopy(pristine(family)), method).eval()
    for k, parameter in enumerate(model.inarch.default.parameters(), start=1):
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    return model


def inspected(model: nn.Module, folder: Path) -> RingInspection:
    found = inspect(inarch.save(model, folder))
    assert isinstance(found, RingInspection)
    return found


def close(a: object, b: object) -> None:
    torch.testing.assert_close(torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64), rtol=0, atol=1e-10)


def same(kind: Kind, experts: list[Tensor], mixture: Tensor) -> None:
    for small, matrices in zip((*kind.experts, kind.mixture), (*experts, mixture), strict=True):
        close(small.norms, matrices.flatten(1).norm(dim=1))
        close(small.ranks, [spectra.effective_rank(torch.linalg.svdvals(m)) for m in matrices])
        flat = matrices.flatten(1) / matrices.flatten(1).norm(dim=1, keepdim=True)
        close(small.cosines(), flat @ flat.mT)


def dense(bank: Bank, unit: str, kind: str) -> list[Tensor]:
    """``[E]`` of ``[L, ...]``, built entry by entry from the definition of a ring."""
    found = []
    for e, (into, out) in zip(bank.between[bank.owners[unit]], bank.cores(unit), strict=True):
        first, slices, last = {"D": lambda e=e, b=into: (e.down, e.down_slices, b), "U": lambda e=e, a=out: (a, e.up_slices, e.up),
                               "dW": lambda e=e, b=into, a=out: (a, e.slices, b)}[kind]()
        found.append(torch.stack([ring.delta(first, slices, last, k) for k in range(slices.shape[1])]).detach())
    return found


def gates(model: nn.Module, stack: str) -> Tensor:
    """g of the stack's sites, as the adapter uses them."""
    adapter, bank = model.inarch.default.adapters()[stack], model.inarch.default.shared
    return (adapter.gates(bank, None) / adapter.gain).detach()


@pytest.mark.parametrize("method", [m for m in METHODS if not m.linear], ids=str)
def test_bottlenecks_show_what_their_dense_matrices_show(method: AdaRing, tmp_path: Path) -> None:
    model = grafted(method)
    found, bank = inspected(model, tmp_path), model.inarch.default.shared
    assert {unit.name for unit in found.units} == {"vision_32", "text_32"} == set(bank.owners)
    for unit in found.units:
        down, up = dense(bank, unit.name, "D"), dense(bank, unit.name, "U")
        g = gates(model, unit.name.replace("_", "_block_"))
        g = g / g.sum(1, keepdim=True)  # a router's scale alone stands there: all alike
        same(unit.kinds["D"], down, torch.cat(down, dim=1))
        same(unit.kinds["U"], up, torch.cat([m * g[:, e, None, None] for e, m in enumerate(up)], dim=2))
        assert (unit.gates is None) == (method.gate == "router")
        if unit.gates is not None:
            close(unit.gates, g)


@pytest.mark.parametrize("method", [m for m in METHODS if m.linear], ids=str)
def test_linear_sites_show_what_their_dense_matrices_show(method: AdaRing, tmp_path: Path) -> None:
    """And what the folds add up to: the mixture is the dW that a merge would write, without s."""
    model = grafted(method)
    found, scion = inspected(model, tmp_path), model.inarch.default
    for unit in found.units:
        experts, kind = dense(scion.shared, unit.name, "dW"), unit.kinds["dW"]
        folded = []
        for stack in (s for s in scion.stacks if s.tower == unit.name.partition("_")[0]):
            adapter = scion.adapters()[stack.name]
            for i in range(stack.depth):
                with torch.no_grad():
                    fold = adapter.affine(i, scion.given(stack.name))
                whole = (fold.down @ fold.up).mT / adapter.gain
                folded += whole.split(32, dim=1 if adapter.place.wide_in else 0)
        same(kind, experts, torch.stack(folded))


def test_slices_are_compared_by_owner_and_expert(tmp_path: Path) -> None:
    model = grafted(AdaRing(**SMALL))
    hidden = model.inarch.default.shared.between["all"]
    hidden[1].down_slices.data[:, 1] = -2 * hidden[1].down_slices.data[:, 0]
    hidden[1].up_slices.data[:, 1] = 0
    (owner,) = inspected(model, tmp_path / "a").owners
    assert owner.name == "all" and sorted(owner.units) == ["text_32", "vision_32"]
    close(owner.slices["down"][1], [[1, -1], [-1, 1]])
    assert owner.slices["up"][1][0][1] is None and owner.slices["up"][1][1] == [None, None]
    apart = inspected(grafted(AdaRing(**SMALL, share_towers="never")), tmp_path / "b")
    assert sorted(owner.name for owner in apart.owners) == ["text_32", "vision_32"]


def test_other_cores_of_the_same_matrices_show_the_same_but_for_slices(tmp_path: Path) -> None:
    """A gauge change: slices differ, matrices do not."""
    model = grafted(AdaRing(ranks=(3,), bottleneck=4, layers="-2:"))
    before = inspected(model, tmp_path / "a")
    bank = model.inarch.default.shared
    hidden = bank.between["all"][0]
    left = torch.randn(3, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    hidden.down.data = torch.einsum("akb,bx->akx", hidden.down.data, left)
    hidden.down_slices.data = torch.einsum("xb,blc->xlc", torch.linalg.inv(left), hidden.down_slices.data)
    after = inspected(model, tmp_path / "b")
    for one, two in zip(before.units, after.units, strict=True):
        close(one.kinds["D"].mixture.cosines(), two.kinds["D"].mixture.cosines())
        close(one.kinds["D"].mixture.ranks, two.kinds["D"].mixture.ranks)
    assert abs(before.owners[0].slices["down"][0][0][1] - after.owners[0].slices["down"][0][0][1]) > 1e-3


def test_cores_that_cancel_each_other_are_named(tmp_path: Path) -> None:
    model = grafted(AdaRing(ranks=(2,), bottleneck=4, layers="-2:"))
    hidden = model.inarch.default.shared.between["all"][0]
    assert inspected(model, tmp_path / "calm").warnings == []
    far = torch.diag(torch.tensor([1e3, 1.0], dtype=torch.float64))
    hidden.down.data = hidden.down.data @ far  # and the slices undo it
    hidden.down_slices.data = torch.einsum("xb,blc->xlc", torch.linalg.inv(far), hidden.down_slices.data)
    found = inspected(model, tmp_path / "wild")
    assert len(found.warnings) == 2 and "weight_decay" in found.warnings[0] and "warning: " in str(found)
    unit = found.units[0]
    expected = hidden.down.norm() * hidden.down_slices[:, 0].norm() * model.inarch.default.shared.features[unit.name][0].into.norm()
    close(unit.kinds["D"].products[0][0], expected.detach())


def test_a_fresh_graft_has_no_update_and_layers_that_read_the_same(tmp_path: Path) -> None:
    model = inarch.graft(copy.deepcopy(pristine("clip")), AdaRing(**SMALL))
    found = inspected(model, tmp_path)
    for unit in found.units:
        close(unit.gates, torch.full((2, 2), 0.5))
        close(unit.kinds["D"].mixture.cosines(), torch.ones(2, 2))
        assert unit.kinds["U"].mixture.ranks == [0, 0] and unit.kinds["U"].excess(0) == [None, None]
        assert unit.kinds["U"].mixture.cosines() == [[None, None]] * 2
    assert "–" in str(found) and HONESTY in str(found)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_text_and_json_of_every_kind(method: AdaRing, tmp_path: Path) -> None:
    found = inspected(grafted(method), tmp_path)
    told_of = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told_of["about"] == HONESTY and len(told_of["units"]) == 2
    for unit in told_of["units"]:
        assert all(len(kind["experts"]) == len(method.ranks) for kind in unit["matrices"].values())
        assert unit["name"] in str(found)


@pytest.mark.long
@pytest.mark.parametrize("method", [METHODS[0], METHODS[4], LINEAR], ids=("static", "router", "linear"))
def test_figures_are_drawn(method: AdaRing, tmp_path: Path) -> None:
    assert plot_inspection(inspected(grafted(method), tmp_path), tmp_path / "rings.png").read_bytes().startswith(PNG)


def test_singular_values_are_counted_by_layer(tmp_path: Path) -> None:
    """The paper's Figure 3, of an unconstrained adaptation."""
    model = inarch.graft(copy.deepcopy(pristine("hf-vit")), FullRank(spans=("attn",)))
    delta = model.inarch.default.vision_attn_32.delta.data
    delta.zero_()
    for layer, top in enumerate((4.0, 2.0, 1.0)):
        delta[layer] += torch.diag(torch.linspace(0.1, top, 32, dtype=torch.float64))
    (stack,) = inspect(inarch.save(model, tmp_path)).stacks
    edges, counts = stack.spectra()
    assert edges[0] == 0 and edges[-1] == pytest.approx(4) and [sum(row) for row in counts] == [32] * 3
    assert [max(k for k, n in enumerate(row) if n) for row in counts] == [19, 10, 5]
    assert stack.to_json()["singular_histogram"] == {"edges": edges, "counts": counts}


def test_a_single_tower_is_inspected_too(tmp_path: Path) -> None:
    found = inspected(grafted(AdaRing(**SMALL), "hf-vit"), tmp_path)
    assert [unit.name for unit in found.units] == ["vision_32"] and found.owners[0].name == "vision_32"


@pytest.mark.parametrize(("spans", "places", "layers", "first", "rows"), [
    ((), 3, 3, "0", [0, 1, 2]),
    (("q", "v"), 4, 2, "q 0", [0, 1, 0, 1]),
    (("q", "fc1"), 10, 2, "q 0", [0, 1, 0, 0, 0, 0, 1, 1, 1, 1]),
    (("qkv",), 6, 2, "qkv 0.0", [0, 0, 0, 1, 1, 1]),
    (("q",), 4, None, "0", [0, 1, 2, 3]),
    (("q", "v"), 4, None, "slice 0", None),
    (("q", "v", "cross.q"), 4, 2, "slice 0", None),
    (("fc1", "fc2"), 5, 1, "slice 0", None),
])  # fmt: skip
def test_slices_get_the_names_of_their_layers(spans, places, layers, first, rows) -> None:
    names, found = placed(spans, places, layers)
    assert (names[0], found, len(names)) == (first, rows, places)


def test_cosines_and_their_line() -> None:
    layers = torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    found = cosines(layers)
    close(found[0][:2], [1, 0.96])
    assert found[2] == [None] * 3 and between(found) == pytest.approx((0.96, 0.96, 0.96)) and between([[1.0]]) is None
    assert told([("D", found), ("U", [[None]])]) == "D 0.96, U –"
    assert told([("D", [[1, 0.5, 0.25], [0, 1, 0.75], [0, 0, 1]])]) == "D 0.50 (0.25 to 0.75)"
    assert Alike(layers[:, None]).ranks == pytest.approx([1, 1, 0])


def test_a_triangle_keeps_inner_products() -> None:
    for shape in ((9, 4), (4, 9)):
        tall = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        close(triangle(tall).mT @ triangle(tall), tall.mT @ tall)


@pytest.mark.parametrize(("change", "words"), [
    (lambda v: v.pop("shared.gates.text_32"), "missing tensors"),
    (lambda v: v.update({"shared.gates.text_32": torch.zeros(3, 2).double()}), "gates of text_32"),
    (lambda v: [v.pop(n) for n in list(v) if "slices" in n], "no slices of all"),
    (lambda v: v.update({"shared.features.text_32.0.into": torch.zeros(1, 7, 1).double()}), r"into"),
])  # fmt: skip
def test_tensors_that_do_not_fit_are_refused(change, words: str, tmp_path: Path) -> None:
    method = AdaRing(**SMALL)
    values = {name: value.data for name, value in grafted(method).inarch.default.trained().items()}
    inspect_rings(method, values, tmp_path)
    change(values)
    with pytest.raises(Mismatch, match=words):
        inspect_rings(method, values, tmp_path)
