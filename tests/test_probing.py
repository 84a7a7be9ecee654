"""The probe: gates learned on base classes that the cores do not see, cores as they were before, and nothing else looked at."""

import copy
import itertools
from types import SimpleNamespace

import pytest
import torch
from families import pictures, pristine
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import inarch
import inarch.train
from inarch import AdaRing, LoRA
from inarch.backbones.two_tower import Tokens
from inarch.container import container_of
from inarch.data.fewshot import FewShot
from inarch.errors import ConfigError, TrainingDiverged
from inarch.recipe import Recipe
from inarch.tasks import probing
from inarch.tasks.learner import Frozen, Learner
from inarch.tasks.match import Matcher, Prompts, Shown, Weights
from inarch.tasks.task import Batch
from tests.fewshot_fixtures import write_split
from tests.test_fewshot_data_leakage import images, opened  # noqa: F401  # a fixture
from tests.tiny_clip import folder

CLASSES, EACH = 8, 3
ENGINE = SimpleNamespace(device=torch.device("cpu"), num_processes=1, is_main_process=True)
RECIPE = SimpleNamespace(seed=1, lr=0.05, weight_decay=0.01, batch_size=4, clip=1.0)
METHOD = AdaRing(ranks=(1, 2), bottleneck=6)
HALVES = probing.pseudo(CLASSES, 1)
NEAR = Weights(8.0, 2.0, 0.5)
LABELS = torch.arange(CLASSES).repeat(EACH)


def words(seed: int = 5) -> Tensor:
    ids = torch.randint(2, 98, (CLASSES, 8), generator=torch.Generator().manual_seed(seed))
    ids[:, -1] = 98
    return ids


def learner(method=METHOD, ids: Tensor | None = None, weights: Weights = NEAR) -> Learner:
    """Fresh cores, moved away from zero, at seed 0."""
    torch.manual_seed(0)
    model = inarch.graft(copy.deepcopy(pristine("clip")), method)
    for parameter in model.inarch.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    prompts = Prompts(Tokens(words() if ids is None else ids), 1)
    net = Matcher(model, "fp64")
    with inarch.disabled(model):
        frozen = net.features(prompts)
    return Learner(net, prompts, weights, Frozen(frozen), side=32)


class Feed:
    """Random pixels; ``asked``: the rows of every batch. ``novel``: seed of the pictures of pseudo-novel classes alone."""

    def __init__(self, novel: int = 0) -> None:
        self.pixels, self.asked = pictures(len(LABELS))["pixels"], []
        if novel:
            rows = torch.isin(LABELS, HALVES.novel)
            self.pixels[rows] = torch.randn(self.pixels[rows].shape, generator=torch.Generator().manual_seed(novel), dtype=torch.float64)

    def batches(self, rows, epoch=0):
        assert epoch >= probing.EPOCH  # never the pictures of a fit
        for chosen in rows:
            self.asked.append(chosen)
            at = torch.tensor(chosen)
            yield Batch(Shown(self.pixels[at], LABELS[at], at), LABELS[at])


def shown(half: Tensor, seed: int = 3) -> Shown:
    rows = torch.nonzero(torch.isin(LABELS, half)).flatten()[:5]
    pixels = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Shown(pixels, LABELS[rows], rows)


