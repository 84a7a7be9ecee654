"""What a run computes: the update against its formula, the features of a linear probe, weights, labels, record and refusals."""

import json
import math

import numpy as np
import pytest
import torch
from nursery import Nursery, arrays
from safetensors.torch import load_file
from torch.nn import functional as F

import inarch
from inarch import backbones
from inarch.data import Transform, load_splits
from inarch.errors import ConfigError, DataError
from inarch.evaluate import evaluate, rebuild
from inarch.run import Run
from inarch.tasks.classify import objective
from inarch.train import train
from inarch.training.features import lone_head
from inarch.training.feed import ImageFeed
from inarch.training.order import Order, Shards, keyed
from inarch.training.schedule import schedule
from inarch.training.update import Updater


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


def weights(run) -> dict[str, torch.Tensor]:
    return load_file(next((run / "adapter").glob("*.safetensors")))


def losses(run) -> list[float]:
    return [line["loss"] for line in Run(run).lines()]


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], rtol=tolerance, atol=tolerance) for k in a)


def moved(run) -> bool:
    return all(bool(value.abs().sum() > 0) for name, value in weights(run).items() if "bias" in name or "head" in name)


def test_a_run_equals_a_loop_written_by_hand(nursery, tmp_path):
    """Two epochs of AdamW in fp64, from the same start: order, schedule, clip, loss, decay."""
    recipe = nursery.recipe(tmp_path / "run", precision="fp64", weight_decay=0.1, clip=0.05, warmup_epochs=1)
    run = train(recipe)
    model = backbones.load(nursery.vit, classes=3, seed=recipe.seed).model.double()
    torch.manual_seed(recipe.seed)
    inarch.graft(model, recipe.method_config(), thaw="head")
    table = load_splits(nursery.data).train
    images = torch.stack([torch.from_numpy(np.array(table.image(i))) for i in range(22)]).permute(0, 3, 1, 2)
    pixels = (images / 255 * 2 - 1).double()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer, lr = torch.optim.AdamW(trained, weight_decay=0.1), schedule(0.02, 2, 1, 3)
    expected = []
    for epoch in range(2):
        order = torch.randperm(22, generator=torch.Generator().manual_seed(keyed(42, "order", epoch)))
        total = 0.0
        for k, rows in enumerate(order.split(8)):
            optimizer.param_groups[0]["lr"] = lr(3 * epoch + k)
            loss = F.cross_entropy(model(pixels[rows]).logits, torch.from_numpy(table.labels)[rows])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 0.05)
            optimizer.step()
            total += loss.item() * len(rows) / 22
        expected.append(total)
    assert losses(run) == pytest.approx(expected, rel=1e-6)  # pixels are normalised in fp32
    inarch.save(model, tmp_path / "by-hand")
    assert close(weights(run), load_file(next((tmp_path / "by-hand").glob("*.safetensors"))), 1e-5)
    assert moved(run)


@pytest.mark.parametrize("extra", [{}, {"class_weights": "balanced"}])
def test_accumulation_equals_the_large_batch(nursery, tmp_path, extra):
    """Also for the last window of an epoch, which is short, and under class weights, whose sum belongs to the window."""
    common = {"precision": "fp64", **extra}
    large = train(nursery.recipe(tmp_path / "large", batch_size=9, **common))
    small = train(nursery.recipe(tmp_path / "small", batch_size=3, accumulate=3, **common))
    assert losses(large) == pytest.approx(losses(small), rel=1e-12)
    assert close(weights(large), weights(small), 1e-12)


@pytest.mark.parametrize("extra", [{}, {"selection": "val", "class_weights": "balanced", "accumulate": 2}])
def test_cached_features_equal_the_whole_forward(nursery, tmp_path, extra):
    common = {"method": "linear", "precision": "fp64", **extra}
    cached = train(nursery.recipe(tmp_path / "cached", **common))
    whole = train(nursery.recipe(tmp_path / "whole", cache_features=False, **common))
    assert losses(cached) == pytest.approx(losses(whole), rel=1e-12)
    assert close(weights(cached), weights(whole), 1e-12)
    with np.load(cached / "predictions.npz") as a, np.load(whole / "predictions.npz") as b:
        assert np.allclose(a["test_logits"], b["test_logits"], rtol=0, atol=1e-12)


