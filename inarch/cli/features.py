"""``inarch features IMAGES``: grid features of an image tower, stored once and read in training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

QUIET_SECONDS = 30.0  # between two lines where there is no terminal


def run(
    images: Annotated[str, typer.Argument(help="Folder of images, table of paths, image-text data, or datasets/ with --tasks.")],
    tower: Annotated[str, typer.Option(metavar="ADDRESS", help="Image tower: mini-vit, open_clip:ARCH/TAG, timm:NAME, hf:NAME.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the features go; an unfinished folder is gone on with.")],
    format: Annotated[Literal["memmap", "hdf5", "h5-files"], typer.Option(help="One array, one HDF5 file, or one per image.")] = "memmap",
    dtype: Annotated[Literal["float16", "bfloat16", "float32"], typer.Option(help="Of the stored numbers.")] = "float16",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 32,
    image_size: Annotated[int | None, typer.Option(min=1, help="Side in pixels; the tower's own where left out.")] = None,
    resize: Annotated[Literal["squash", "backbone"], typer.Option(help="Whole picture to a square, or the tower's own crop.")] = "squash",
    tasks: Annotated[str, typer.Option(help="Published tasks whose images in IMAGES are wanted: vqa,gqa,nlvr,caption.")] = "",
    image_column: Annotated[str | None, typer.Option(help="Column of image paths in a table.")] = None,
    on_bad_image: Annotated[Literal["refuse", "skip"], typer.Option(help="skip leaves out up to 1 % and says which.")] = "refuse",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Run a frozen image TOWER over IMAGES and store the grid of features of each; stopped at any point, the same line goes on.

    [bold]Examples[/bold]

    inarch features pets/ --tower mini-vit --out features/pets

    inarch features questions.jsonl --tower hf:google/siglip-base-patch16-224 --out features/own

    inarch features datasets/ --tasks vqa,gqa,nlvr,caption --tower open_clip:RN101/openai --out features/rn101

    inarch features images/ --tower open_clip:RN101@RN101.safetensors --out data_clip_RN101_att --format h5-files
    """
    from inarch.backbones.eyes import load_eyes
    from inarch.features import extract, images_at

    found = images_at(images, tasks=tuple(filter(None, tasks.split(","))), image_column=image_column)
    eyes = load_eyes(tower, image_size, usable(device), resize=resize)
    try:
        with telling() as tell:
            done = extract(found, eyes, out, kind=format, dtype=dtype, batch_size=batch_size, on_bad_image=on_bad_image, tell=tell)
    except KeyboardInterrupt:
        print(f"stopped; what is in {out} is kept: run the same command again to go on")
        raise
    show(done, eyes, out)


def usable(device: str) -> str:
    """The device that is meant, if it is here."""
    import torch

    from inarch.errors import ConfigError

    here = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    if device == "auto":
        return here[1] if len(here) > 1 else "cpu"
    if device.partition(":")[0] not in here:
        raise ConfigError(f"--device {device} is not available here; usable: auto, {', '.join(here)}")
    return device


def show(done: Any, eyes: Any, out: Path) -> None:
    for image, reason in done.skipped:
        print(f"left out: {image}: {reason}")
    if not done.rows:
        print(f"{out}: all {done.before} images are there already, from the same tower; nothing was done")
        return
    before = f", {done.before} of them by an earlier run" if done.before else ""
    grid = f"{eyes.grid[0]} x {eyes.grid[1]} features of width {eyes.width} by {eyes.address}"
    print(f"{out}: {len(done.store)} images{before}, each {grid}; {done.rows / max(done.seconds, 1e-9):.1f} images/s, "
          f"sha256 {done.store.sha256[:12]}")


@contextmanager
def telling() -> Iterator[Any]:
    """A function to call as ``(what, done, total)``: a bar with rate and time left at a terminal, now and then a line elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Teller(bar, console)


class Teller:
    """Keeps the pace of each stage of the work from its first report on."""

    def __init__(self, bar: Any, console: Any) -> None:
        self.bar, self.console = bar, console
        self.task = bar.add_task("", total=None, rate="")
        self.what, self.first, self.began, self.said = "", 0, 0.0, time.perf_counter()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if what != self.what:
            self.what, self.first, self.began = what, done, now
            self.bar.reset(self.task, total=total, description=what, rate="")
        rate = (done - self.first) / (now - self.began) if now > self.began else 0.0
        self.bar.update(self.task, completed=done, rate=f"{rate:.1f} images/s")
        if not self.console.is_terminal and now - self.said >= QUIET_SECONDS:
            self.said = now
            self.console.print(line(what, done, total, rate), highlight=False, soft_wrap=True)


def line(what: str, done: int, total: int, rate: float) -> str:
    from inarch.training.progress import span

    left = f", {span((total - done) / rate)} left" if rate else ""
    return f"{what}: {done} of {total}, {rate:.1f} images/s{left}"
