"""Numbers that go wrong in training: nothing is learned from them, nothing frozen moves, and the same seed gives the same bits."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from nursery import SIDE, Nursery
from torch import Tensor, nn

from inarch.backbones import Backbone
from inarch.cli import main
from inarch.errors import TrainingDiverged
from inarch.preprocess import Preprocess
from inarch.run import Run
from inarch.tasks.task import Batch
from inarch.train import train
from inarch.training.generations import Generations
from inarch.training.loop import Loop
from inarch.training.update import Updater

UPDATES = 6  # of the nursery's recipe: two epochs of three


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


class Watch:
    """The values and moments before every update, what each update said, and how often the optimizer stepped."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.before: list[dict[str, Tensor]] = []
        self.outcomes: list = []
        self.steps = 0
        call, step = Updater.__call__, torch.optim.AdamW.step

        def watching(updater: Updater, *rest):
            self.before.append(state(updater))
            self.outcomes.append(call(updater, *rest))
            self.after = state(updater)
            return self.outcomes[-1]

        def counting(optimizer, *rest):
            self.steps += 1
            return step(optimizer, *rest)

        patch.setattr(Updater, "__call__", watching)
        patch.setattr(torch.optim.AdamW, "step", counting)


def state(updater: Updater) -> dict[str, Tensor]:
    moments = {f"{name}/{key}": value for name, p in updater.trained.items() for key, value in updater.moments.state[p].items()}
    return {name: value.detach().clone() for name, value in (moments | updater.trained).items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.fixture
def watch(monkeypatch) -> Watch:
    return Watch(monkeypatch)


def poisoned_pixels(patch: pytest.MonkeyPatch, at: int, value: float) -> None:
    """One pixel of the second image of the batch of update ``at``."""
    real = Updater._backward

    def backward(updater: Updater, number: int, k: int, window, fetch, *rest) -> float:
        def spoiled() -> Batch:
            batch = fetch()
            if number == at:
                batch.inputs[1, 0, 0, 0] = value
            return batch

        return real(updater, number, k, window, spoiled, *rest)

    patch.setattr(Updater, "_backward", backward)


def poisoned_gradient(patch: pytest.MonkeyPatch, at: set[int], value: float, name: str = "scale") -> None:
    """One number of the gradient of one tensor, as a hook on it leaves it, in the updates ``at``."""
    real = Updater._backward

    def backward(updater: Updater, number: int, *rest) -> float:
        if number not in at:
            return real(updater, number, *rest)
        tensor = next(p for key, p in updater.trained.items() if key.endswith(name))

        def hook(grad: Tensor) -> Tensor:
            spoiled = grad.clone()
            spoiled.view(-1)[0] = value
            return spoiled

        handle = tensor.register_hook(hook)
        try:
            return real(updater, number, *rest)
        finally:
            handle.remove()

    patch.setattr(Updater, "_backward", backward)


def flags(nursery: Nursery, out: Path, *more: str) -> list[str]:
    return ["train", nursery.data, "--backbone", nursery.vit, "--set", "rank=2", "--epochs", "2", "--batch-size", "8", "--lr", "0.02",
            "--eval-batch-size", "8", "--no-tensorboard", "--no-report", "--device", "cpu", "--out", str(out), *more]


@pytest.mark.row("D1", "a loss of NaN or inf at update k: the first, in mid-epoch, the first of an epoch, the last")
@pytest.mark.parametrize(("at", "value"), [(0, float("inf")), (1, float("nan")), (3, float("inf")), (UPDATES - 1, float("nan"))])
def test_no_step_after_a_loss_that_is_not_finite(nursery, tmp_path, capsys, monkeypatch, watch, at, value):
    """Exit 5 before the optimizer steps: values and moments are those of update k - 1, and update, rate and image are said."""
    poisoned_pixels(monkeypatch, at, value)
    assert main(flags(nursery, tmp_path / "run")) == 5
    said = capsys.readouterr().err
    assert watch.steps == at and same(watch.before[-1], watch.before[at])
    assert f"update {at + 1} (lr " in said and "loss nan is not finite, from x_train[" in said and "Traceback" not in said
    kept = Generations(tmp_path / "run" / "checkpoints").load()
    assert (kept is None) == (at == 0) and not Run(tmp_path / "run").finished
    if kept is not None:
        assert kept.state["run"]["updates"] == at
        assert all(torch.equal(value, watch.before[at][name]) for name, value in kept.tensors["trained"].items())
        assert all(torch.equal(value, watch.before[at]["/".join(name.split("/", 1)[::-1])])
                   for name, value in kept.tensors["optimizer"].items())


@pytest.mark.faults
@pytest.mark.row("D2", "a gradient of NaN or inf in one tensor, in each of them")
def test_no_step_after_a_gradient_that_is_not_finite(nursery, tmp_path, watch, tried):
    """The run ends before the optimizer steps and names the tensor: nothing is changed."""
    names = trained_names(nursery, tmp_path)
    watch.steps = 0
    for n, name in enumerate(names):
        with pytest.MonkeyPatch.context() as patch:
            poisoned_gradient(patch, {1}, float("nan") if n % 2 else -float("inf"), name)
            with pytest.raises(TrainingDiverged, match=rf"update 2 .*gradient of {name} is not finite, somewhere in x_train\["):
                train(nursery.recipe(tmp_path / str(n)))
        kept = Generations(tmp_path / str(n) / "checkpoints").load()
        assert watch.steps == n + 1 and kept.state["run"]["updates"] == 1
        assert all(torch.equal(value, watch.before[-1][key]) for key, value in kept.tensors["trained"].items())
    assert len(names) > 5
    tried(len(names))


def trained_names(nursery: Nursery, folder: Path) -> list[str]:
    names: list[str] = []
    real = Loop.prepare

    def noting(loop: Loop) -> None:
        names.extend(loop.job.trained)
        real(loop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "prepare", noting)
        train(nursery.recipe(folder / "names", epochs=1))
    return names


@pytest.mark.row("D2", "gradients that are not finite in two updates, where skip_nonfinite = 2")
def test_as_many_updates_as_allowed_are_passed_over(nursery, tmp_path, monkeypatch, watch):
    """The two updates change no bit of values and moments, are said by name and counted in log and result, and the run goes on."""
    poisoned_gradient(monkeypatch, {1, 4}, float("nan"))
    run = Run(train(nursery.recipe(tmp_path / "run", skip_nonfinite=2)))
    ends = [*watch.before[1:], watch.after]
    assert [same(before, end) for before, end in zip(watch.before, ends, strict=True)] == [k in (1, 4) for k in range(UPDATES)]
    assert watch.steps == UPDATES - 2 and all("scale is not finite" in watch.outcomes[k].nonfinite for k in (1, 4))
    assert run.result()["skipped_updates"] == 2 and [line["skipped_updates"] for line in run.lines()] == [1, 2]
    assert all(0 < line["loss"] < 10 for line in run.lines())


@pytest.mark.faults
@pytest.mark.row("D2", "one update more than skip_nonfinite allows; all updates of an epoch; the count over a resume")
def test_the_limit_of_what_is_passed_over(nursery, tmp_path, tried):
    """The run ends with the update that is one too many, also after a resume, and with an epoch in which nothing was learned."""
    for name, at, allowed, reason in (("one", {1, 2, 4}, 2, "update 5 .*or use a smaller lr"),
                                      ("epoch", {3, 4, 5}, 9, "epoch 2: no update had a finite loss and gradient")):
        with pytest.MonkeyPatch.context() as patch:
            poisoned_gradient(patch, at, float("inf"))
            with pytest.raises(TrainingDiverged, match=reason):
                train(nursery.recipe(tmp_path / name, skip_nonfinite=allowed))
    with pytest.MonkeyPatch.context() as patch:  # the first run used up what the recipe allows
        poisoned_gradient(patch, {1, 2, 4}, float("inf"))
        with pytest.raises(TrainingDiverged, match="update 5 "):
            train(nursery.recipe(tmp_path / "one", skip_nonfinite=2), resume=True)
    tried(3)


HASHED = """
import sys; sys.path[:0] = [{tests!r}, {root!r}]
from inarch.backbones.torchvision import mend_torchvision; mend_torchvision()
from faults.test_d_numerics import state_hash
from inarch.recipe import Recipe
from inarch.train import train
for workers in {workers!r}:
    print(state_hash(train(Recipe.parse({fields!r} | {{"workers": workers, "out": {out!r} + str(workers)}}))))
"""


def state_hash(run: Path) -> str:
    """Of everything a run has learned and said: weights, losses, predictions."""
    found = Run(run)
    timeless = [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in found.lines()]
    whole = hashlib.sha256(json.dumps(timeless, sort_keys=True).encode())
    for path in (next(found.adapter.glob("*.safetensors")), found.predictions):
        whole.update(path.read_bytes())
    return whole.hexdigest()


@pytest.mark.faults
@pytest.mark.row("D4", "the same seed in this process and a fresh one, with 0, 2 and 4 processes that read the images")
def test_a_seed_is_the_whole_of_chance(nursery, tmp_path, tried):
    """Weights, losses and predictions are bit-equal, with augmentation, dropout, balanced sampling and accumulation on.

    On the same machine with the same number of threads: another number adds in another order, seen as one unit in the last place.
    """
    recipe = nursery.recipe(tmp_path / "none", epochs=1, test=False, batch_size=4, accumulate=2, augment="fgvc",
                            set={"rank": 2, "dropout": 0.3}, sampling="balanced", threads=1)
    script = HASHED.format(tests=str(ROOT / "tests"), root=str(ROOT), workers=(0, 4), fields=recipe.model_dump(),
                           out=str(tmp_path / "there"))
    child, threads = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True), torch.get_num_threads()
    try:
        said = [state_hash(train(recipe.model_copy(update={"workers": n, "out": str(tmp_path / str(n))}))) for n in (0, 2)]
        said += child.communicate()[0].split()
    finally:  # also where the watchdog ends this test
        child.kill()
        torch.set_num_threads(threads)
    assert len(said) == 4 and len(set(said)) == 1
    recipe = recipe.model_copy(update={"seed": 43, "out": str(tmp_path / "other")})
    assert state_hash(train(recipe)) != said[0]
    tried(4)


