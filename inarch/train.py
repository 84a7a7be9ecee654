"""``train``: a recipe in, a run folder out; one loop on accelerate, for a CPU, a GPU, or what ``accelerate launch`` started.

    check the recipe -> read and check the data -> load and graft -> epochs -> save the adapter -> score the test part, once
Everything that can be refused is refused before the run folder is made. A run is a function of its recipe: stopped at any update
and resumed, it ends in the same bits on the same machine and number of threads.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from inarch import provenance
from inarch.container import container_of
from inarch.data import workers_alive
from inarch.errors import ConfigError, InarchError, Incomplete
from inarch.planting import planting
from inarch.recipe import Recipe
from inarch.reporting.results import line
from inarch.run import Card, Run
from inarch.tasks.task import Start
from inarch.training import machine
from inarch.training.interrupt import Interrupted, Interrupts, Stop
from inarch.training.job import Job, prepare, refuse_changes
from inarch.training.lock import locked
from inarch.training.loop import Loop
from inarch.training.override import overridden, record, recorded
from inarch.training.progress import Progress


def train(recipe: Recipe, *, resume: bool = False, override: Collection[str] = (), console: Any = None) -> Path:
    """Train, or with ``resume`` go on training, and return the run folder.

    ``override``: fields in which a resumed ``recipe`` may differ from the run's; each change is recorded. ``console``: a rich
    Console, None for silence. Raises an ``InarchError`` before anything is written when the recipe, data or backbone is wrong;
    ``TrainingDiverged`` when loss or gradient is not finite; ``Interrupted`` (a ``SystemExit``, code 130 or 143) after Ctrl-C or
    SIGTERM, with everything kept that ``resume`` needs.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    engine = machine.accelerator(recipe)
    with torch.random.fork_rng(devices=[engine.device] if engine.device.type == "cuda" else []):
        return _train(recipe, Run(recipe.folder()), engine, resume, override, console)


def stored_recipe(run: str | Path) -> Recipe:
    """The recipe of a run folder, to resume it: ``train(stored_recipe(run), resume=True)``."""
    return Run(run).recipe()


def _train(recipe: Recipe, run: Run, engine: Any, resume: bool, override: Collection[str], console: Any) -> Path:
    progress = Progress(console if engine.is_main_process else None)
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        stored, changed = _before(run, recipe, engine, resume, override)
        if resume and run.finished and changed:
            raise ConfigError(f"{run} is finished, so nothing of it can be overridden ({'; '.join(changed)}); start a new run")
        if resume and run.finished:
            progress.say(f"{run} is finished; nothing to resume")
            return run.folder
        stack.enter_context(progress)
        job = _prepared(recipe, run, engine, stored, progress, interrupts)
        progress.unit = job.task.unit
        with machine.main_first(engine):
            if engine.is_main_process:
                _claim(run, job, stored, stack)
        with machine.together(engine), workers_alive():
            _work(engine, job, run, progress, interrupts, resume, changed)
    return run.folder


def _prepared(recipe: Recipe, run: Run, engine: Any, stored: Card | None, progress: Progress, interrupts: Interrupts) -> Job:
    """Data, backbone and graft, before anything is written."""
    try:
        with interrupts.waiting(engine.num_processes == 1):
            return prepare(Start(recipe, run, engine, stored, progress.looking()))
    except Stop:
        progress.say("stopped before training began; nothing was written")
        raise interrupts.interrupted() from None


def _before(run: Run, recipe: Recipe, engine: Any, resume: bool, override: Collection[str]) -> tuple[Card | None, list[str]]:
    """Refuse a folder in use, or a resume of what is not there or not the same; the card of the run to resume, and what is overridden."""
    if not resume:
        if override:
            raise ConfigError(f"override={sorted(override)} is for a run that is resumed; put these into the recipe")
        with machine.main_first(engine):
            if engine.is_main_process:
                run.refuse_used()
        return None, []
    if not run.card_file.exists():
        cut = "its start was cut short and nothing was trained: delete the folder, then" if run.exists else "no run.json;"
        raise Incomplete(f"{run} is not a run that can be resumed: {cut} start it without --resume")
    return run.card(), overridden(run, recipe, override)


def _claim(run: Run, job: Job, stored: Card | None, stack: ExitStack) -> None:
    """Lock the folder and, for a new run, write what it starts from."""
    if stored is not None:
        refuse_changes(stored, job.card)
    run.make()
    stack.enter_context(locked(run.folder))
    if stored is None:
        run.refuse_used()  # another process may have been faster
        run.write_recipe(job.recipe)
        run.write_card(job.card)


