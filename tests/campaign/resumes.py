"""Runs stopped and resumed at 20 points, three methods, one process and two: every loss, weight and prediction bit for bit.

    ARC      a tiny ViT, dropout, augmented images, accumulation, warm-up, the best epoch on the validation part
    AdaRing  two tiny towers, few-shot, its image transforms and losses that keep the frozen model's features
    VLPET    a tiny BART over image features, the backbone's own dropout, generated answers
One launch of two processes plays everything that two processes play.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from plays import Play, Seen, play

from inarch.backbones.torchvision import mend_torchvision
from inarch.recipe import Recipe
from inarch.run import Run

Say = Callable[[str], None]
POINTS = 20
HERE = Path(__file__).resolve().parents[1]


def recipes(folder: Path) -> dict[str, Callable[[Path], Recipe]]:
    """Name of a method -> its recipe for a run folder; each is a run of 20 updates. The data are made in ``folder`` once."""
    from chatter import Chatter
    from matching_run import Field
    from nursery import Nursery

    places = {name: folder / name for name in ("nursery", "field", "chatter")}
    for place in places.values():
        place.mkdir(parents=True)
    nursery, field, chatter = Nursery(places["nursery"]), Field(places["field"]), Chatter(places["chatter"])
    return {
        "ARC": lambda out: nursery.recipe(out, epochs=5, batch_size=3, accumulate=2, set={"rank": 2, "dropout": 0.3}, augment="fgvc",
                                          selection="val", warmup_epochs=1.5),
        "AdaRing": lambda out: field.recipe(out, epochs=2, least_updates=20, most_updates=20),
        "VLPET": lambda out: chatter.recipe(out, epochs=4, batch_size=5, backbone_noise=True),
    }


def outcome(run: Path) -> dict[str, Any]:
    """Everything that must not depend on whether the run was stopped."""
    found = Run(run)
    lines = [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in found.lines()]
    kept: dict[str, Any] = {"lines": lines, "weights": json.loads((found.adapter / "adapter.json").read_text())["sha256"]}
    for path in sorted(run.glob("predictions*")):
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                kept[path.name] = {key: arrays[key].tobytes() for key in arrays}
        else:
            kept[path.name] = path.read_text()
    return kept | {key: found.result()[key] for key in ("metrics", "epoch")}


def points(recipe: Callable[[Path], Recipe], folder: Path, first: bool = True, stops: Sequence[int] = range(POINTS)) -> dict[str, Any]:
    """Play the whole run, then stop after each update of ``stops`` (from 0) and resume; in every process of a run alike.

    ``first``: this process also compares what is left in the folder.
    """
    whole = play(Play(recipe(folder / "whole").model_dump()))
    updates = len(whole.losses)
    assert whole.ended == "finished" and updates == POINTS, (whole.ended, whole.said, updates)
    unequal = []
    for at in stops:
        fields = recipe(folder / str(at)).model_dump()
        before = play(Play(fields, event="stopped", at=at))
        after = play(Play(fields, resume=True))
        if why := _difference(whole, before, after, folder if first else None, at):
            unequal.append(f"stopped after update {at + 1}: {why}")
    return {"points": len(stops), "bit_equal": len(stops) - len(unequal), "unequal": unequal}


def _difference(whole: Seen, before: Seen, after: Seen, folder: Path | None, at: int) -> str:
    if before.ended != "Interrupted" or before.said != str(128 + signal.SIGINT) or len(before.losses) != at + 1:
        return f"it ended with {before.ended} {before.said} after {len(before.losses)} updates"
    if after.ended != "finished":
        return f"the resumed run ended with {after.ended}: {after.said}"
    if before.losses + after.losses != whole.losses:
        return "losses differ"
    if before.digests + after.digests != whole.digests:
        return "weights differ"
    if folder is not None and outcome(folder / str(at)) != outcome(folder / "whole"):
        return "adapter, scores or predictions differ"
    return ""


def ranks(folder: Path) -> None:
    """In each of two processes: all methods; what it found goes to ``found-RANK.json``."""
    rank = int(os.environ["RANK"])
    made = _shared_recipes(folder, rank)
    found = {name: points(recipe, folder / "two" / name, rank == 0) for name, recipe in made.items()}
    (folder / f"found-{rank}.json").write_text(json.dumps(found))


def _shared_recipes(folder: Path, rank: int) -> dict[str, Callable[[Path], Recipe]]:
    """The first process makes the data; the other one finds them as files."""
    ready = folder / "ready"
    if rank == 0:
        found = recipes(folder / "data")
        ready.touch()
        return found
    while not ready.exists():
        time.sleep(0.1)
    fields = {name: recipe(Path("OUT")).model_dump() for name, recipe in recipes(folder / "data of rank 1").items()}
    moved = json.loads(json.dumps(fields).replace("data of rank 1", "data"))
    return {name: (lambda out, one=one: Recipe.parse(one | {"out": str(out)})) for name, one in moved.items()}


def launched(folder: Path) -> list[dict[str, Any]]:
    """What the two processes of one launch found."""
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "campaign.resumes", str(folder)]
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    ended = subprocess.run([sys.executable, *words], env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                           capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"the two processes ended with {ended.returncode}\n{ended.stderr[-3000:]}")
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(2)]


def run(say: Say = print) -> dict[str, Any]:
    """The campaign; ``bit_equal`` of ``points``."""
    found: dict[str, Any] = {"methods": {}}
    with tempfile.TemporaryDirectory() as place:
        for name, recipe in recipes(Path(place) / "data").items():
            found["methods"][name] = {"one process": points(recipe, Path(place) / "one" / name)}
            say(f"{name}, one process: {found['methods'][name]['one process']['bit_equal']} of {POINTS} resume points bit-equal")
    with tempfile.TemporaryDirectory() as place:
        first, second = launched(Path(place))
    for name, kept in first.items():
        both = {"points": POINTS, "unequal": kept["unequal"] + [f"second process: {why}" for why in second[name]["unequal"]]}
        found["methods"][name]["two processes"] = both | {"bit_equal": min(kept["bit_equal"], second[name]["bit_equal"])}
        say(f"{name}, two processes: {found['methods'][name]['two processes']['bit_equal']} of {POINTS} resume points bit-equal")
    every = [part for method in found["methods"].values() for part in method.values()]
    return found | {"points": sum(part["points"] for part in every), "bit_equal": sum(part["bit_equal"] for part in every)}


if __name__ == "__main__":
    mend_torchvision()
    if len(sys.argv) > 1:
        ranks(Path(sys.argv[1]))
        sys.stdout.flush()
        os._exit(0)  # gloo's threads may abort a normal exit, after everything has been written
    run()
