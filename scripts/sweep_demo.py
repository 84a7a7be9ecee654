"""Which learning rate ``inarch demo classify`` uses: by validation alone, the test part stays unseen.

    python scripts/sweep_demo.py            writes results/demo/sweep.jsonl; about three minutes on one core
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RATES = (3e-3, 1e-2, 3e-2)


def one(entry: Any, lr: float, folder: Path) -> dict[str, Any]:
    """Validation accuracy and seconds of one setting."""
    from inarch import demo
    from inarch.recipe import Recipe
    from inarch.run import Run
    from inarch.train import train

    fields = demo.recipe_fields(entry, folder / str(lr), quick=False, threads=1)
    fields |= {"lr": lr, "test": False}
    run = Run(train(Recipe.parse(fields)))
    result = run.result()
    return {
        "method": entry.method, "set": entry.set, "image_size": fields["image_size"], "lr": lr, "epochs": result["epochs"], "seed": 0,
        "val_accuracy": result["metrics"]["val"]["accuracy"], "val_loss": result["metrics"]["val"]["loss"],
        "seconds": result["seconds"], "command": "python scripts/sweep_demo.py", "data_sha256": result["data"]["sha256"],
        "commit": result["commit"],
    }


def main() -> None:
    from inarch import demo

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for entry in demo.ENTRIES:
            for lr in RATES:
                rows.append(one(entry, lr, Path(folder)))
                print(json.dumps(rows[-1]), flush=True)
    out = ROOT / "results" / "demo" / "sweep.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
