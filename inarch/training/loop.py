"""The loop: epochs of updates, a score and a log line after each, a checkpoint when it is due, a clean stop when asked."""

from __future__ import annotations

import shlex
import time
from typing import Any

import torch
from torch import nn

from inarch.container import container_of
from inarch.errors import TrainingDiverged
from inarch.run import Run
from inarch.tasks.task import Batch, Part, Sources
from inarch.training import machine
from inarch.training.generations import Generations
from inarch.training.interrupt import Interrupts, Stop
from inarch.training.job import Job
from inarch.training.kept import Kept
from inarch.training.order import Shards
from inarch.training.progress import Progress
from inarch.training.schedule import schedule
from inarch.training.state import Best, State, Tally, restore, snapshot, values
from inarch.training.trackers import Trackers
from inarch.training.update import Outcome, Updater


class Loop:
    """Trains ``job`` on ``engine`` into ``run``; ``resume`` goes on from the newest checkpoint that is whole."""

    def __init__(self, engine: Any, job: Job, run: Run, progress: Progress, interrupts: Interrupts) -> None:
        self.engine, self.job, self.run, self.progress, self.interrupts = engine, job, run, progress, interrupts
        self.recipe, self.task, self.alone = job.recipe, job.task, engine.num_processes == 1
        self.net = self.task.net(job.model.to(engine.device), self.recipe)
        self.source: Sources
        order = self.task.order()
        self.per_epoch, self.total = order.updates, order.updates * self.recipe.epochs
        self.shards = Shards(order, engine.process_index, engine.num_processes)
        self.generations, self.state = Generations(run.checkpoints, self.recipe.keep), State()
        self.saved, self.saved_at = 0, time.monotonic()  # before the first update there is nothing to save
        self.begun = False

    def prepare(self) -> None:
        """Find what feeds the training, and the optimizer; with several processes, join them."""
        recipe = self.recipe
        with self.interrupts.waiting(self.alone):
            self.source = self.task.sources(self.engine, self.net, self.progress.scoring("features"))
        if self.source.note:
            self.progress.say(self.source.note)
        if self.idle:
            return
        lr = schedule(recipe.lr, recipe.epochs, recipe.warmup(), self.per_epoch, recipe.schedule, recipe.warmup_lr)
        self.updater = Updater(self.engine, self.source.net, self.job, self.shards, lr)

    @property
    def idle(self) -> bool:
        """Nothing trains: the model is scored as it comes."""
        return not self.job.trained

    @property
    def kept(self) -> Kept:
        """What the first forward of training here kept for its backward; nothing where nothing trained."""
        return Kept() if self.idle else self.updater.kept or Kept()

    # resume

    def resume(self) -> None:
        """Go on where the newest whole checkpoint stood; from the start where there is none yet."""
        if self.idle:
            return
        found = self.generations.load()
        if found is not None:
            for note in found.notes:
                self.progress.say(f"{note}; going on from {self.generations.path(found.number).name}")
            self.state = restore(found, self.updater.trained, self.updater.moments, self.engine.scaler)
            self.saved = self.state.updates
            self.updater.spare -= self.state.nonfinite
        if self.engine.is_main_process:
            self.run.keep_lines(self.state.epochs)
        self.progress.say(f"resumed after update {self.state.updates} of {self.total}")

    # training

    def fit(self) -> None:
        """All epochs that are left; saves where it stands before a ``TrainingDiverged`` leaves it."""
        if self.idle:
            self.close()
            return
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
        for source in (self.source.feed, self.source.val):
            if source is not None:
                source.close()

    def _epoch(self) -> None:
        """The updates that are left of the epoch at hand."""
        epoch, first = self.state.epochs, self.state.updates - self.state.epochs * self.per_epoch
        windows = self.shards.place(epoch, first)
        stream = self.source.feed.batches(self.shards, epoch)
        self._learning()

        def fetch() -> Batch:
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
        if outcome.nonfinite:
            state.nonfinite += 1
            self.progress.say(f"{outcome.nonfinite}; passed over, {state.nonfinite} of {self.recipe.skip_nonfinite} that may be")
        state.seconds += seconds
        tally.add(outcome.loss, outcome.mass, outcome.images, seconds)
        self.progress.update(state.updates, f"{state.epochs + 1}/{self.recipe.epochs}", outcome.loss / (outcome.mass or 1), tally.rate)

    def _pause(self) -> None:
        """Between two updates: stop if anybody was asked to, save if it is time."""
        asked = machine.largest(self.engine, self.interrupts.caught)
        if asked:
            self.interrupts.caught = asked  # by any of the processes: all leave with its exit code
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
        if not tally.mass:
            raise TrainingDiverged(f"epoch {epoch}: no update had a finite loss and gradient, nothing was learned; use a smaller lr")
        line: dict[str, Any] = {
            "epoch": epoch, "updates": state.updates, "loss": tally.mean, "lr": self.updater.schedule(state.updates - 1),
            "seconds": round(tally.seconds, 3), "images_per_second": round(tally.rate, 1)}
        if state.skipped:
            line["skipped_updates"] = state.skipped
        if self.source.val is not None and self._due(epoch):
            metrics = self.source.val.metrics(self.found(self.source.net, self.source.val))
            line["val"] = self.task.scalars(metrics)
            self._select(epoch, self.task.headline(metrics))
        state.epochs, state.tally = epoch, Tally()
        if self.engine.is_main_process:
            self.run.log(line)
        trackers.log(line)
        self.progress.epoch(line, self.task.said(line.get("val", {})), self.recipe.epochs, state.updates, self.total)

    def _due(self, epoch: int) -> bool:
        every = 1 if self.recipe.selection == "val" else self.recipe.evaluate_every
        return every > 0 and (epoch % every == 0 or epoch == self.recipe.epochs)

    def found(self, net: nn.Module, part: Part) -> Any:
        """What ``net`` says to a part."""
        with self.interrupts.waiting(self.alone):
            return part.found(self.engine, net, self.progress.scoring(part.name))

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

    def final(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the whole net says to every part that is scored at the end, as ``evaluate`` computes it; to the main process the numbers."""
        found, metrics = {}, {}
        for part in self.task.parts():
            try:
                found[part.name] = self.found(self.net, part)
            finally:
                part.close()
            metrics[part.name] = part.metrics(found[part.name]) if self.engine.is_main_process else {}
        return found, metrics
