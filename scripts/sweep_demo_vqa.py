"""Which learning rate ``inarch demo vqa`` uses: by validation alone, the test part stays unseen.

    python scripts/sweep_demo_vqa.py        writes results/demo-vqa/sweep.jsonl, a line per setting; goes on where it was stopped
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RATES = (1e-3, 3e-3, 1e-2)
OUT = ROOT / "results" / "demo-vqa" / "sweep.jsonl"


def one(entry: Any, lr: float, folder: Path) -> dict[str, Any]:
    """Validation accuracy and seconds of one setting."""
    from inarch import demo_vqa
    from inarch.recipe import Recipe
    from inarch.run import Run
    from inarch.train import train

    fields = demo_vqa.recipe_fields(entry, folder, quick=False, threads=1)
    fields |= {"lr": lr, "test": False, "report": False, "out": str(folder / f"{entry.folder}-{lr}")}
    result = Run(train(Recipe.parse(fields))).result()
    return {
        "method": entry.method, "set": entry.set, "lr": lr, "epochs": result["epochs"], "seed": 0, "data": fields["data"],
        "val_exact_match": result["metrics"]["val"]["exact_match"], "seconds": result["seconds"],
        "command": "python scripts/sweep_demo_vqa.py", "data_sha256": result["data"]["sha256"], "commit": result["commit"],
    }


def main() -> None:
    from inarch import demo_vqa

    OUT.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in OUT.read_text("utf-8").splitlines()] if OUT.is_file() else []
    there = [(row["method"], row["set"], row["lr"]) for row in done]
    with tempfile.TemporaryDirectory() as folder:
        for entry in demo_vqa.ENTRIES:
            for lr in RATES:
                if (entry.method, entry.set, lr) not in there:
                    row = json.dumps(one(entry, lr, Path(folder)))
                    print(row, flush=True)
                    with OUT.open("a", encoding="utf-8") as file:
                        file.write(row + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