def test_the_backbone_runs_once_per_image_for_a_linear_probe(nursery, tmp_path, monkeypatch):
    from inarch.tasks import classify

    seen, real = [], backbones.logits
    monkeypatch.setattr(classify.backbones, "logits", lambda model, x: seen.append(x.dim()) or real(model, x))
    train(nursery.recipe(tmp_path / "run", method="linear", epochs=4))
    cached = 1 + math.ceil(22 / 8) + math.ceil(7 / 8)  # a first look; then train and val once, in batches of 8
    assert seen.count(4) == cached + math.ceil(7 / 8) + math.ceil(9 / 8)  # and the final scores, by the whole model


def test_features_are_not_cached_where_more_than_the_head_trains(nursery):
    for method, thaw, cached in ((inarch.Linear(), (), True), (inarch.ARC(rank=2), "head", False), (inarch.BitFit(), (), False)):
        model = backbones.load(nursery.vit, classes=3).model
        inarch.graft(model, method, thaw=thaw)
        assert (lone_head(model) is not None) == cached


def test_features_are_not_cached_where_the_head_is_not_the_end(nursery, tmp_path, monkeypatch):
    """A model that rescales its logits: the run starts behind the blocks, not at the head, and is right."""
    real = backbones.load

    def scaled(*args, **kwargs):
        found = real(*args, **kwargs)
        found.model.register_forward_hook(lambda m, a, out: type(out)(logits=out.logits * 3))
        return found

    monkeypatch.setattr(backbones, "load", scaled)
    common = {"method": "linear", "precision": "fp64"}
    a, b = (train(nursery.recipe(tmp_path / str(flag), cache_features=flag, **common)) for flag in (True, False))
    assert losses(a) == pytest.approx(losses(b), rel=1e-12) and close(weights(a), weights(b), 1e-12)
    monkeypatch.undo()
    plain = train(nursery.recipe(tmp_path / "plain", **common))
    assert losses(plain) != losses(a)  # the rescaling does matter


def test_frozen_weights_are_frozen(nursery, tmp_path):
    from inarch.fingerprint import fingerprint

    run = train(nursery.recipe(tmp_path / "run", epochs=3, backbone_noise=True))
    pristine = backbones.load(nursery.vit, classes=3).model
    trained = rebuild(run).net.model
    before = {n: p for n, p in pristine.named_parameters() if not n.startswith("classifier")}
    after = dict(trained.named_parameters())
    assert all(torch.equal(p, after[n]) for n, p in before.items())
    assert Run(run).card().fingerprint == fingerprint(pristine)
    assert moved(run)


@pytest.mark.parametrize("method", ["lora", "bitfit", "full", "fullrank"])
def test_every_method_trains_and_comes_back(nursery, tmp_path, method):
    run = train(nursery.recipe(tmp_path / "run", method=method, lr=1e-3))
    result = Run(run).result()
    assert result["count"]["trainable"] > 0 and result["method"] == method
    assert evaluate(run, device="cpu") == result["metrics"]["test"]


def test_class_weights(nursery):
    table = load_splits(nursery.data).train.pick([0, 1, 2, 3, 4, 6, 9, 12])  # 5, 2 and 1 images of the classes
    assert np.bincount(table.labels).tolist() == [5, 2, 1]
    loss = objective(table, 4, balanced=True)  # the fourth class has no image
    assert loss.weights.tolist()[:3] == pytest.approx([8 / (3 * 5), 8 / (3 * 2), 8 / (3 * 1)])
    logits, labels = torch.randn(8, 4, dtype=torch.float64), torch.from_numpy(table.labels)
    ours = loss.losses(logits, labels).sum() / loss.mass(labels)
    assert float(ours) == pytest.approx(float(F.cross_entropy(logits, labels, weight=loss.weights)))
    assert loss.mass(labels) == pytest.approx(8)
    assert loss.mass(torch.tensor([2, 2, 1])) == pytest.approx(8 / 3 + 8 / 3 + 8 / 6)


