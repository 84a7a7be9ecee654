"""The last part of a card: how to load what it describes with inarch, with peft, without either, in code that runs as it stands.

What is offered follows from the run itself: an adapter that folds becomes a LoRA folder and a plain model; where one does not, the
card says why.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from inarch.backbones.torchvision import import_library
from inarch.container import container_of
from inarch.errors import CannotFold
from inarch.hub.address import Address
from inarch.hub.parcel import Parcel

if TYPE_CHECKING:
    from inarch.evaluate import Rebuilt

_PREDICT = """\
from PIL import Image

import inarch

predictor = inarch.Predictor({address!r})
image = Image.new("RGB", (64, 64))                # or a path, or a folder of images
print({call})
"""
_NO_TOWER = """\
import inarch

predictor = inarch.Predictor({address!r})         # .model; it was trained on stored features, and no image tower is recorded with them
"""
_CALLS = {  # what a run can be asked, by its kind
    "classify": "predictor.predict(image)[0].label",
    "match": "predictor.predict(image)[0].label",
    "retrieve": 'predictor.predict(image, names=["a cat", "a dog"])[0].label',
    "generate": "predictor.answer({images}, {question!r}, task={task!r})[0].text",
}
_LOAD = """\
import inarch

extra = inarch.load(model, {address!r})           # model: the backbone named above
"""
_EXPORT = """\
from inarch.exports import export_run

folder, said = export_run({address!r}, {to!r})
print(said)
"""
_BRIDGE = """\
from peft import PeftModel

from inarch.peft import from_inarch

folder = from_inarch({address!r}, model, {out!r})     # model: the backbone named above
peft_model = PeftModel.from_pretrained(model, folder)
"""
_TENSORS = """\
from safetensors.torch import load_file

tensors = load_file({path})
print({{name: list(tensor.shape) for name, tensor in tensors.items()}})
"""
_FROM_HUB = "from huggingface_hub import hf_hub_download\n"


def ways(parcel: Parcel, target: Address | None) -> str:
    """The three sections; ``target`` None: the card stands in a folder, and its code runs there."""
    return "\n".join((f"## With inarch\n\n{_inarch(parcel, target)}", f"## With peft\n\n{_peft(parcel, target)}",
                      f"## Without either\n\n{_plain(parcel, target)}"))


def _where(target: Address | None) -> str:
    return "." if target is None else str(target)


def _python(code: str) -> str:
    return f"```python\n{code}```\n"


def _inarch(parcel: Parcel, target: Address | None) -> str:
    install = f"`pip install 'inarch[{'train,hub' if parcel.rebuilt else 'hub'}]'`; damage, and another backbone, are refused.\n\n"
    if parcel.rebuilt is None:
        return install + _python(_LOAD.format(address=_where(target)))
    call = _call(parcel.rebuilt)
    code = (_PREDICT if call else _NO_TOWER).format(address=_where(target), call=call)
    return (install + _python(code)
            + f"\nOn a backbone of your own: `inarch.load(model, {_where(target)!r})`. On the command line: "
              f"`inarch predict {_where(target)} IMAGES`, `inarch evaluate {_where(target)} --data YOUR-DATA`.\n")


def _call(rebuilt: Rebuilt) -> str:
    """What a run can be asked about an image; "" where it cannot look at one."""
    recipe, data = rebuilt.recipe, rebuilt.card.data
    if not recipe.generates:
        return _CALLS[recipe.kind]
    if not data["features"]["tower"]:
        return ""
    task, facts = next(iter(data["tasks"].items()))
    protocol = facts["protocol"]
    question = "" if protocol["metric"] == "cider" else "what is this ?"  # a caption takes no question
    return _CALLS[recipe.kind].format(task=task, question=question, images=f"[image] * {protocol['images']}")


def _peft(parcel: Parcel, target: Address | None) -> str:
    said, reason = [], _no_lora(parcel)
    if reason:
        said.append(f"Not as an ordinary LoRA: {reason}.\n")
    else:
        said.append("The adapter is linear in what it reads, so an ordinary LoRA folder is the same function. Made once with inarch, it "
                    "loads with `peft` alone; the script is in its `README.md`.\n\n"
                    + _python(_EXPORT.format(address=_where(target), to="lora")))
    if _bridged(parcel):
        out = f"{target.name if target else 'adapter'}-peft"
        said.append("As a PEFT adapter of its own kind, where inarch and peft are both installed:\n\n"
                    + _python(_BRIDGE.format(address=_where(target), out=out)))
    return "\n".join(said)


def _plain(parcel: Parcel, target: Address | None) -> str:
    reason = _no_plain(parcel)
    native = (f"As a plain model it cannot be written: {reason}.\n" if reason else
              "Folded in once with inarch, it is a plain model of the backbone's own library, at no cost per image:\n\n"
              + _python(_EXPORT.format(address=_where(target), to="native")))
    path = repr(parcel.weights)
    if target is not None:
        at = f", revision={target.revision!r}" if target.revision else ""
        path = f"hf_hub_download({target.repo!r}, {path}{at})"
    return (f"{native}\nThe tensors alone, with safetensors; what each name means is said in inarch's docs/format.md, and "
            "`adapter.json` has the configuration:\n\n" + _python((_FROM_HUB if target else "") + _TENSORS.format(path=path)))


def _no_lora(parcel: Parcel) -> str:
    """Why ``--to lora`` would refuse, or ""."""
    from inarch.exports.low_rank import linear_of
    from inarch.exports.stock import refuse_library
    from inarch.folding import backbone_of

    if reason := _no_run(parcel):
        return reason
    rebuilt: Any = parcel.rebuilt
    try:
        refuse_library(backbone_of(rebuilt))
        linear_of(rebuilt.net.model, container_of(rebuilt.net.model))
    except CannotFold as problem:
        return str(problem)
    return ""


def _no_plain(parcel: Parcel) -> str:
    """Why ``--to native`` would refuse, or ""."""
    from inarch.fold_plan import planned

    if reason := _no_run(parcel):
        return reason
    model = parcel.rebuilt.net.model  # type: ignore[union-attr]
    try:
        planned(model, container_of(model))
    except CannotFold as problem:
        return str(problem)
    return ""


def _no_run(parcel: Parcel) -> str:
    from inarch.exports import ours_alone

    if parcel.rebuilt is None:
        return "an adapter without its run does not say how its backbone is loaded; load it as above, then `inarch.merge(model)`"
    return ours_alone(parcel.rebuilt.recipe)


def _bridged(parcel: Parcel) -> bool:
    """Whether PEFT knows the method; not said where peft is not installed."""
    if find_spec("peft") is None:
        return False
    import_library("peft", "peft")
    from inarch.peft import CONFIGS

    return type(parcel.method) in CONFIGS


__all__ = ["ways"]
