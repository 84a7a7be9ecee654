"""Runs that answer and describe: record, evaluation, resuming bit for bit, and what is refused before the first update."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from chatter import Chatter, save_features, write_lines
from safetensors.torch import load_file

import inarch
from inarch.cli import main
from inarch.data.pairs import PROTOCOLS
from inarch.errors import ConfigError, DataError, Mismatch, TrainingDiverged
from inarch.evaluate import evaluate
from inarch.recipe import Recipe
from inarch.run import Run
from inarch.tasks.task import Start
from inarch.train import Interrupted, train
from inarch.training.generations import Generations
from inarch.training.job import prepare
from inarch.training.score import Alone
from inarch.training.update import Updater

pytestmark = pytest.mark.long  # whole runs: seconds each

FOUR = ("caption", "vqa", "nlvr", "gqa")  # in no order: the released one is used
HARD = {"tasks": FOUR, "accumulate": 2, "batch_size": 3, "set": {"gate": "small", "rank": 4, "value_rank": 4}, "schedule": "linear",
        "backbone_noise": True, "decay": "no-bias", "weight_decay": 0.01, "clip": 5.0, "adam_eps": 1e-6, "selection": "val",
        "beams": 1}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """A random model never ends by itself, so that it may say little here; METEOR's Java is not on the PATH, as for many users."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        for name, protocol in PROTOCOLS.items():
            patch.setitem(PROTOCOLS, name, dataclasses.replace(protocol, max_length=6))
        yield


@pytest.fixture(scope="module")
def chatter(tmp_path_factory) -> Chatter:
    return Chatter(tmp_path_factory.mktemp("chatter"))


@pytest.fixture(scope="module")
def single(chatter, tmp_path_factory) -> Path:
    return train(chatter.recipe(tmp_path_factory.mktemp("single") / "run"))


@pytest.fixture(scope="module")
def four(chatter, tmp_path_factory) -> Path:
    return train(chatter.recipe(tmp_path_factory.mktemp("four") / "run", data=str(chatter.root), **HARD))


def outcome(run: Path) -> dict:
    """Everything a run leaves that must not depend on whether it was stopped."""
    found = Run(run)
    timeless = [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in found.lines()]
    said = {part: found.answers(part).read_bytes() for part in ("val", "test")}
    weights = json.loads((found.adapter / "adapter.json").read_text())["sha256"]
    result = found.result()
    return {"weights": weights, "lines": timeless, "said": said} | {key: result[key] for key in ("metrics", "epoch", "mean", "tasks")}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(next((run / "adapter").glob("*.safetensors")))


def test_one_task_leaves_a_record_that_can_be_read_back(chatter, single):
    run = Run(single)
    result, card = run.result(), run.card()
    assert result["data"] == {
        "source": chatter.data, "sha256": card.data["sha256"], "train": 22, "val": 7, "test": 9,
        "tasks": {"qa": {"sha256": card.data["sha256"]}},
        "features": {"sha256": card.data["features"]["sha256"], "tower": "", "width": 6, "tokens": 4}}
    assert result["tasks"] == {"qa": {"metric": "exact", "headline": "exact_match", "part": "test"}}
    test = result["metrics"]["test"]
    assert test["n"] == 9 and {name: group["n"] for name, group in test["groups"].items()} == {"long": 5, "short": 4}
    assert result["mean"] == pytest.approx(100 * test["exact_match"])
    assert [line["val"].keys() >= {"exact_match", "n"} for line in run.lines()] == [True, True]
    assert card.classes == () and card.data["tasks"]["qa"]["protocol"]["prompt"] == "vqa: "
    lines = [json.loads(line) for line in run.answers("test").read_text().splitlines()]
    assert len(lines) == 9 and all(line.keys() == {"task", "key", "images", "text", "prediction", "references", "score", "group"}
                                   for line in lines)
    assert sum(line["score"] for line in lines) / 9 == pytest.approx(test["exact_match"])
    assert run.recipe().epochs == 2 and run.recipe().thaw == ()
    assert result["count"]["trainable"] == sum(value.numel() for value in weights(single).values())