def test_balanced_sampling_draws_every_class_as_often():
    labels = np.array([0] * 90 + [1] * 9 + [2])
    draw = torch.from_numpy(1.0 / np.bincount(labels))[torch.from_numpy(labels)]
    order = Order(100, 10, 1, seed=0, draw=draw)
    drawn = np.bincount(labels[torch.cat([order.epoch(e) for e in range(60)]).numpy()])
    assert drawn.sum() == 6000 and np.abs(drawn / 2000 - 1).max() < 0.1


def test_balanced_sampling_trains(nursery, tmp_path):
    assert moved(train(nursery.recipe(tmp_path / "run", sampling="balanced")))


def test_order_is_a_permutation_dealt_out_once():
    order = Order(23, 5, 2, seed=1)
    assert order.updates == 3 and not torch.equal(order.epoch(0), order.epoch(1))
    for epoch in (0, 1):
        dealt = []
        for rank in range(3):
            shards = Shards(order, rank, 3)
            shards.place(epoch, 0)
            micros = [micro for window in shards.windows for micro in window]
            dealt += [row for micro in micros if shards.has(micro) for row in shards.mine(micro).tolist()]
            assert len(list(shards)) == len(shards) == 5  # every process makes as many passes
            assert all(rows for rows in shards)
        assert sorted(dealt) == list(range(23))