def test_every_node_of_our_own_has_its_gradient_checked():
    """The nodes of the library, and where D5 is shown for each."""
    checked = {"Thin": "test_ring_node.py", "Rescale": "test_ring_node.py", "ArcNode": "test_rebuild.py",
               "Product": "test_quantised_base.py"}
    sources = [text for path in (ROOT / "inarch").rglob("*.py") if "autograd" in (text := path.read_text())]
    classes = [node for text in sources for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    found = {node.name for node in classes if any(ast.unparse(base).endswith("Function") for base in node.bases)}
    assert found == checked.keys()
    assert all(name in (ROOT / "tests" / file).read_text() for name, file in checked.items())


@pytest.fixture(scope="module")
def hybrid() -> Backbone:
    """timm's hybrid ViT in small: behind two convolutions with batch norms, their statistics far from those of the data."""
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import HybridEmbed

    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 8, 2, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 2, 2), nn.BatchNorm2d(8))
    model = VisionTransformer(img_size=SIDE, patch_size=2, num_classes=3, embed_dim=16, depth=2, num_heads=2,
                              embed_layer=partial(HybridEmbed, backbone=stem))
    return Backbone(model.eval(), "timm:hybrid", Preprocess(SIDE), "timm", {"architecture": "hybrid"}, SIDE)


