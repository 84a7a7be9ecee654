"""Where a backbone's weights come from, as its own library recorded it; never a path of this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import nn

_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_IN_CACHE = re.compile(r"models--([\w.-]+?)(?:--([\w.-]+))?/snapshots/")


def source_of(model: nn.Module) -> str:
    """``google/vit-base-patch16-224``, ``timm/vit_base_patch16_224.augreg_in21k``; of several parts joined by `` + ``; "" when unknown."""
    found: dict[str, None] = {}
    for module in model.modules():
        own = vars(module)
        name = _hub(getattr(own.get("config"), "_name_or_path", None)) or _timm(own.get("pretrained_cfg"))
        if name:
            found[name] = None
    return " + ".join(found)


def _hub(name: Any) -> str:
    """A name on the hub as transformers records it; for a folder in the hub's cache, the name it was fetched under."""
    if not isinstance(name, str) or not name:
        return ""
    cached = _IN_CACHE.search(name)
    if cached:
        return "/".join(part for part in cached.groups() if part)
    return name if _HUB_NAME.fullmatch(name) and not Path(name).exists() else ""


def _timm(settings: Any) -> str:
    """timm says ``hf_hub_id`` where the weights are on the hub, else architecture and tag."""
    fields = settings if isinstance(settings, dict) else getattr(settings, "__dict__", {})
    hub, kind, tag = (fields.get(key) or "" for key in ("hf_hub_id", "architecture", "tag"))
    whole = f"{kind}.{tag}" if kind and tag else ""
    return f"{hub}{whole}" if hub.endswith("/") else hub or whole


__all__ = ["source_of"]