def test_several_labels_per_image(nursery, tmp_path):
    from PIL import Image

    data, rows = arrays(), ["image,label"]
    for i, image in enumerate(data["x_train"]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,{'amber' if i % 2 else 'amber;coral' if i % 3 else 'beryl'}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    fractions = {"test_fraction": 0.2, "val_fraction": 0.2}
    settings = {"multilabel": True, "class_weights": "balanced", "selection": "val"}
    recipe = nursery.recipe(tmp_path / "run", data=str(table), **settings, **fractions)
    run = train(recipe)
    result = Run(run).result()
    assert 0 <= result["metrics"]["test"]["mAP"] <= 1 and Run(run).card().multilabel
    assert evaluate(run, device="cpu") == result["metrics"]["test"]
    splits = load_splits(str(table), multilabel=True, seed=42, **fractions)
    loss = objective(splits.train, 3, balanced=True)
    positives = splits.train.labels.sum(0)
    expected = np.where(positives > 0, (len(splits.train) - positives) / np.maximum(positives, 1), 1)
    assert loss.weights.tolist() == pytest.approx(expected.tolist())
    logits, labels = torch.randn(len(splits.train), 3), torch.from_numpy(splits.train.labels)
    mean = F.binary_cross_entropy_with_logits(logits, labels, pos_weight=loss.weights.float())
    assert float(loss.losses(logits, labels).sum() / loss.mass(labels)) == pytest.approx(float(mean), rel=1e-5)
    prediction = inarch.Predictor(run).predict(tmp_path / "0.png", top_k=3)[0]
    assert sum(prediction.probabilities) != pytest.approx(1)


@pytest.mark.parametrize(("every", "scored"), [(0, []), (1, [1, 2, 3]), (2, [2, 3]), (5, [3])])
def test_validation_is_scored_as_often_as_asked_and_at_the_end_whatever_was(nursery, tmp_path, every, scored):
    run = Run(train(nursery.recipe(tmp_path / "run", epochs=3, evaluate_every=every)))
    assert [line["epoch"] for line in run.lines() if "val" in line] == scored
    assert run.result()["metrics"]["val"] == evaluate(run.folder, "val", device="cpu")


def test_selection_keeps_the_best_epoch_on_validation(nursery, tmp_path):
    run = train(nursery.recipe(tmp_path / "run", epochs=6, lr=0.3, selection="val", evaluate_every=0))
    scores = [line["val"]["accuracy"] for line in Run(run).lines()]
    result = Run(run).result()
    assert result["epoch"] == 1 + scores.index(max(scores)) and result["selection"] == "val"
    assert result["metrics"]["val"]["accuracy"] == max(scores) > scores[-1]


def test_the_last_epoch_is_reported_by_default(nursery, tmp_path):
    run = train(nursery.recipe(tmp_path / "run", epochs=6, lr=0.3))
    scores = [line["val"] for line in Run(run).lines()]
    result = Run(run).result()
    assert result["epoch"] == 6 and result["metrics"]["val"]["loss"] == pytest.approx(scores[-1]["loss"], rel=1e-6)
    assert max(s["accuracy"] for s in scores) > scores[-1]["accuracy"]  # or this test could not fail


def test_the_same_seed_gives_the_same_bits_and_another_does_not(nursery, tmp_path):
    recipe = {"set": {"rank": 2, "dropout": 0.4}, "augment": "flip"}
    a = train(nursery.recipe(tmp_path / "a", **recipe))
    torch.manual_seed(999)  # the caller's generator decides nothing
    b = train(nursery.recipe(tmp_path / "b", **recipe, workers=2))
    c = train(nursery.recipe(tmp_path / "c", **recipe, seed=7))
    digests = [json.loads((run / "adapter" / "adapter.json").read_text())["sha256"] for run in (a, b, c)]
    assert digests[0] == digests[1] != digests[2]


def test_augmentation_is_drawn_anew_in_every_epoch(nursery):
    table, transform = load_splits(nursery.data).train, Transform(backbones.load(nursery.vit).preprocess, "flip")
    feed, rows = ImageFeed(table, transform, seed=3, workers=0), [list(range(22))]
    (first, _), (second, _), (again, _) = (next(feed.batches(rows, epoch)) for epoch in (0, 1, 0))
    assert torch.equal(first, again) and not torch.equal(first, second)
    assert torch.equal(second[5], transform(table.image(5), key=(3, 1, 5)))


def test_adapters_learn_and_the_base_rests_in_every_epoch(nursery, tmp_path, monkeypatch):
    """Scoring puts the whole model in evaluation mode; the next epoch's dropout must be on again, the base's never."""
    modes, real = [], Updater.__call__

    def watching(updater, *rest):
        model = updater.job.model
        inside = {id(module) for module in model.inarch.modules()}
        modes.append((model.inarch.training, [m for m in model.modules() if id(m) not in inside and m.training]))
        return real(updater, *rest)

    monkeypatch.setattr(Updater, "__call__", watching)
    train(nursery.recipe(tmp_path / "run", set={"rank": 2, "dropout": 0.2}))
    assert modes == [(True, [])] * 6
    modes.clear()
    train(nursery.recipe(tmp_path / "noisy", backbone_noise=True))
    assert all(on and base for on, base in modes)


def test_dropout_is_drawn_anew_in_every_pass(nursery, tmp_path, monkeypatch):
    seeds, real = [], torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda seed: seeds.append(seed) or real(seed))
    train(nursery.recipe(tmp_path / "run", batch_size=4, accumulate=2))
    assert len(seeds) == len(set(seeds)) == 2 * 6  # six passes an epoch


