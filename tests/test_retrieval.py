"""Images and captions drawn to each other: the loss against a loop, recalls by counting, runs end to end, what the frozen model retains."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_clip
import torch
from fewshot_fixtures import NAMES, save, write_split
from test_train_resume import outcome, stopped

import inarch
from inarch.cli import main
from inarch.data.fewshot import read_captions
from inarch.errors import ConfigError, DataError
from inarch.evaluate import evaluate
from inarch.recipe import Recipe
from inarch.run import Run
from inarch.tasks.contrast import Pairs, contrastive, places, recalls
from inarch.tasks.retrieval import Retrieval, refused
from inarch.train import train

# the loss and the recalls


def test_loss_by_a_loop():
    z, right = torch.randn(5, 5, dtype=torch.float64), torch.eye(5, dtype=torch.bool)
    right[0, 3] = right[3, 0] = right[2, 4] = True  # pairs 0 and 3 share their text; image 2 has text 4 too, image 4 has not text 2
    expected = []
    for i in range(5):
        row = [z[i, j] - torch.logsumexp(z[i], 0) for j in range(5) if right[i, j]]
        column = [z[j, i] - torch.logsumexp(z[:, i], 0) for j in range(5) if right[j, i]]
        expected.append(-(sum(row) / len(row) + sum(column) / len(column)) / 2)
    assert torch.allclose(contrastive(z, right), torch.stack(expected))


def test_loss_of_pairs_that_are_all_different_is_that_of_clip():
    z = torch.randn(6, 6, dtype=torch.float64)
    rows, columns = (torch.nn.functional.cross_entropy(a, torch.arange(6)) for a in (z, z.T))
    assert torch.isclose(contrastive(z, torch.eye(6, dtype=torch.bool)).mean(), (rows + columns) / 2)


def test_equal_captions_do_not_push_each_other_away():
    """Two pairs with one text: the gradient of their cross terms is that of the right ones."""
    z = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    right = torch.eye(3, dtype=torch.bool)
    right[:2, :2] = True
    (g,) = torch.autograd.grad(contrastive(z, right).sum(), z)
    assert torch.isclose(g[0, 1], g[0, 0]) and g[0, 1] < 0 < g[0, 2]


def test_recalls_by_counting():
    torch.manual_seed(1)
    images, texts = torch.randn(30, 4), torch.randn(20, 4)
    has = torch.rand(30, 20) < 0.1
    has[torch.arange(30), torch.arange(30) % 20] = True
    found = recalls(images, texts, has)
    for k in (1, 5, 10):
        both = [(images @ texts.T, has, "image_to_text"), (texts @ images.T, has.T, "text_to_image")]
        for scores, right, way in both:
            hits = [bool(right[i][scores[i].topk(k).indices].any()) for i in range(len(scores))]
            assert found[f"{way}@{k}"] == pytest.approx(sum(hits) / len(hits))
    assert found["recall"] == pytest.approx(sum(v for key, v in found.items() if "@" in key) / 6)


def test_features_that_are_all_equal_find_nothing():
    same = torch.ones(12, 3)
    assert set(places(same, same, torch.eye(12, dtype=torch.bool)).tolist()) == {11}
    assert recalls(same, same, torch.eye(12, dtype=torch.bool))["recall"] == 0


def test_pairs_of_a_table(home):
    table = read_captions(home.data).test
    assert table is not None
    pairs = Pairs.of(table)
    assert len(pairs.texts) == len({*table.text.tolist()}) < len(table.captions)
    assert np.array_equal(pairs.has.numpy()[:, pairs.text.numpy()], table.right())
    few = Pairs.of(table, [0, 3])
    assert len(few.text) == 2 and few.has.sum() == len({(int(i), int(t)) for i, t in zip(few.image, few.text, strict=True)})


# runs


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> SimpleNamespace:
    """Captions of eight classes of pictures, some with two, many equal; a tiny backbone; a data set of the same classes."""
    folder = tmp_path_factory.mktemp("home")
    lines = []
    for number, (part, count) in enumerate((("train", 4), ("val", 2), ("test", 2))):
        for c in range(8):
            for i in range(count):
                save(folder / f"{part}-{c}-{i}.png", c, 10 * number + i)
                name = NAMES[c].replace("_", " ")
                captions = [f"a photo of a {name}", f"the {name}"][: 1 + i % 2]
                lines.append({"image": f"{part}-{c}-{i}.png", "captions": captions, "split": part})
    data = folder / "captions.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_split(folder / "other" / "shapes.json", folder / "other", classes=4, sizes={"train": 1, "val": 1, "test": 2})
    clip = f"clip:{tiny_clip.folder(folder / 'clip')}"
    return SimpleNamespace(folder=folder, data=str(data), other=str(folder / "other" / "shapes.json"), clip=clip)


def recipe(home: SimpleNamespace, out: Path, **changes) -> Recipe:
    fields = {"data": home.data, "backbone": home.clip, "protocol": "retrieval", "method": "lora", "set": {"rank": 4}, "out": str(out),
              "epochs": 4, "batch_size": 16, "lr": 0.01, "eval_batch_size": 8, "tensorboard": False, "report": False, "device": "cpu"}
    if changes.get("method", "lora") != "lora":
        fields["set"] = {}
    return Recipe.parse(fields | changes)


@pytest.fixture(scope="module")
def run(home, tmp_path_factory) -> Path:
    return train(recipe(home, tmp_path_factory.mktemp("run") / "run", transfer=[home.other], report=True))


def test_a_run_learns_and_says_what_is_retained(home, run):
    result = Run(run).result()
    lines = Run(run).lines()
    assert lines[-1]["loss"] < lines[0]["loss"] and lines[-1]["val"].keys() >= {"recall", "image_to_text@1", "text_to_image@10"}
    assert evaluate(run, "train", device="cpu")["change"]["recall"] > 0
    assert set(result["metrics"]) == {"val", "test", "shapes"} and set(result["retrieval"]) == {"val", "test", "shapes"}
    for name, told in result["retrieval"].items():
        numbers = result["metrics"][name]
        key = "accuracy" if name == "shapes" else "recall"
        assert told["metric"] == key and told["now"] == numbers[key] and told["frozen"] == numbers["frozen"][key]
        assert told["change"] == pytest.approx(told["now"] - told["frozen"])
    text = (run / "report.md").read_text()
    assert "Found again, and retained" in text and "image_to_text@5" in text
    assert (run / "report.html").is_file()


def test_what_the_frozen_model_retains_is_the_frozen_model(home, run, tmp_path):
    frozen = Run(train(recipe(home, tmp_path / "frozen", method="frozen", transfer=[home.other]))).result()["metrics"]
    for name, numbers in Run(run).result()["metrics"].items():
        assert numbers["frozen"] == frozen[name]["frozen"] == {key: frozen[name][key] for key in numbers["frozen"]}
        assert set(frozen[name]["change"].values()) == {0.0}


def test_recalls_follow_from_the_kept_predictions(run):
    with np.load(Run(run).predictions) as kept:
        has = np.zeros((len(kept["test_names"]), len(kept["test_captions"])), bool)
        has[kept["test_image"], kept["test_text"]] = True
        parts = {prefix: [torch.from_numpy(kept[f"test_{prefix}{what}"]) for what in ("images", "texts")] for prefix in ("", "frozen_")}
        logits, labels = kept["shapes_logits"], kept["shapes_labels"]
    found = Run(run).result()["metrics"]
    now, before = (recalls(*parts[prefix], torch.from_numpy(has)) for prefix in ("", "frozen_"))
    assert now == {key: found["test"][key] for key in now} and before == found["test"]["frozen"]
    assert (logits.argmax(1) == labels).mean() == found["shapes"]["accuracy"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluate_gives_the_numbers_of_the_run(run, split):
    assert evaluate(run, split, device="cpu") == Run(run).result()["metrics"][split]


def test_evaluate_on_other_data(home, run, tmp_path, capsys):
    assert evaluate(run, data=home.other, device="cpu") == Run(run).result()["metrics"]["shapes"]
    assert evaluate(run, data=home.data, device="cpu") == Run(run).result()["metrics"]["test"]
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert "text_to_image@10" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="split='novel'"):
        evaluate(run, "novel")


def test_changed_captions_are_refused(home, run, tmp_path):
    was = Path(home.data).read_text()
    try:
        Path(home.data).write_text(was.replace("the red square", "a red square"))
        with pytest.raises(DataError, match="is not the data this run was trained on"):
            evaluate(run, device="cpu")
    finally:
        Path(home.data).write_text(was)


def test_names_are_asked_for(home, run):
    predictor = inarch.Predictor(run)
    image = str(home.folder / "test-1-0.png")
    assert predictor.predict(image, names=["green square", "red star"])[0].label in ("green square", "red star")
    with pytest.raises(ConfigError, match="learned captions"):
        predictor.predict(image)


HARD = {"method": "adaring", "set": {"layers": "1:"}, "keep_scale": 0.5, "augment": "clip", "selection": "val", "epochs": 2,
        "accumulate": 2}


@pytest.mark.long
@pytest.mark.parametrize("at", [0, 2])
def test_resumed_equals_uninterrupted_bit_for_bit(home, tmp_path, at):
    whole = train(recipe(home, tmp_path / "whole", **HARD))
    again = recipe(home, tmp_path / "run", **HARD)
    assert stopped(again, at) == 130
    assert outcome(train(again, resume=True)) == outcome(whole)


@pytest.mark.long
def test_kept_parts_change_nothing(home, tmp_path):
    """Losses to 1e-6: the kept parts are computed in batches of another size."""
    common = {"set": {"layers": "2:", "rank": 2}, "keep_image": 1.0, "keep_text": 1.0, "keep_logits": 0.5, "epochs": 2}
    runs = [train(recipe(home, tmp_path / str(cached), cache_features=cached, **common)) for cached in (True, False)]
    kept, plain = ([line["loss"] for line in Run(each).lines()] for each in runs)
    assert kept == pytest.approx(plain, rel=1e-6)


def test_limit_draws_captions(home, tmp_path):
    found = Run(train(recipe(home, tmp_path / "run", method="frozen", limit=10)))
    assert found.result()["data"]["captions"] == 10 and found.result()["data"]["train"] == 32


@pytest.mark.parametrize("changes, said", [
    ({"method": "context"}, "a caption has no place for them"), ({"fit": "train+val"}, "fit and on_bad_image"),
    ({"on_bad_image": "skip"}, "fit and on_bad_image"), ({"batch_size": 1}, "batch_size=1"), ({"probe": "gates"}, "names of classes"),
    ({"backbone": "config:clip-vit-b16"}, "no tokenizer"), ({"backbone": "mini-vit"}, "needs two towers"),
    ({"transfer": ["coop:UCF101@nowhere"]}, "there is no nowhere/ucf101"),
])
def test_refused(home, tmp_path, changes, said):
    with pytest.raises((ConfigError, DataError), match=said):
        train(recipe(home, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_a_caption_that_is_too_long_is_named(home, tmp_path):
    (tmp_path / "x.png").write_bytes((home.folder / "train-0-0.png").read_bytes())
    (tmp_path / "c.jsonl").write_text(json.dumps({"image": "x.png", "caption": "red " * 30, "split": "train"}) + "\n")
    with pytest.raises(ConfigError, match="is 32 tokens long"):
        train(recipe(home, tmp_path / "run", data=str(tmp_path / "c.jsonl")))


def test_several_processes_are_refused(home, tmp_path):
    with pytest.raises(ConfigError, match="one process, not 2"):
        refused(recipe(home, tmp_path), 2)
    assert Retrieval.unit == "pairs"
