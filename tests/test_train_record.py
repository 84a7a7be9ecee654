"""What a run says while it works, and to whom: bar, lines, TensorBoard, services; and the parts that need odd machines."""

import io
import os
import signal
import time

import pytest
import torch
from nursery import Nursery
from rich.console import Console

from inarch.errors import DataError, TrainingDiverged
from inarch.run import Run
from inarch.train import Interrupted, train
from inarch.training import machine
from inarch.training.feed import ImageFeed
from inarch.training.generations import Generations
from inarch.training.progress import span
from inarch.training.update import BACK_OFFS, Updater


@pytest.fixture(scope="module")
def nursery(tmp_path_factory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


def said(recipe, **console) -> str:
    file = io.StringIO()
    train(recipe, console=Console(file=file, width=150, **console))
    return file.getvalue()


def test_plain_lines_where_there_is_no_terminal(nursery, tmp_path):
    text = said(nursery.recipe(tmp_path / "run"))
    assert "187 of 7,851 numbers train (2.38 %; 136 without the head)" in text
    assert "22 train, 7 val, 9 test images of 3 classes" in text
    lines = [line for line in text.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2 and all("loss" in line and "val accuracy" in line and "images/s" in line and "left" in line for line in lines)
    assert text.splitlines()[-1] == f"run folder: {tmp_path / 'run'}" and "\x1b" not in text


def test_a_live_bar_at_a_terminal(nursery, tmp_path):
    text = said(nursery.recipe(tmp_path / "run", epochs=4), force_terminal=True)
    assert "\x1b" in text and "images/s" in text and "left" in text and "12/12" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor comes back


def test_silence_without_a_console(nursery, tmp_path, capsys):
    train(nursery.recipe(tmp_path / "run"))
    assert capsys.readouterr().out == ""


def test_span():
    assert [span(s) for s in (0.4, 59.4, 200, 7500)] == ["0 s", "59 s", "3 min 20 s", "2 h 5 min"]


def test_tensorboard_holds_every_line(nursery, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run(train(nursery.recipe(tmp_path / "run", tensorboard=True)))
    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    for key, of in (("loss", lambda line: line["loss"]), ("val/accuracy", lambda line: line["val"]["accuracy"])):
        assert [(e.step, e.value) for e in events.Scalars(key)] == [(n["epoch"], pytest.approx(of(n))) for n in run.lines()]


def test_services_get_every_line_through_accelerate(nursery, tmp_path, monkeypatch):
    """A tracker of accelerate's own kind in the place of the service."""
    from accelerate.tracking import GeneralTracker

    class Notebook(GeneralTracker):
        name, requires_logging_directory, tracker, main_process_only = "notebook", False, None, True
        config, logged, ended = {}, [], []

        def store_init_configuration(self, values):
            self.config.update(values)

        def log(self, values, step=None, **_):
            self.logged.append((step, values))

        def finish(self):
            self.ended.append(True)

    real = machine.accelerator

    def with_notebook(recipe):
        engine = real(recipe.model_copy(update={"report_to": ()}))
        engine.log_with = [Notebook()]
        return engine

    monkeypatch.setattr(machine, "accelerator", with_notebook)
    run = Run(train(nursery.recipe(tmp_path / "run", report_to=["trackio"])))
    assert Notebook.config["lr"] == 0.02 and Notebook.config["set/rank"] == 2 and Notebook.ended == [True]
    assert [step for step, _ in Notebook.logged] == [1, 2]
    assert Notebook.logged[1][1]["val/loss"] == run.lines()[1]["val"]["loss"]


@pytest.mark.long
def test_the_report_is_part_of_the_run(nursery, tmp_path):
    run = train(nursery.recipe(tmp_path / "run", report=True))
    assert "x_test[" in (run / "report.html").read_text() and (run / "report.md").exists()


def test_a_report_that_fails_does_not_undo_the_run(nursery, tmp_path, monkeypatch):
    import inarch.report

    def failing(*args, **kwargs):
        raise DataError("no ink")

    monkeypatch.setattr(inarch.report, "write_report", failing)
    assert "no report: no ink" in said(nursery.recipe(tmp_path / "run", report=True))
    assert Run(tmp_path / "run").result()["metrics"]["test"]["n"] == 9


def with_scaler(recipe):
    """The CPU engine with the gradient scaler that fp16 has on a GPU."""
    engine = machine_accelerator(recipe)
    engine.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=100)
    return engine


machine_accelerator = machine.accelerator


def overflowing(monkeypatch, at) -> None:
    """The gradient of the updates in ``at`` overflows, as fp16's does when the scale is too large."""
    real = Updater._backward

    def backward(updater, number, *rest):
        done = real(updater, number, *rest)
        if number in at:
            next(iter(updater.trained.values())).grad.mul_(float("inf")).fill_(float("inf"))
        return done

    monkeypatch.setattr(Updater, "_backward", backward)
    monkeypatch.setattr(machine, "accelerator", with_scaler)


@pytest.mark.row("D3", "an fp16 gradient that overflows")
def test_an_fp16_overflow_skips_the_update_and_lowers_the_scale(nursery, tmp_path, monkeypatch):
    """The update changes nothing, the scale is halved, and the step is counted as skipped."""
    overflowing(monkeypatch, {1})
    scales, real = [], Updater.__call__

    def watching(updater, k, *rest):
        before = [p.detach().clone() for p in updater.trained.values()]
        outcome = real(updater, k, *rest)
        changed = any(not torch.equal(a, b) for a, b in zip(before, updater.trained.values(), strict=True))
        scales.append((updater.engine.scaler.get_scale(), changed, outcome.skipped))
        return outcome

    monkeypatch.setattr(Updater, "__call__", watching)
    run = train(nursery.recipe(tmp_path / "run"))
    assert [s for s in scales] == [(1024, True, False), (512, False, True)] + [(512, True, False)] * 4
    assert Run(run).result()["skipped_updates"] == 1


def test_the_scale_is_resumed(nursery, tmp_path, monkeypatch):
    overflowing(monkeypatch, {1})
    recipe = nursery.recipe(tmp_path / "run")
    real = Updater.__call__

    def stopping(updater, k, *rest):
        outcome = real(updater, k, *rest)
        if k == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(Updater, "__call__", stopping)
        with pytest.raises(Interrupted):
            train(recipe)
    stored = Generations(tmp_path / "run" / "checkpoints").load().state["scaler"]
    assert stored["scale"] == 512
    scales = []
    monkeypatch.setattr(Updater, "__call__", lambda u, *rest: scales.append(u.engine.scaler.get_scale()) or real(u, *rest))
    train(recipe, resume=True)
    assert scales == [512, 512, 512]


@pytest.mark.row("D3", "an fp16 gradient that overflows every time")
def test_endless_overflow_is_divergence(nursery, tmp_path, monkeypatch):
    """After 25 halvings in a row the run ends as diverged."""
    overflowing(monkeypatch, range(1000))
    with pytest.raises(TrainingDiverged, match=f"overflowed {BACK_OFFS + 1} times in a row"):
        train(nursery.recipe(tmp_path / "run", epochs=20))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch tells of the death in a signal handler
def test_a_dead_data_worker_is_an_error_and_not_a_hang(nursery, tmp_path, monkeypatch):
    real = Updater.__call__

    def killing(updater, k, *rest):
        if k == 1:
            import psutil

            os.kill(psutil.Process().children()[0].pid, signal.SIGKILL)
        return real(updater, k, *rest)

    monkeypatch.setattr(Updater, "__call__", killing)
    began = time.monotonic()
    with pytest.raises(DataError, match="worker process died"):
        train(nursery.recipe(tmp_path / "run", workers=1, epochs=50, batch_size=2))
    assert time.monotonic() - began < 30
    assert not Run(tmp_path / "run").finished


def test_workers_live_as_long_as_the_run(nursery):
    from inarch import backbones
    from inarch.data import Transform, load_splits
    from inarch.training.order import Order, Shards

    feed = ImageFeed(load_splits(nursery.data).train, Transform(backbones.load(nursery.vit).preprocess), 0, workers=1)
    shards = Shards(Order(22, 8, 1, 0))
    seen = []
    for epoch in range(2):
        shards.place(epoch, 0)
        seen.append(torch.cat([labels for _, labels in feed.batches(shards, epoch)]))
        workers = feed.workers.kept[1]._iterator._workers
        seen.append(workers[0].pid)
    assert seen[1] == seen[3] and not torch.equal(seen[0], seen[2])
    assert torch.equal(seen[2], torch.from_numpy(feed.table.labels)[Order(22, 8, 1, 0).epoch(1)])


def test_a_stop_in_the_middle_of_a_decoder_is_no_bad_image(nursery, tmp_path, monkeypatch):
    """The decoder's own ``except Exception`` must not swallow it."""
    from PIL import Image

    from inarch.data import images

    files = tmp_path / "images"
    for i in range(8):
        (files / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (i * 30, 0, 0)).save(files / "ab"[i % 2] / f"{i}.png")
    real, calls = images.to_rgb, iter(range(1000))

    def interrupted(image):
        if next(calls) == 12:  # the first eight looks are the check before training
            os.kill(os.getpid(), signal.SIGTERM)
        return real(image)

    monkeypatch.setattr(images, "to_rgb", interrupted)
    with pytest.raises(Interrupted) as caught:
        train(nursery.recipe(tmp_path / "run", data=str(files), augment="flip", val_fraction=0.0))
    assert caught.value.code == 143


def test_a_stop_before_training_writes_nothing(nursery, tmp_path, monkeypatch):
    from inarch.tasks import classification

    real = classification.load_splits

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **kwargs)

    monkeypatch.setattr(classification, "load_splits", interrupted)
    file = io.StringIO()
    with pytest.raises(Interrupted) as caught:
        train(nursery.recipe(tmp_path / "run"), console=Console(file=file))
    assert caught.value.code == 130 and "nothing was written" in file.getvalue()
    assert not (tmp_path / "run").exists()