def test_the_callers_generator_is_left_alone(nursery, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(nursery.recipe(tmp_path / "run", set={"rank": 2, "dropout": 0.4}))
    assert torch.equal(torch.rand(3), expected)


def test_a_run_leaves_a_record_that_can_be_read_back(nursery, tmp_path):
    recipe = nursery.recipe(tmp_path / "run", tensorboard=True)
    run = Run(train(recipe))
    result, card = run.result(), run.card()
    parts = {"classes": 3, "train": 22, "val": 7, "test": 9}
    assert result["data"] == {"source": nursery.data, "sha256": load_splits(nursery.data).sha256, **parts}
    assert result["count"] == card.count and card.classes == ("amber", "beryl", "coral")
    assert result["epochs"] == 2 and result["seed"] == 42 and result["seconds"] > 0 and result["hardware"] and result["finished"]
    assert run.recipe().differences(recipe) == []
    assert [line["epoch"] for line in run.lines()] == [1, 2]
    assert all({"loss", "lr", "seconds", "images_per_second", "val"} <= line.keys() for line in run.lines())
    assert list((run.folder / "tensorboard").glob("events*"))
    with np.load(run.predictions, allow_pickle=False) as found:
        assert found["test_logits"].shape == (9, 3) and found["val_names"].tolist() == [f"x_val[{i}]" for i in range(7)]
    assert result["head_bytes"] == 4 * (16 * 3 + 3)


def test_train_and_val_together_and_no_test(nursery, tmp_path):
    result = Run(train(nursery.recipe(tmp_path / "run", fit="train+val", test=False))).result()
    assert result["data"]["train"] == 29 and result["metrics"] == {}
    assert "val" not in Run(tmp_path / "run").lines()[-1]


def test_overrides_of_preprocessing_are_kept(nursery, tmp_path):
    run = train(nursery.recipe(tmp_path / "run", normalise="imagenet", resize="crop"))
    view = Run(run).card().view
    assert view.mean == (0.485, 0.456, 0.406) and view.fit == "crop"
    assert evaluate(run, device="cpu") == Run(run).result()["metrics"]["test"]


def test_mixed_precision_trains_and_scores_alike(nursery, tmp_path):
    run = train(nursery.recipe(tmp_path / "run", precision="bf16", set={"rank": 2, "dropout": 0.1}))
    assert evaluate(run, device="cpu") == Run(run).result()["metrics"]["test"]
    assert moved(run)
    assert moved(train(nursery.recipe(tmp_path / "fp32")))  # another precision in the same process


def test_impossible_machines_are_refused(nursery, tmp_path):
    for wrong, reason in (({"precision": "fp16"}, "needs a GPU"), ({"report_to": ["trackio"]}, "trackio is not installed")):
        with pytest.raises(ConfigError, match=reason):
            train(nursery.recipe(tmp_path / "run", **wrong))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="device='cuda' is not available here"):
            train(nursery.recipe(tmp_path / "run", device="cuda"))


def test_selection_without_validation_is_refused(nursery, tmp_path):
    data = arrays()
    np.savez(tmp_path / "d.npz", **{k: v for k, v in data.items() if not k.endswith("_val")})
    with pytest.raises(ConfigError, match="no validation part"):
        train(nursery.recipe(tmp_path / "run", data=str(tmp_path / "d.npz"), val_fraction=0.0, selection="val"))


@pytest.mark.row("C2", "an image truncated in the middle of a run")
def test_an_image_that_goes_bad_is_named_and_the_run_can_go_on(nursery, tmp_path):
    """`DataError` names file, epoch and index and keeps the checkpoint; with the file restored the run is resumed and ends."""
    from PIL import Image

    root = tmp_path / "images"
    for i, (image, label) in enumerate(zip(arrays()["x_train"], arrays()["y_train"], strict=True)):
        folder = root / "abc"[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    victim = next((root / "b").glob("*.png"))
    whole = victim.read_bytes()

    real = Updater.__call__

    def breaking(updater, k, *rest):
        if k == 3:
            victim.write_bytes(whole[:20])
        return real(updater, k, *rest)

    recipe = nursery.recipe(tmp_path / "run", data=str(root), augment="flip", checkpoint_every=0.0, val_fraction=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Updater, "__call__", breaking)
        with pytest.raises(DataError, match=rf"{victim.name}.*epoch 1.*resume"):
            train(recipe)
    victim.write_bytes(whole)
    assert moved(train(recipe, resume=True))
