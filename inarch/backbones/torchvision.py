"""The one cure for a torchvision that was built for another torch.

Next to a torch it was not compiled for, ``import torchvision`` ends in ``operator torchvision::nms does not exist``, and
timm, transformers and open_clip end with it although none of them needs that operator here. Only when this very error
occurs: forget the half-imported modules, declare the missing operators (names and types, no code), import again.
``INARCH_MEND_TORCHVISION=0`` switches the cure off.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from typing import Any

import torch

from inarch.errors import ConfigError, need

SWITCH = "INARCH_MEND_TORCHVISION"
_SYMPTOM = "torchvision::nms does not exist"
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # torch forgets the operators when the Library object dies


def mend_torchvision() -> bool:
    """Make ``import torchvision`` work where it is installed but broken; True when the cure was applied."""
    if os.environ.get(SWITCH) == "0" or "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _SYMPTOM not in str(error):
            raise
        _import_with_declared_operators()
        return True
    return False


def needed(package: str, extra: str) -> None:
    """``MissingExtra`` where the package is not installed; nothing is imported, so that it can be asked before a download."""
    if importlib.util.find_spec(package) is None:
        raise need(package, extra)


def import_library(package: str, extra: str, part: str | None = None) -> Any:
    """The package, after the cure; ``part`` is a module of it that fails early where torchvision is broken.

    ``MissingExtra`` where it is not installed, ``ConfigError`` where it is and cannot be imported; what else it misses of its own
    goes through as it is.
    """
    needed(package, extra)
    mend_torchvision()
    try:
        library = importlib.import_module(package)
        if part is not None:
            importlib.import_module(part)
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise ConfigError(f"{package} needs torchvision, which is not installed; install the one for torch {torch.__version__}") from error
    except (ImportError, RuntimeError) as error:
        raise ConfigError(f"{package} is installed but cannot be imported: {error}; where torchvision is the cause, install the "
                          f"one for this torch, uninstall it, or unset {SWITCH}") from error
    return library


def _import_with_declared_operators() -> None:
    _forget_half_imported()
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + _SCHEMA)
    _declared.append(library)
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        _forget_half_imported()
        raise ConfigError(f"torchvision {_version()} cannot be imported next to torch {torch.__version__}: {error}; "
                          "install the torchvision that belongs to this torch, or uninstall torchvision") from error
    print(f"inarch: torchvision {_version()} was built for another torch than {torch.__version__}; its compiled operators "
          f"are left out ({SWITCH}=0 switches this off)", file=sys.stderr)


def _forget_half_imported() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]


def _version() -> str:
    return importlib.metadata.version("torchvision")
