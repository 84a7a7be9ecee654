"""Few-shot runs that take a second: a tiny two-tower backbone, eight classes of coloured shapes, recipes for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_clip
from fewshot_fixtures import write_split

from inarch.recipe import Recipe

NAMES = {"base": ("red square", "green square", "blue square", "yellow square"),
         "novel": ("red circle", "green circle", "blue circle", "yellow circle")}
METHODS: dict[str, dict[str, Any]] = {"adaring": {"layers": "1:"}, "lora": {"rank": 2, "dropout": 0.25}, "mma": {"layers": "1:"},
                                      "context": {}, "clipadapter": {}, "frozen": {}}


class Field:
    """The data ``split.json`` and the backbone ``clip`` in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, str(folder / "split.json")
        write_split(folder / "split.json", folder, classes=8, sizes={"train": 5, "val": 2, "test": 3})
        self.clip = f"clip:{tiny_clip.folder(folder / 'clip')}"

    def recipe(self, out: Path | str, method: str = "adaring", **changes: Any) -> Recipe:
        """Two epochs of three updates on two shots; ``changes`` override any field."""
        fields = {"data": self.data, "backbone": self.clip, "method": method, "set": METHODS[method], "out": str(out), "epochs": 2,
                  "shots": 2, "batch_size": 4, "lr": 0.01, "least_updates": 6, "most_updates": 6, "eval_batch_size": 8,
                  "tensorboard": False, "report": False, "device": "cpu"}
        if changes.get("recipe") == "mma":
            fields = {key: value for key, value in fields.items() if key not in ("lr", "least_updates", "most_updates", "epochs")}
        return Recipe.parse(fields | changes)

