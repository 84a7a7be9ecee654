"""The modifications dH that VL-PET's designs can be put on, by name: one constructor ``(depth, dim, out, rank, init)`` each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from inarch.methods.bottleneck import BottleneckUpdate, Init, Update
from inarch.methods.compacter import CompacterUpdate
from inarch.methods.lora import LoraUpdate

Change = Literal["bottleneck", "compacter", "lora"]
UPDATES: dict[str, Callable[[int, int, int, int, Init], Update]] = {
    "bottleneck": BottleneckUpdate, "compacter": CompacterUpdate, "lora": LoraUpdate,
}
