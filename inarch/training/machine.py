"""Where a run computes: one accelerate engine for a CPU, a GPU or many processes, and the few exchanges between them."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from inarch.errors import ConfigError, InarchError, need
from inarch.packed import packed
from inarch.recipe import Recipe

WHOLE = frozenset({"full", "bitfit"})
LOST = ("Connection closed", "Connection reset", "Broken pipe", "timed out", "Timed out", "remote", "peer")


def accelerator(recipe: Recipe) -> Any:
    """accelerate's engine for this recipe, in the process group that the launcher made, if one did."""
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState, PartialState
    except ModuleNotFoundError as problem:
        raise need("accelerate", "train") from problem
    _check_device(recipe)
    _check_trackers(recipe)
    alone = PartialState._shared_state == {} or PartialState().num_processes == 1
    AcceleratorState._reset_state(reset_partial_state=alone)  # an earlier run of this process may have used another precision
    precision = recipe.precision if recipe.precision in ("bf16", "fp16") else "no"
    # the frozen base never changes, so its buffers need no sync; a base trained as a whole may hold tensors that nothing reads
    joined = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=recipe.method.lower() in WHOLE)
    # without a GPU accelerate joins the processes of a launcher only where it is told that they have none
    cpu = recipe.device == "cpu" or (recipe.device == "auto" and not torch.accelerator.is_available())
    return Accelerator(cpu=cpu, mixed_precision=precision, log_with=[*recipe.report_to] or None,
                       project_dir=str(recipe.folder()), kwargs_handlers=[joined])


def prepared(engine: Any, net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
    """Net and optimizer as the engine runs them; a quantised base is not sent, every process made it of the same files."""
    if stored := [name for name, parameter in net.named_parameters() if packed(parameter)]:
        nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(net, stored)
    with warnings.catch_warnings():  # the successor that torch names still sends every buffer once
        warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
        return engine.prepare(net, optimizer)


@contextlib.contextmanager
def together(engine: Any) -> Iterator[None]:
    """Work in which a process may be lost: the others end too, and say why."""
    try:
        yield
    except RuntimeError as problem:
        if engine.num_processes == 1 or not any(word in str(problem) for word in LOST):
            raise
        reason = str(problem).splitlines()[0]
        raise InarchError(f"another process of this run is gone ({reason}); see what it said above, then resume") from problem


def _check_device(recipe: Recipe) -> None:
    there = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[recipe.device]:
        usable = ", ".join(name for name, here in there.items() if here)
        raise ConfigError(f"device={recipe.device!r} is not available here; usable: {usable}")
    if recipe.precision == "fp16" and (recipe.device == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("precision='fp16' needs a GPU (its gradients are scaled there); use 'bf16' or 'fp32'")


def _check_trackers(recipe: Recipe) -> None:
    for name in recipe.report_to:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"report_to={name!r}: {name} is not installed; install it with: pip install {name}")


def total(engine: Any, *values: float) -> list[float]:
    """The sums of ``values`` over all processes, the same in each."""
    if engine.num_processes == 1:
        return [*values]
    return engine.reduce(torch.tensor(values, dtype=torch.float64, device=engine.device), reduction="sum").tolist()


def largest(engine: Any, value: int) -> int:
    """The largest ``value`` of all processes, the same in each."""
    if engine.num_processes == 1:
        return value
    return int(engine.gather(torch.tensor([value], device=engine.device)).max())


def gathered(engine: Any, rows: Tensor) -> Tensor:
    """``rows`` of every process, interleaved as they were dealt: row k of process r is row k P + r; all hold as many."""
    if engine.num_processes == 1:
        return rows
    stacked = engine.gather(rows.contiguous()).view(engine.num_processes, *rows.shape)
    return stacked.transpose(0, 1).reshape(-1, *rows.shape[1:])


@contextlib.contextmanager
def main_first(engine: Any) -> Iterator[None]:
    """What only the main process does; its error is raised in all, so that none waits for ever."""
    if engine.num_processes == 1:
        yield
        return
    from accelerate.utils import broadcast_object_list

    problem: list[BaseException | None] = [None]
    try:
        yield
    except InarchError as error:
        problem = [error]
    broadcast_object_list(problem)
    if problem[0] is not None:
        raise problem[0]


def summed_gradients(engine: Any, net: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
    """Exchange gradients in the last backward pass of an update only."""
    return contextlib.nullcontext() if last else engine.no_sync(net)