def _work(engine: Any, job: Job, run: Run, progress: Progress, interrupts: Interrupts, resume: bool,
          changed: list[str]) -> None:
    _announce(job, engine, progress)
    loop = Loop(engine, job, run, progress, interrupts)
    try:
        loop.prepare()
        if resume:
            loop.resume()
            _override(loop, changed)
        loop.fit()
        loop.take_best()
        found, metrics = loop.final()
    except Stop:
        loop.stop()
    if engine.is_main_process:
        _finish(loop, run, found, metrics, progress)
    engine.wait_for_everyone()


def _override(loop: Loop, changed: list[str]) -> None:
    if not changed:
        return
    if loop.state.updates > loop.total:
        raise ConfigError(f"epochs={loop.recipe.epochs} have {loop.total} updates, {loop.state.updates} are made already; give more")
    if loop.engine.is_main_process:
        record(loop.run, loop.recipe, changed, loop.state.updates)
    loop.progress.say(f"overridden after update {loop.state.updates}: {'; '.join(changed)}")


def _announce(job: Job, engine: Any, progress: Progress) -> None:
    count, data = job.card.count, job.card.data
    for note in data["notes"]:
        progress.say(f"note: {note}")
    progress.say(f"{line(job.recipe.method, job.recipe.method_config().fields())} on {job.recipe.backbone}, {engine.device}")
    progress.say(f"{count['trainable']:,} of {count['total']:,} numbers train ({count['percent']:.2f} %; "
                 f"{count['without_head']:,} without the head)")
    progress.say(job.task.about())


def _finish(loop: Loop, run: Run, found: dict[str, Any], metrics: dict[str, Any], progress: Progress) -> None:
    """Adapter, predictions, and last the result, which marks the run as finished; then the checkpoints may go."""
    job, task, card = loop.job, loop.task, loop.job.card
    extra = {"classes": [*card.classes], "preprocess": card.preprocess, "multilabel": card.multilabel,
             "backbone": card.backbone["address"]}
    planting(job.recipe.method_config()).save(job.model, run.adapter, extra)
    more = task.keep(run, found, metrics)
    overrides = recorded(run)
    run.write_result(_result(loop, run, metrics) | more | ({"overrides": overrides} if overrides else {}))
    loop.generations.clear()
    for part, numbers in metrics.items():
        progress.say(f"{part}: {'  '.join(task.said(task.scalars(numbers)))}")
    _report(job, run, progress)
    progress.say(f"run folder: {run}")


def _report(job: Job, run: Run, progress: Progress) -> None:
    """The report is made from the finished run; what goes wrong with it does not undo the run."""
    if not job.recipe.report or not run.result()["metrics"]:
        return
    try:
        job.task.report(run)
    except (InarchError, ModuleNotFoundError) as problem:
        progress.say(f"no report: {problem}")


def _result(loop: Loop, run: Run, metrics: dict[str, Any]) -> dict[str, Any]:
    job, recipe, card, engine = loop.job, loop.recipe, loop.job.card, loop.engine
    thawed = {*container_of(job.model).scion("default").thawed}
    head = sum(p.numel() * p.element_size() for name, p in job.trained.items() if name in thawed)
    best, lines = loop.state.best, run.lines()
    return {
        "format": 1, "command": provenance.command(), "recipe": _plain(recipe.model_dump()), "method": recipe.method,
        "config": recipe.method_config().fields(), "backbone": card.backbone, "count": card.count,
        "data": job.task.facts(),
        "adapter_bytes": planting(recipe.method_config()).size(run.adapter), "head_bytes": head, "metrics": metrics,
        "epochs": recipe.epochs, "epoch": best.epoch if best else recipe.epochs, "selection": recipe.selection,
        "train_loss": lines[-1]["loss"] if lines else None,  # mean of the last epoch: whether it fitted at all
        "saved_bytes": loop.kept.bytes, "saved_examples": loop.kept.examples,
        "seconds": round(loop.state.seconds, 3), "skipped_updates": loop.state.skipped, "seed": recipe.seed,
        "versions": provenance.versions(), "commit": provenance.commit(), "finished": provenance.now(),
        "hardware": provenance.hardware(str(engine.device), engine.num_processes, torch.get_num_threads()),
    }


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}


__all__ = ["Interrupted", "stored_recipe", "train"]
