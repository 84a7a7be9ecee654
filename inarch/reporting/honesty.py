"""What must stand beside every number of a method: what our implementation of it was held against.

    golden           outputs and gradients of the released code, or of the library that everybody uses, are reproduced in tests
    formula          written from the equations of the paper, held against naive loops of our own and published counts
    definition       what trains is chosen, there is no mathematics to get wrong
    reconstruction   the paper could not be followed to the letter
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GOLDEN, FORMULA, DEFINITION, RECONSTRUCTION = "golden", "formula", "definition", "reconstruction"
SAID = {"adaring": "our AdaRing: a reconstruction from the abstract"}  # the paper's equations, settings and tables were not at hand


@dataclass(frozen=True)
class Origin:
    """``kind``: one of the four; ``words``: against what."""

    kind: str
    words: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.words}"


LOOPS = "naive loops in fp64 and published counts"
ORIGINS = {
    "arc": Origin(GOLDEN, "outputs and gradients of the released ViT and Swin code"),
    "vlpet": Origin(GOLDEN, "outputs and gradients of the released BART and T5 code"),
    "lora": Origin(GOLDEN, "outputs of peft's own LoRA with the same numbers"),
    "adaring": Origin(RECONSTRUCTION, "from the abstract alone, to a specification of our own; never the paper's numbers"),
    "mma": Origin(FORMULA, LOOPS),
    "clipadapter": Origin(FORMULA, LOOPS),
    "context": Origin(FORMULA, LOOPS),
    "fact": Origin(FORMULA, LOOPS),
    "bottleneck": Origin(FORMULA, LOOPS),
    "compacter": Origin(FORMULA, LOOPS),
    "hyperformer": Origin(FORMULA, LOOPS),
    "prompt": Origin(FORMULA, LOOPS),
    "addedbias": Origin(FORMULA, LOOPS),
    "adaptformer": Origin(FORMULA, LOOPS),
    "repadapter": Origin(FORMULA, LOOPS),
    "ssf": Origin(FORMULA, LOOPS),
    "vpt": Origin(FORMULA, LOOPS),
    "fullrank": Origin(DEFINITION, "a free matrix per layer, for analysis"),
    "linear": Origin(DEFINITION, "the head alone"),
    "bitfit": Origin(DEFINITION, "every bias of the base"),
    "full": Origin(DEFINITION, "everything"),
    "frozen": Origin(DEFINITION, "nothing of its own"),
}


def of(method: str) -> str:
    """By a method's name or its recipe line; nothing where there is nothing to say.

    >>> of("AdaRing(ranks=(1, 2))"), of("mma")
    ('our AdaRing: a reconstruction from the abstract', '')
    """
    return SAID.get(method.partition("(")[0].lower(), "")


PEFT = Origin("peft itself", "peft's own implementation, run through peft")
ANOTHER = Origin("another package's", "not checked here")
IN_A_LINE = {GOLDEN: "golden against released code or peft", FORMULA: "paper formula", DEFINITION: "by definition",
             RECONSTRUCTION: "reconstruction"}


def origin(name: str) -> Origin:
    """What a method of this name in a recipe was held against; ``peft:lora`` is peft's own, any other is another package's.

    >>> str(origin("houlsby")), origin("peft:vera").kind
    ('formula: naive loops in fp64 and published counts', 'peft itself')
    """
    from inarch.methods.registry import root

    name = root(name.lower())
    return PEFT if name.startswith("peft:") else ORIGINS.get(name, ANOTHER)


def told(methods: Mapping[str, str]) -> str:
    """One line for below a table; ``methods``: how each is called there -> its name in the recipe.

    >>> told({"ARC": "arc", "LoRA": "lora", "AdaRing": "adaring"})
    'provenance: golden against released code or peft: ARC, LoRA; reconstruction: AdaRing'
    """
    kinds: dict[str, list[str]] = {}
    for called, name in methods.items():
        kinds.setdefault(origin(name).kind, []).append(called)
    return "provenance: " + "; ".join(f"{IN_A_LINE.get(kind, kind)}: {', '.join(names)}" for kind, names in kinds.items())