def test_several_tasks_at_once(four):
    result = Run(four).result()
    assert list(Run(four).card().data["tasks"]) == sorted(FOUR)  # JSON of ours is sorted
    test, val = result["metrics"]["test"], result["metrics"]["val"]
    assert test.keys() == {"vqa", "nlvr", "caption", "mean"} and val.keys() == {*FOUR, "mean"}
    assert {task: facts["part"] for task, facts in result["tasks"].items()} == \
        {"vqa": "test", "gqa": "val", "nlvr": "test", "caption": "test"}  # GQA is reported on testdev, its validation part
    points = [100 * test["vqa"]["vqa_accuracy"], 100 * val["gqa"]["exact_match"], 100 * test["nlvr"]["accuracy"], test["caption"]["cider"]]
    assert result["mean"] == pytest.approx(sum(points) / 4)
    assert result["data"]["train"] == 11 + 13 + 7 + 22
    updates = -(-11 // 6) + -(-13 // 10) + -(-7 // 2) + -(-22 // 4)
    assert Run(four).lines()[-1]["updates"] == 2 * updates
    said = [json.loads(line) for line in Run(four).answers("test").read_text().splitlines()]
    assert {line["prediction"] for line in said if line["task"] == "nlvr"} <= {"true", "false"}


@pytest.mark.parametrize("part", ["val", "test"])
def test_evaluate_gives_the_numbers_of_the_run(single, four, part):
    for run in (single, four):
        assert evaluate(run, part, device="cpu") == Run(run).result()["metrics"][part]


def test_evaluate_on_the_command_line(single, four, capsys):
    assert main(["evaluate", str(single)]) == 0
    assert f"exact_match {Run(single).result()['metrics']['test']['exact_match']:.4f}" in capsys.readouterr().out
    assert main(["evaluate", str(four), "--split", "val", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert all(f"{task} " in said for task in FOUR) and "mean" in said


def test_a_run_can_be_evaluated_on_other_data_of_its_kind(chatter, single, tmp_path):
    rows = [json.loads(line) for line in Path(chatter.data).read_text().splitlines()]
    for image in Path(chatter.data).parent.glob("*.png"):
        shutil.copy(image, tmp_path)
    other = write_lines(tmp_path / "other.jsonl", [row for row in rows if row["image"] != "test3.png"])
    assert evaluate(single, data=other, device="cpu")["n"] == 8
    Path(other).write_text(Path(chatter.data).read_text().replace("colour", "color"))
    moved = shutil.copytree(single, tmp_path / "run")
    recipe = (moved / "recipe.toml").read_text().replace(chatter.data, other)
    (moved / "recipe.toml").write_text(recipe)
    with pytest.raises(DataError, match="not the data this run was trained on"):
        evaluate(moved, device="cpu")


@pytest.mark.long
def test_it_learns(chatter, tmp_path):
    """A net that may change wholly tells the colours apart, from its features alone."""
    run = train(chatter.recipe(tmp_path / "run", method="full", epochs=25, lr=3e-3, batch_size=4))
    result = Run(run).result()["metrics"]["test"]
    losses = [line["loss"] for line in Run(run).lines()]
    assert losses[-1] < 0.2 * losses[0] and result["exact_match"] > 0.6


def test_only_the_adapter_and_the_projector_train(chatter, tmp_path):
    from inarch import backbones
    from inarch.evaluate import rebuild

    run = train(chatter.recipe(tmp_path / "run", method="lora", set={"rank": 2}, backbone_noise=True))
    before = dict(backbones.load(chatter.backbone, feature_width=6, visual_tokens=0, seed=42).model.named_parameters())
    after = dict(rebuild(run).net.model.named_parameters())
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert {name for name in before.keys() - same if not name.startswith("visual.")} == set()
    assert "visual.feature.weight" not in same


def test_a_method_with_something_for_every_task_is_told_the_task(chatter, tmp_path):
    settings = {"rank": 4, "tasks": ["vqa", "nlvr"], "task_dim": 8, "hidden": 8, "projected": 4}
    common = {"data": str(chatter.root), "tasks": ("vqa", "nlvr"), "method": "hyperformer", "set": settings, "epochs": 1}
    run = train(chatter.recipe(tmp_path / "run", **common))
    embedding = next(value for name, value in weights(run).items() if name.endswith("embedding"))
    start = prepare(Start(Run(run).recipe(), Run(run), Alone(torch.device("cpu")))).model
    before = next(p for name, p in start.named_parameters() if name.endswith("shared.embedding"))
    assert (embedding != before).any(1).all()  # both rows were at work
    assert evaluate(run, device="cpu") == Run(run).result()["metrics"]["test"]
    with pytest.raises(ConfigError, match="no task 'gqa'"):
        train(chatter.recipe(tmp_path / "other", **common | {"tasks": ("vqa", "gqa", "nlvr")}))


def test_decay_spares_biases(chatter, tmp_path, monkeypatch):
    seen, real = [], Updater.__call__

    def watching(updater, *rest):
        names = {id(p): name for name, p in updater.trained.items()}
        seen.append([(group["weight_decay"], group["eps"], {"bias" in names[id(p)] for p in group["params"]})
                     for group in updater.moments.param_groups])
        return real(updater, *rest)

    monkeypatch.setattr(Updater, "__call__", watching)
    train(chatter.recipe(tmp_path / "run", epochs=1, weight_decay=0.01, decay="no-bias", adam_eps=1e-6))
    assert seen[0] == [(0.01, 1e-6, {False}), (0.0, 1e-6, {True})]


def test_accumulation_equals_the_large_batch(chatter, tmp_path):
    """Where texts are padded to another length in each pass, and the loss is a mean over all tokens of the update."""
    common = {"data": str(chatter.root), "tasks": ("caption",), "precision": "fp64", "beams": 1, "epochs": 2}
    large = train(chatter.recipe(tmp_path / "large", batch_size=12, **common))  # 12 * 50 // 60 = 10 captions
    small = train(chatter.recipe(tmp_path / "small", batch_size=6, accumulate=2, **common))  # twice 5
    assert [line["loss"] for line in Run(large).lines()] == pytest.approx([line["loss"] for line in Run(small).lines()], rel=1e-10)
    x, y = weights(large), weights(small)
    assert all(torch.allclose(x[name], y[name], rtol=1e-9, atol=1e-10) for name in x)


def test_workers_change_nothing(chatter, single, tmp_path):
    assert outcome(train(chatter.recipe(tmp_path / "run", workers=1))) == outcome(single)


def test_another_seed_is_another_run(chatter, single, tmp_path):
    assert outcome(train(chatter.recipe(tmp_path / "run", seed=7)))["weights"] != outcome(single)["weights"]


def test_the_recipe_chooses_the_order(chatter, tmp_path):
    found = {}
    for seed, order in ((1, "published"), (2, "published"), (1, "seeded"), (2, "seeded")):
        recipe = chatter.recipe(tmp_path / "run", data=str(chatter.root), tasks=FOUR, data_order=order, seed=seed)
        windows = prepare(Start(recipe, Run(tmp_path / "run"), Alone(torch.device("cpu")))).task.order().windows(1)
        found[seed, order] = [torch.cat(list(window)).tolist() for window in windows]
    assert found[1, "published"] == found[2, "published"] != found[1, "seeded"] != found[2, "seeded"]


# stopped and resumed


def stop_at(recipe: Recipe, at: int, number: int = signal.SIGINT, resume: bool = False) -> int:
    real = Updater.__call__

    def making(updater, k, *rest):
        done = real(updater, k, *rest)
        if k == at:
            os.kill(os.getpid(), number)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Updater, "__call__", making)
        with pytest.raises(Interrupted) as caught:
            train(recipe, resume=resume)
    return caught.value.code


@pytest.mark.parametrize("at", [0, 7, 20])
def test_resumed_equals_uninterrupted_bit_for_bit(chatter, four, tmp_path, at):
    recipe = chatter.recipe(tmp_path / "run", data=str(chatter.root), **HARD)
    assert stop_at(recipe, at) == 130
    assert Generations(tmp_path / "run" / "checkpoints").load().state["run"]["updates"] == at + 1
    assert outcome(train(recipe, resume=True)) == outcome(four)


def test_stopped_while_it_answers_asks_again(chatter, four, tmp_path, monkeypatch):
    from inarch.tasks.generate import Generator

    recipe, real = chatter.recipe(tmp_path / "run", data=str(chatter.root), **HARD), Generator.generate

    def interrupted(net, *rest):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(net, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Generator, "generate", interrupted)
        with pytest.raises(Interrupted):
            train(recipe)
    assert Run(tmp_path / "run").lines() == []
    assert outcome(train(recipe, resume=True)) == outcome(four)


def test_resuming_with_other_data_or_features_is_refused(tmp_path):
    own = Chatter(tmp_path / "own")
    recipe = own.recipe(tmp_path / "run")
    stop_at(recipe, 1)
    before = Path(own.data).read_text()
    Path(own.data).write_text(before.replace("square", "colour", 1))
    with pytest.raises(DataError, match=r"cannot resume: data \(sha256\)"):
        train(recipe, resume=True)
    Path(own.data).write_text(before)
    save_features(Path(own.features), {"extra": torch.zeros(4, 6)})
    with pytest.raises(DataError, match=r"cannot resume: data of stored features \(sha256\)"):
        train(recipe, resume=True)
    Path(own.features, "extra.h5").unlink()
    with pytest.raises(ConfigError, match="beams: None -> 2"):
        train(own.recipe(tmp_path / "run", beams=2), resume=True)
    train(recipe, resume=True)


def test_a_loss_that_is_not_finite_names_the_examples(chatter, tmp_path, monkeypatch):
    from inarch.tasks import generation

    real, calls = generation.losses, iter(range(1000))

    def poisoned(output, targets):
        found = real(output, targets)
        return torch.where(torch.arange(len(found)) == 1, float("nan"), found) if next(calls) == 2 else found

    monkeypatch.setattr(generation, "losses", poisoned)
    with pytest.raises(TrainingDiverged, match=r"update 3 .*loss nan is not finite, from qa \d+;.*look at these examples"):
        train(chatter.recipe(tmp_path / "run"))
    assert Generations(tmp_path / "run" / "checkpoints").load().state["run"]["updates"] == 2


# what is asked, and of how much


def test_watch_and_limit(chatter, tmp_path):
    run = Run(train(chatter.recipe(tmp_path / "run", watch=3, limit=10, epochs=1)))
    assert run.lines()[0]["val"]["n"] == 3 and run.result()["metrics"]["val"]["n"] == 7
    assert run.result()["data"]["train"] == 10
    assert any("10 of 22 examples, drawn with seed 42" in note for note in run.card().data["notes"])


def test_train_and_val_together(chatter, tmp_path):
    run = Run(train(chatter.recipe(tmp_path / "run", fit="train+val", epochs=1)))
    assert run.result()["data"]["train"] == 29 and run.result()["metrics"].keys() == {"test"} and "val" not in run.lines()[0]


def test_beams_of_the_recipe_win_over_the_protocol(chatter, tmp_path, monkeypatch):
    from inarch.tasks.generate import Generator

    beams, real = [], Generator.generate
    monkeypatch.setattr(Generator, "generate", lambda net, prompt, n, *rest: beams.append(n) or real(net, prompt, n, *rest))
    train(chatter.recipe(tmp_path / "a", data=str(chatter.root), tasks=("caption",), epochs=1))
    train(chatter.recipe(tmp_path / "b", data=str(chatter.root), tasks=("caption",), epochs=1, beams=2))
    assert set(beams[: len(beams) // 2]) == {5} and set(beams[len(beams) // 2 :]) == {2}


def test_a_part_without_references_is_answered_and_not_scored(chatter, tmp_path):
    rows = [json.loads(line) for line in Path(chatter.data).read_text().splitlines()]
    for row in rows:
        if row["split"] == "test":
            del row["answers"]
    for image in Path(chatter.data).parent.glob("*.png"):
        shutil.copy(image, tmp_path)
    run = Run(train(chatter.recipe(tmp_path / "run", data=write_lines(tmp_path / "qa.jsonl", rows), epochs=1)))
    result = run.result()
    assert result["metrics"]["test"] == {"n": 0, "unscored": 9} and result["tasks"]["qa"]["part"] == "val"
    lines = [json.loads(line) for line in run.answers("test").read_text().splitlines()]
    assert len(lines) == 9 and all(line["score"] is None for line in lines)


# refused before anything is written


def test_missing_features_are_listed_wholly(tmp_path):
    own = Chatter(tmp_path / "own")
    gone = ["train3.png", "train8.png", "val1.png", "test0.png"]
    for image in gone:
        Path(own.features, f"{image}.h5").unlink()
    with pytest.raises(DataError, match="4 of 38 images have no features") as caught:
        train(own.recipe(tmp_path / "run"))
    assert all(f"{image} (qa {image.partition('.')[0].rstrip('0123456789')})" in str(caught.value) for image in gone)
    assert not (tmp_path / "run").exists()


def test_features_of_another_width_than_the_projector_are_refused(chatter, tmp_path):
    from inarch import backbones
    from inarch.backbones.vl import save

    save(backbones.load(chatter.backbone, feature_width=12, visual_tokens=0).model, tmp_path / "wide")
    with pytest.raises((ConfigError, Mismatch), match="feature_width=12, not 6"):
        train(chatter.recipe(tmp_path / "run", backbone=f"vl:{tmp_path / 'wide'}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change, reason", [
    ({"features": ""}, "needs image features: give features=FOLDER.*or tower=ADDRESS"),
    ({"features": "nowhere"}, "nowhere"),
    ({"tasks": ("vqaa",)}, "did you mean 'vqa'"),
    ({"backbone": "config:vl-bart-base", "visual_tokens": 4}, "no tokenizer"),
    ({"val_fraction": 0.0, "selection": "val", "data": "unsplit"}, "no validation part"),
])
def test_what_cannot_be_trained_is_refused(chatter, tmp_path, change, reason):
    if change.get("data") == "unsplit":
        rows = [json.loads(line) for line in Path(chatter.data).read_text().splitlines()]
        for image in Path(chatter.data).parent.glob("*.png"):
            shutil.copy(image, tmp_path)
        change = change | {"data": write_lines(tmp_path / "u.jsonl", [{k: v for k, v in row.items() if k != "split"} for row in rows])}
    with pytest.raises((ConfigError, DataError), match=reason):
        train(chatter.recipe(tmp_path / "run", **change))
    assert not (tmp_path / "run").exists()


def test_answers_that_cannot_be_said_are_refused(chatter, tmp_path):
    text = Path(chatter.data).read_text().replace('"blue": 1.0', '"mauve": 1.0')
    for image in Path(chatter.data).parent.glob("*.png"):
        shutil.copy(image, tmp_path)
    (tmp_path / "odd.jsonl").write_text(text)
    with pytest.raises(DataError, match="the tokenizer cannot write the answer 'mauve'"):
        train(chatter.recipe(tmp_path / "run", data=str(tmp_path / "odd.jsonl")))


def test_two_runs_in_one_folder(chatter, single):
    with pytest.raises(ConfigError, match="already holds a run"):
        train(chatter.recipe(single))


# features from a tower


def test_a_tower_makes_the_features_once_for_all_runs(chatter, tmp_path, monkeypatch):
    from inarch.backbones import eyes

    looked, real = [], eyes.Eyes.forward
    monkeypatch.setattr(eyes.Eyes, "forward", lambda e, pixels: looked.append(len(pixels)) or real(e, pixels))
    common = {"features": "", "tower": "mini-vit", "visual_tokens": 16, "epochs": 1, "image_size": 32}
    run = train(chatter.recipe(tmp_path / "a", **common))
    assert sum(looked) >= 38
    before = sum(looked)
    again = train(chatter.recipe(tmp_path / "b", **common, seed=3))
    assert sum(looked) - before <= 1  # one look at a black picture tells the tower's grid
    card = Run(run).card().data["features"]
    assert card["tower"] == "mini-vit" and card["origin"]["fingerprint"]
    assert card["sha256"] == Run(again).card().data["features"]["sha256"]
    assert len([p for p in tmp_path.iterdir() if p.name == "features"]) == 1
    assert evaluate(run, device="cpu") == Run(run).result()["metrics"]["test"]


def test_features_are_kept_where_the_recipe_says(chatter, tmp_path):
    common = {"features": str(tmp_path / "kept"), "tower": "mini-vit", "visual_tokens": 16, "epochs": 1, "image_size": 32}
    train(chatter.recipe(tmp_path / "a", **common))
    assert (tmp_path / "kept" / "index.json").is_file() and not (tmp_path / "features").exists()


# a new image


@pytest.fixture(scope="module")
def seeing(chatter, tmp_path_factory) -> Path:
    """A run on features of the embedded tower, with a report."""
    return train(chatter.recipe(tmp_path_factory.mktemp("seeing") / "run", features="", tower="mini-vit", visual_tokens=16, image_size=32,
                                report=True))


def test_answers_about_images_are_those_of_the_run(chatter, seeing, capsys, tmp_path):
    lines = [json.loads(line) for line in Run(seeing).answers("test").read_text().splitlines()]
    predictor, folder = inarch.Predictor(seeing), Path(chatter.data).parent
    for line in lines[:4]:
        found = predictor.answer(folder / line["images"][0], line["text"].removeprefix("vqa: "))
        assert [answer.text for answer in found] == [line["prediction"]] and found[0].question in line["text"]
    images = [str(folder / line["images"][0]) for line in lines[:2]]
    assert main(["predict", str(seeing), *images, "--question", "what colour is this ?"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and all(line.startswith(image) for line, image in zip(said, images, strict=True))
    assert main(["predict", str(seeing), *images, "--question", "what colour is this ?", "--csv", str(tmp_path / "a.csv")]) == 0
    assert (tmp_path / "a.csv").read_text().startswith("image,question,answer\n")


def test_what_cannot_be_answered_says_why(chatter, single, seeing, four, tmp_path):
    image = next(Path(chatter.data).parent.glob("*.png"))
    with pytest.raises(ConfigError, match=r"no image tower is recorded.*tower=ADDRESS"):
        inarch.Predictor(single).answer(image, "what colour is this ?")
    with pytest.raises(ConfigError, match="answers questions; give one"):
        inarch.Predictor(seeing).answer(image)
    with pytest.raises(ConfigError, match="generates text: ask it with answer"):
        inarch.Predictor(seeing).predict(image)
    with pytest.raises(ConfigError, match="did you mean 'vqa'"):
        inarch.Predictor(four).answer(image, "?", task="vqaa")
    with pytest.raises(ConfigError, match="nlvr looks at 2 images at a time; found 1"):
        inarch.Predictor(four).answer(image, "both of the square is red", task="nlvr")


def test_another_tower_is_not_looked_through(seeing, tmp_path, chatter):
    moved = Path(shutil.copytree(seeing, tmp_path / "run"))
    card = json.loads((moved / "run.json").read_text())
    card["data"]["features"]["origin"]["fingerprint"] = "0" * 64
    (moved / "run.json").write_text(json.dumps(card))
    with pytest.raises(Mismatch, match="not the tower that made the features"):
        inarch.Predictor(moved).answer(next(Path(chatter.data).parent.glob("*.png")), "what colour is this ?")


# report and table


def test_the_report_shows_pictures_with_what_was_asked_said_and_right(seeing, tmp_path):
    from inarch.report import write_report

    page = (seeing / "report.html").read_text()
    assert "Answered wrongly" in page and "what colour is this ?" in page and "says: " in page and "is: " in page
    assert page.count("data:image/png;base64") >= 9 and "exact match" in page
    moved = Path(shutil.copytree(seeing, tmp_path / "run"))
    recipe = (moved / "recipe.toml").read_text()
    (moved / "recipe.toml").write_text(recipe.replace("qa.jsonl", "gone.jsonl"))
    write_report(moved)  # the pictures are kept
    assert (moved / "report.html").read_text().count("data:image/png;base64") == page.count("data:image/png;base64")
    (moved / "pictures.npz").unlink()
    write_report(moved)
    assert "The pictures could not be drawn" in (moved / "report.html").read_text()


def test_the_report_of_several_tasks_has_texts_where_there_are_no_images(four):
    from inarch.report import write_report

    page = write_report(four).read_text()
    assert all(f"<th scope=\"row\">{task}</th>" in page for task in FOUR) and "mean of the tasks" in page
    assert "features of the images, not the images" in page
    said = (four / "report.md").read_text()
    assert "CIDEr" in said and "is: " in said


def test_a_report_of_other_answers_is_refused(seeing, tmp_path):
    from inarch.errors import Corrupt
    from inarch.report import write_report

    moved = Run(Path(shutil.copytree(seeing, tmp_path / "run")))
    lines = [json.loads(line) | {"score": 0.77} for line in moved.answers("test").read_text().splitlines()]
    write_lines(moved.answers("test"), lines)
    with pytest.raises(Corrupt, match="not of the same run"):
        write_report(moved.folder)


def test_compare_has_a_row_per_task_and_the_mean(chatter, four, tmp_path):
    from inarch.compare import compare

    other = train(chatter.recipe(tmp_path / "other", data=str(chatter.root), **HARD, seed=3))
    found = compare([four, other])
    rows = {row.data: row for row in found.rows}
    assert rows.keys() == set(FOUR) and all(row.seeds == (3, 42) for row in found.rows)
    result, second = Run(four).result(), Run(other).result()
    cider = [run["metrics"]["test"]["caption"]["cider"] for run in (result, second)]
    assert rows["caption"].mean == pytest.approx(sum(cider) / 200)
    assert rows["vqa"].of_tasks == pytest.approx((result["mean"] + second["mean"]) / 200)
    page = found.markdown()
    assert "mean of tasks" in page and "rows differ in what is measured" in page and "gqa: no test part with answers" in page
    assert "mean (4 sets)" in found.matrix_markdown()
    single_row = compare([train(chatter.recipe(tmp_path / "one", epochs=1))]).rows[0]
    assert (single_row.data, single_row.first.metric, single_row.of_tasks) == ("qa", "exact_match", None)
