"""What a model is made of, seen quickly: its tensors, and what follows from modules, names, shapes and ties alone, learned once.

    structure(a) = structure(b)  =>  every tensor of a has the role of the tensor of b in the same place
A structure is read anew each time, since a module can be put into a model without a word; what was learned is looked up by it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from inarch import roles

_KEPT = 16  # structures at a time
Structure = tuple[Hashable, ...]


@dataclass(frozen=True)
class Learned:
    """``roles``: canonical name of every parameter of the base by its own; ``places``: which of the base's tensors it is.

    ``more``: what others have learned of the structure.
    """

    roles: dict[str, str]
    places: dict[str, int]
    more: dict[Hashable, Any] = field(default_factory=dict)

    def named(self, tensors: list[nn.Parameter]) -> dict[str, nn.Parameter]:
        """The tensors of a model of this structure by their names."""
        return {name: tensors[place] for name, place in self.places.items()}


_LEARNED: deque[tuple[Structure, Learned]] = deque(maxlen=_KEPT)  # the newest first


def learned(model: nn.Module) -> tuple[Learned, list[nn.Parameter]]:
    """What is known of a model of this structure, and the model's own tensors.

    Looked up by comparison: to hash thousands of entries takes longer than to walk the model.
    """
    structure, tensors = walk(model)
    for seen, known in tuple(_LEARNED):
        if seen == structure:
            return known, tensors
    place = {id(tensor): k for k, tensor in enumerate(tensors)}
    known = Learned(roles.canonical(model), {name: place[id(tensor)] for name, tensor in roles.base_parameters(model).items()})
    _LEARNED.appendleft((structure, known))
    return known, tensors


def walk(model: nn.Module) -> tuple[Structure, list[nn.Parameter]]:
    """The base's tensors, each once, and a value that is equal for two models of equal modules, names, shapes and ties.

    The value is flat: hundreds of small tuples would set off the garbage collector, which takes longer than all the rest.
    """
    structure: list[Any] = []
    found: list[nn.Parameter | None] = []
    modules: list[nn.Module | None] = [model]
    for module in modules:  # which grows: a level of the tree behind the other
        if module is None:
            structure.append(None)
        else:
            children = module._modules if module is not model else {n: child for n, child in module._modules.items() if n != "inarch"}
            structure += (type(module), len(module._parameters), *module._parameters, len(children), *children)
            found += module._parameters.values()
            modules += children.values()
    tensors = list({id(tensor): tensor for tensor in found if tensor is not None}.values())
    places = {id(tensor): k for k, tensor in enumerate(tensors)}
    structure += [None if tensor is None else places[id(tensor)] for tensor in found]
    for tensor in tensors:
        structure.append(tensor.dtype)
        structure += tensor.shape
    return tuple(structure), tensors