def frozen_hash(loop: Loop) -> str:
    """Of every parameter and buffer of the model that does not train."""
    whole = hashlib.sha256()
    for name, value in loop.job.model.state_dict().items():
        if name not in loop.job.trained:
            whole.update(name.encode() + value.contiguous().numpy().tobytes())
    return whole.hexdigest()


def hashes_around(recipe, patch: pytest.MonkeyPatch) -> tuple[str, str, int, int]:
    """The frozen hash before and after training; updates made; buffers of batch norms."""
    found: list = []
    real: Callable = Loop.fit

    def fit(loop: Loop) -> None:
        found.append(frozen_hash(loop))
        real(loop)
        found.extend((frozen_hash(loop), loop.state.updates, sum("running_mean" in name for name in loop.job.model.state_dict())))

    patch.setattr(Loop, "fit", fit)
    train(recipe)
    return tuple(found)


@pytest.mark.faults
@pytest.mark.row("D6", "50 updates on a frozen base with two batch norms, with and without its own noise")
@pytest.mark.parametrize("noise", [False, True])
def test_batch_norms_of_the_base_stay_where_they_are(nursery, hybrid, tmp_path, monkeypatch, noise):
    """Every frozen parameter and every running mean, variance and count is bit-equal to before."""
    monkeypatch.setattr("inarch.tasks.classification._load", lambda *_: copy.deepcopy(hybrid))
    recipe = nursery.recipe(tmp_path / "run", batch_size=2, epochs=5, backbone_noise=noise, evaluate_every=5, test=False)
    before, after, updates, buffers = hashes_around(recipe, monkeypatch)
    assert updates >= 50 and buffers == 2 and before == after


@pytest.mark.faults
@pytest.mark.row("D6", "55 updates by several methods")
def test_what_is_frozen_stays_frozen(nursery, tmp_path, tried):
    """All that a method does not train is bit-equal to before."""
    methods: dict[str, dict] = {"arc": {"rank": 2}, "bitfit": {}, "adaring": {"ranks": [1, 2], "bottleneck": 4}}
    for method, fields in methods.items():
        with pytest.MonkeyPatch.context() as patch:
            recipe = nursery.recipe(tmp_path / method, method=method, set=fields, batch_size=2, epochs=5,
                                    weight_decay=0.1, evaluate_every=5, test=False)
            before, after, updates, _ = hashes_around(recipe, patch)
        assert updates == 55 and before == after, method
    tried(len(methods))
