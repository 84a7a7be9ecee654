"""Which learning rate a demo uses: by validation alone, the test part stays unseen; a line per setting, goes on where it was stopped."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"


def sweep(name: str, entries: Sequence[Any], rates: Sequence[float], fields: Callable[[Any, Path], dict[str, Any]], metric: str) -> None:
    """Every entry at every rate, into ``results/NAME/sweep.jsonl``; ``fields``: the demo's recipe of an entry in a folder."""
    out = RESULTS / name / "sweep.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.is_file() else []
    there = [(row["method"], row["set"], row["lr"]) for row in done]
    with tempfile.TemporaryDirectory() as folder:
        for entry in entries:
            for lr in rates:
                if (entry.method, entry.set, lr) not in there:
                    row = json.dumps(_one(name, entry, lr, fields(entry, Path(folder)), metric))
                    print(row, flush=True)
                    with out.open("a", encoding="utf-8") as file:
                        file.write(row + "\n")


def _one(name: str, entry: Any, lr: float, fields: dict[str, Any], metric: str) -> dict[str, Any]:
    """Validation score and seconds of one setting."""
    from inarch.recipe import Recipe
    from inarch.run import Run
    from inarch.train import train

    fields |= {"lr": lr, "test": False, "report": False, "out": f"{fields['out']}-{lr}"}
    result = Run(train(Recipe.parse(fields))).result()
    return {
        "method": entry.method, "set": entry.set, "lr": lr, "epochs": result["epochs"], "seed": fields["seed"], "data": fields["data"],
        f"val_{metric}": result["metrics"]["val"][metric], "val_loss": result["metrics"]["val"].get("loss"), "seconds": result["seconds"],
        "command": f"python scripts/sweep_{name.replace('-', '_')}.py", "data_sha256": result["data"]["sha256"], "commit": result["commit"],
    }