def same(a, b) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 300), st.integers(0, 99))
def test_halves(classes, seed):
    halves = probing.pseudo(classes, seed)
    assert torch.equal(torch.cat([halves.base, halves.novel]).sort().values, torch.arange(classes))
    assert len(halves.novel) >= 2 and len(halves.base) == min(-(-3 * classes // 4), classes - 2)
    assert same(vars(probing.pseudo(classes, seed)).values(), vars(halves).values())
    assert torch.equal(halves.base, halves.base.sort().values)


def test_too_few_classes_and_no_gates_are_refused():
    with pytest.raises(ConfigError, match=r"3 base classes are too few to hold two back; it needs 4"):
        probing.pseudo(3, 1)
    for method in (AdaRing(ranks=(2,), bottleneck=6), AdaRing(ranks=(1, 2), bottleneck=6, gate="uniform"), LoRA(rank=2)):
        with pytest.raises(ConfigError, match="has no gates to learn; set probe='off'"):
            probing.Probe.of(learner(method))


def test_what_is_chosen_and_what_is_learned():
    net = learner()
    probe = probing.Probe.of(net)
    assert {*probe.gates} == {"shared.gates.vision_32", "shared.gates.text_32"}
    assert {*probe.gates} | {*probe.cores} == {*container_of(net.model).default.trained()}
    thawed = inarch.graft(copy.deepcopy(pristine("clip")), METHOD, thaw=["vision.norms"])
    more = probing.Probe.of(Learner(Matcher(thawed, "fp64"), net.prompts, Weights(), Frozen(), side=32))
    assert any("norm" in name for name in more.cores) and {*more.gates} == {*probe.gates}


def test_a_core_gradient_knows_nothing_of_pseudo_novel_names():
    """Nor of pictures: none is among its arguments. Names of pseudo-novel classes may say anything."""
    other = words()
    other[HALVES.novel] = words(9)[HALVES.novel]
    found = []
    for ids in (words(), other):
        net = learner(ids=ids).eval()
        loss, gradients = probing.Probe.of(net).core_gradient(shown(HALVES.base), HALVES)
        found.append([loss, *gradients])
        assert net.among is None and all(p.grad is None for p in net.model.parameters())
    assert all((a - b).abs().max() < 1e-12 * max(1.0, float(a.abs().max())) for a, b in zip(*[[g.detach() for g in f] for f in found],
                                                                                             strict=True))
    assert all(g.any() for g in found[0][1:])


def test_a_gate_gradient_knows_nothing_of_pseudo_base_names_or_of_what_keeps_near():
    other = words()
    other[HALVES.base] = words(9)[HALVES.base]
    found = []
    for ids, weights in ((words(), NEAR), (other, Weights())):
        probe = probing.Probe.of(learner(ids=ids, weights=weights).eval())
        loss, gradients = probe.gate_gradient(shown(HALVES.novel), HALVES)
        found.append([loss.detach(), *gradients])
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(*found, strict=True)) and all(g.any() for g in found[0][1:])


def test_pseudo_novel_classes_are_a_label_space_of_their_own():
    probe = probing.Probe.of(learner().eval())
    said = probe._said(shown(HALVES.novel), HALVES.novel)
    assert said.logits.shape == (5, len(HALVES.novel)) and torch.equal(HALVES.novel[said.labels], shown(HALVES.novel).labels)


def run(monkeypatch, steps: int, novel: int = 0, method=METHOD):
    """A probe; its learner, feed, gates, and (kind, trained tensors before) of every step."""
    net, feed, steps_seen = learner(method), Feed(novel), []
    for kind in ("core_gradient", "gate_gradient"):
        own = getattr(probing.Probe, kind)

        def spy(self, shown, halves, own=own, kind=kind):
            before = {name: p.detach().clone() for name, p in (self.gates | self.cores).items()}
            loss, gradients = own(self, shown, halves)
            steps_seen.append((kind, before, [g.clone() for g in gradients], shown, net.model.training, net.model.inarch.training))
            return loss, gradients

        monkeypatch.setattr(probing.Probe, kind, spy)
    start = {name: p.detach().clone() for name, p in container_of(net.model).default.trained().items()}
    gates = probing.run(net, feed, LABELS, RECIPE, steps, ENGINE)
    monkeypatch.undo()
    return net, feed, gates, steps_seen, start


def test_cores_and_gates_move_in_turn(monkeypatch):
    net, _, gates, seen, start = run(monkeypatch, 7)
    after = {name: p.detach() for name, p in container_of(net.model).default.trained().items()}
    assert [kind for kind, *_ in seen] == ["core_gradient", "gate_gradient"] * 3 + ["core_gradient"]
    for (kind, before, *_), (_, then, *_) in itertools.pairwise(seen):
        moved = {name for name in before if not torch.equal(before[name], then[name])}
        assert moved == {name for name in before if (name in gates) == (kind == "gate_gradient")}
    assert same(seen[0][1].values(), [start[name] for name in seen[0][1]])
    for name, value in after.items():  # the cores are as they were, bit for bit, and the gates are what was learned
        assert torch.equal(value, gates[name] if name in gates else start[name]), name
    assert all(not torch.equal(gates[name], start[name]) for name in gates)


def test_each_half_is_shown_to_its_own_step_alone(monkeypatch):
    _, feed, _, seen, _ = run(monkeypatch, 9)
    for kind, _, _, batch, *_ in seen:
        half = HALVES.base if kind == "core_gradient" else HALVES.novel
        assert torch.isin(batch.labels, half).all() and torch.equal(LABELS[batch.rows], batch.labels) and len(batch.rows) <= 4
    assert {row for rows in feed.asked for row in rows} == set(range(len(LABELS)))  # nobody is left out


def test_pictures_of_the_other_half_matter_to_nobody(monkeypatch):
    """Other pseudo-novel pictures: the first core step and the cores before the first gate step are the same bits."""
    _, _, gates, one, _ = run(monkeypatch, 2)
    _, _, others, two, _ = run(monkeypatch, 2, novel=7)
    assert same(one[0][2], two[0][2]) and same(one[1][1].values(), two[1][1].values())
    assert not same(one[1][2], two[1][2]) and not same(gates.values(), others.values())


def test_adapters_learn_as_in_training_whatever_was_scored_before(monkeypatch):
    """With their dropout, the base in evaluation mode; and the same bits again for the same seed."""
    _, _, gates, seen, _ = run(monkeypatch, 4)
    assert all(not base and adapters for *_, base, adapters in seen)
    own = probing.run

    def scored(net, *rest):
        net.eval()  # as features of the frozen model leave it
        return own(net, *rest)

    monkeypatch.setattr(probing, "run", scored)
    assert same(gates.values(), run(monkeypatch, 4)[2].values())


def test_gates_are_held_from_then_on(monkeypatch):
    net, _, gates, *_ = run(monkeypatch, 4)
    trained = container_of(net.model).default.trained()
    flags = lambda: {name for name, p in trained.items() if not p.requires_grad}  # noqa: E731
    assert flags() == {*gates} and inarch.count(net.model).adapter > 0
    with inarch.disabled(net.model):
        assert flags() == {*trained}
    assert flags() == {*gates}
    inarch.use(net.model)
    inarch.use(net.model, "default")
    assert flags() == {*gates}
    loss = net(shown(HALVES.base)).logits.sum()
    loss.backward()
    assert all((p.grad is None) == (name in gates) for name, p in trained.items())


def test_a_loss_that_is_not_finite_stops_the_probe():
    net = learner()
    net.model.inarch.default.shared.features["vision_32"][0].into.data.fill_(float("inf"))
    with pytest.raises(TrainingDiverged, match=r"probe, step 1: the loss is nan; use a smaller lr"):
        probing.run(net, Feed(), LABELS, RECIPE, 2, ENGINE)


@pytest.mark.long
def test_in_a_run_the_probe_opens_base_train_images_alone(tmp_path, monkeypatch, opened):  # noqa: F811
    rows = write_split(tmp_path / "split.json", tmp_path / "images", 8, {"train": 3, "val": 2, "test": 2})
    base = {str(tmp_path / "images" / path) for path, label, _ in rows["train"] if label < 4}
    told: list[str] = []
    probe, held = probing.run, FewShot.held

    def watched(*given):
        opened.clear()
        told.append("probe")
        found = probe(*given)
        told.append("done")
        assert images(opened, tmp_path) == base and len(base) == 12
        return found

    monkeypatch.setattr(probing, "run", watched)
    monkeypatch.setattr(FewShot, "held", lambda self: told.append("held") or held(self))
    recipe = Recipe.parse({
        "data": f"split:{tmp_path / 'split.json'}@{tmp_path / 'images'}", "backbone": f"clip:{folder(tmp_path / 'clip')}",
        "method": "adaring", "set": {"ranks": (1, 2), "bottleneck": 6}, "shots": 3, "epochs": 1, "warmup_epochs": 0.0, "batch_size": 4,
        "least_updates": 20, "out": str(tmp_path / "run"), "device": "cpu", "tensorboard": False, "report": False})
    assert recipe.probe == "gates"
    inarch.train.train(recipe)
    assert told == ["probe", "done", "held"]
    assert (tmp_path / "run" / "gates.safetensors").is_file()
