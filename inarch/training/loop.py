"""The loop: epochs of updates, a score and a log line after each, a checkpoint when it is due, a clean stop when asked."""

from __future__ import annotations

import shlex
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from inarch.container import container_of
from inarch.errors import TrainingDiverged
from inarch.run import Run
from inarch.tasks.classify import Classifier, draw_weights, headline, objective, scalars, score
from inarch.training import machine
from inarch.training import score as scoring
from inarch.training.feed import Feed
from inarch.training.generations import Generations
from inarch.training.interrupt import Interrupts, Stop
from inarch.training.job import Job
from inarch.training.order import Order, Shards
from inarch.training.progress import Progress
from inarch.training.schedule import schedule
from inarch.training.sources import plain, sources
from inarch.training.state import Best, State, Tally, restore, snapshot, values
from inarch.training.trackers import Trackers
from inarch.training.update import Outcome, Updater


class Loop:
    """Trains ``job`` on ``engine`` into ``run``; ``resume`` goes on from the newest checkpoint that is whole."""

    def __init__(self, engine: Any, job: Job, run: Run, progress: Progress, interrupts: Interrupts) -> None:
        self.engine, self.job, self.run, self.progress, self.interrupts = engine, job, run, progress, interrupts
        self.recipe, self.alone = job.recipe, engine.num_processes == 1
        self.classifier = Classifier(job.model.to(engine.device), self.recipe.precision)
        draw = draw_weights(job.table, len(job.splits.classes)) if self.recipe.sampling == "balanced" else None
        order = Order(len(job.table), self.recipe.batch_size, self.recipe.accumulate, self.recipe.seed, draw)
        self.per_epoch, self.total = order.updates, order.updates * self.recipe.epochs
        self.shards = Shards(order, engine.process_index, engine.num_processes)
        self.generations, self.state = Generations(run.checkpoints, self.recipe.keep), State()
        self.saved, self.saved_at = 0, time.monotonic()  # before the first update there is nothing to save
        self.begun = False

    def prepare(self) -> None:
        """Find what feeds the training, and the optimizer; with several processes, join them."""
        job, recipe = self.job, self.recipe
        with self.interrupts.waiting(self.alone):
            self.source = sources(self.engine, job, self.classifier, self.progress.scoring("features"))
        loss = objective(job.table, len(job.splits.classes), recipe.class_weights == "balanced")
        lr = schedule(recipe.lr, recipe.epochs, recipe.warmup(), self.per_epoch)
        self.updater = Updater(self.engine, self.source.net, job, loss, self.shards, lr)

    # resume

    def resume(self) -> None:
        """Go on where the newest whole checkpoint stood; from the start where there is none yet."""
        found = self.generations.load()
        if found is not None:
            for note in found.notes:
                self.progress.say(f"{note}; going on from {self.generations.path(found.number).name}")
            self.state = restore(found, self.updater.trained, self.updater.moments, self.engine.scaler)
            self.saved = self.state.updates
        if self.engine.is_main_process:
            self.run.keep_lines(self.state.epochs)
        self.progress.say(f"resumed after update {self.state.updates} of {self.total}")

    # training

    def fit(self) -> None:
        """All epochs that are left; saves where it stands before a ``TrainingDiverged`` leaves it."""
        self.begun = True
        trackers = Trackers(self.engine, self.recipe, self.run, self.state.epochs)
        self.progress.begin(self.total, self.state.updates)
        try:
            while self.state.epochs < self.recipe.epochs:
                self._epoch()
                self._close_epoch(trackers)
        except TrainingDiverged:
            self.save()
            raise
        finally:
            trackers.close()
            self.close()

    def stop(self) -> None:
        """Save where it stands, and leave by ``Interrupted``."""
        if self.begun:
            self.save()
            self.progress.say(f"stopped after update {self.state.updates} of {self.total}")
        self.progress.say(f"go on with: inarch train --resume {shlex.quote(str(self.run))}")
        raise self.interrupts.interrupted()

    def close(self) -> None:
        for feed in (self.source.feed, self.source.val):
            if feed is not None:
                feed.close()

    def _epoch(self) -> None:
        """The updates that are left of the epoch at hand."""
        epoch, first = self.state.epochs, self.state.updates - self.state.epochs * self.per_epoch
        windows = self.shards.place(epoch, first)
        stream = self.source.feed.batches(self.shards, epoch)
        self._learning()

        def fetch() -> tuple[torch.Tensor, torch.Tensor]:
            with self.interrupts.waiting(self.alone):
                return next(stream)

        for window in windows:
            began = time.perf_counter()
            outcome = self.updater(self.state.updates, window, fetch)
            self._account(outcome, time.perf_counter() - began)
            self._pause()

    def _learning(self) -> None:
        """Adapters and head learn; the frozen base stays in evaluation mode unless its noise is asked for."""
        self.source.net.train(self.recipe.backbone_noise)
        container_of(self.job.model).train()
        for module in self.source.net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # its running statistics belong to the base
                module.eval()

    def _account(self, outcome: Outcome, seconds: float) -> None:
        state, tally = self.state, self.state.tally
        state.updates += 1
        state.skipped += outcome.skipped
        state.seconds += seconds
        tally.add(outcome.loss, outcome.mass, outcome.images, seconds)
        self.progress.update(state.updates, f"{state.epochs + 1}/{self.recipe.epochs}", outcome.loss / outcome.mass, tally.rate)

    def _pause(self) -> None:
        """Between two updates: stop if anybody was asked to, save if it is time."""
        asked = self.interrupts.caught if self.alone else machine.total(self.engine, self.interrupts.caught)[0]
        if asked:
            raise Stop
        if time.monotonic() - self.saved_at >= self.recipe.checkpoint_every:
            self.save()

    def save(self) -> None:
        """A checkpoint of the last update, unless there is one."""
        if self.engine.is_main_process and self.saved != self.state.updates:
            self.generations.save(*snapshot(self.state, self.updater.trained, self.updater.moments, self.engine.scaler))
        self.saved, self.saved_at = self.state.updates, time.monotonic()

    def _close_epoch(self, trackers: Trackers) -> None:
        """Score, log, and only then count the epoch as done: a stop in between scores it again."""
        state, tally, epoch = self.state, self.state.tally, self.state.epochs + 1
        line: dict[str, Any] = {
            "epoch": epoch, "updates": state.updates, "loss": tally.mean, "lr": self.updater.schedule(state.updates - 1),
            "seconds": round(tally.seconds, 3), "images_per_second": round(tally.rate, 1)}
        due = epoch % self.recipe.evaluate_every == 0 or epoch == self.recipe.epochs or self.recipe.selection == "val"
        if self.source.val is not None and due:
            line["val"] = scalars(self._score(self.source.val, "val"))
            self._select(epoch, line["val"][headline(self.job.splits.multilabel)])
        state.epochs, state.tally = epoch, Tally()
        if self.engine.is_main_process:
            self.run.log(line)
        trackers.log(line)
        self.progress.epoch(line, self.recipe.epochs, state.updates, self.total)

    def _logits(self, net: nn.Module, feed: Feed, part: str) -> np.ndarray:
        with self.interrupts.waiting(self.alone):
            return scoring.logits(self.engine, net, feed, self.recipe.eval_batch_size, part, self.progress.scoring(part))

    def _score(self, feed: Feed, part: str) -> dict[str, Any]:
        logits = self._logits(self.source.net, feed, part)
        return score(logits, feed.table.labels, self.job.splits.classes, self.job.splits.multilabel)

    def _select(self, epoch: int, metric: float) -> None:
        if self.recipe.selection == "val" and (self.state.best is None or metric > self.state.best.metric):
            self.state.best = Best(metric, epoch, values(self.updater.trained))

    # the end

    def take_best(self) -> None:
        """With ``selection="val"``: the values of the best epoch instead of the last."""
        if self.state.best is not None:
            with torch.no_grad():
                for name, parameter in self.updater.trained.items():
                    parameter.copy_(self.state.best.values[name])

    def parts(self) -> dict[str, Any]:
        """The tables that are scored at the end."""
        test = self.job.splits.test if self.recipe.test else None
        return {part: table for part, table in (("val", self.job.val), ("test", test)) if table is not None}

    def final(self, part: str, table: Any) -> np.ndarray:
        """Logits of a part by the whole model, as ``evaluate`` computes them."""
        feed = plain(self.job, table)
        try:
            return self._logits(self.classifier, feed, part)
        finally:
            feed.close()
