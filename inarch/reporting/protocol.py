"""What a reported number must state beside itself: protocol, data, images, weights, method, counts; and how it was made.

The list is that of the paper's reproduction notes: protocol and seeds; data version; normalisation, resize rule, augmentation;
checkpoint; rank, positions, initialisation, dropout, and both counts of trained numbers.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from inarch.reporting.page import Block, Code, Table, Tile
from inarch.reporting.results import SEEN, UNKNOWN, line

if TYPE_CHECKING:
    from inarch.report import Story
    from inarch.reporting.answered import Told
    from inarch.reporting.fewshot import Retold

NONE = "–"


def stated(story: Story) -> Table:
    """The protocol, fact by fact."""
    recipe, data = story.result["recipe"], story.result["data"]
    facts = {
        "protocol": _protocol(story),
        "seed": f"{story.result['seed']}: one run; inarch compare puts several seeds together, with their range",
        "data": f"{data['source']}, sha256 {data['sha256']}",
        "images per part": f"{data['train']:,} fitted on ({recipe['fit']}), {data['val']:,} val, {data['test']:,} test",
        "images": _images(story.card.preprocess, recipe.get("augment", NONE)),
        "backbone": _backbone(story.card.backbone, known(story.mark)),
        "method": line(story.result["method"], story.result["config"], whole=True),
        "trained numbers": counts(story.result["count"]),
        "optimisation": optimisation(recipe),
    }
    notes = {f"note {i}": note for i, note in enumerate(story.card.data.get("notes", ()), 1)}
    return Table((), tuple((facts | notes).items()), (False, False))


def _protocol(story: Story) -> str:
    epochs, where = story.result["epochs"], "validation images"
    chosen = (f"no epoch was chosen: the last of {epochs} is reported" if story.result["selection"] == "none"
              else f"epoch {story.result.get('epoch', NONE)} of {epochs} was chosen by its score on {where}")
    if story.part == "test":
        return f"{chosen}; the test images were scored once, after training"
    return f"{chosen}; there was no test part, so the numbers are on {where}, which is optimistic if settings were chosen on them"


def _images(view: Mapping[str, Any], augment: str) -> str:
    size = view["size"]
    fit = (f"both sides resized to {size}" if view["fit"] == "squash"
           else f"short side resized to {view['resize'] or size}, centre {size} x {size} cut out")
    return f"{fit}, {view['interpolation']}; mean {_triple(view['mean'])}, std {_triple(view['std'])}; augmentation: {augment}"


def _triple(values: Any) -> str:
    return "/".join(f"{value:g}" for value in values)


def _backbone(backbone: Mapping[str, Any], seen: str) -> str:
    source = backbone["source"]
    told = {key: source.get(key) for key in ("revision", "licence", "sha256")}
    facts = [f"{key} {value}" for key, value in told.items() if value] + ([seen] if seen else [])
    return "; ".join([f"{backbone['address']} at {backbone['image_size']} pixels, from {backbone['library']}", *facts])


def known(mark: str) -> str:
    """What a mark says of the backbone; nothing where there is none."""
    said = {SEEN: "pre-trained on images of this set", UNKNOWN: "may have seen this set: its pre-training has no record"}
    return said.get(mark, "")


def counts(count: Mapping[str, Any]) -> str:
    return (f"{count['without_head']:,} without the head, {count['trainable']:,} with it; {count['total']:,} in the whole model "
            f"({count['percent']:.3f} % train)")


def optimisation(recipe: Mapping[str, Any]) -> str:
    keys = ("epochs", "warmup_epochs", "batch_size", "accumulate", "lr", "schedule", "weight_decay", "clip", "precision",
            "class_weights", "sampling")
    name = {"sgd": "SGD with momentum 0.9"}.get(recipe.get("optimizer", ""), "AdamW")
    return f"{name}; " + ", ".join(f"{key} {recipe[key]}" for key in keys if recipe.get(key) not in (None, "none"))


def provenance(story: Story | Told | Retold) -> tuple[Block, ...]:
    """Command, commit, versions, machine; the recipe folded away."""
    result = story.result
    facts = {
        "command": shlex.join(result["command"]),
        "commit": result.get("commit") or "not run from a checkout",
        "versions": ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "hardware": result["hardware"],
        "started, finished": f"{story.card.started}, {result['finished']}",
    }
    recipe = story.run.recipe_file.read_text(encoding="utf-8")
    return (Table((), tuple(facts.items()), (False, False)), Code("the whole recipe", recipe))


def duration(seconds: float) -> str:
    """Two digits of what takes a moment, whole seconds of what takes minutes."""
    return f"{seconds:.2g}" if seconds < 99.5 else f"{seconds:,.0f}"


def pace(result: Mapping[str, Any]) -> Tile:
    """How long a run trained."""
    seconds, epochs = result["seconds"], result["epochs"]
    return Tile("training, per epoch", f"{duration(seconds / max(epochs, 1))} s", f"{epochs} epochs, {seconds:,.0f} s in all")
