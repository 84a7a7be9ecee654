"""Configurations that cannot be meant: keys, types and ranges of every method, and patterns that name nothing or too much."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from nursery import Nursery
from test_recipe import mutations

import inarch
from inarch import backbones
from inarch.cli import main
from inarch.errors import CannotGraft, ConfigError
from inarch.methods import METHODS
from inarch.recipe import Recipe

NAN, INF = float("nan"), float("inf")
BASE = {"data": "digits"}
BUILT = [method for method in METHODS if method not in ("linear", "bitfit", "full", "frozen")]  # the others take no fields


def fields_of(method: str) -> list[str]:
    return [field.name for field in dataclasses.fields(METHODS[method])]


def parse(method: str, **fields: object) -> Recipe:
    return Recipe.parse(BASE | {"method": method, "set": fields})


@pytest.mark.row("B1", "one letter of a method's key changed")
def test_typos_in_the_keys_of_every_method(tried) -> None:
    """`ConfigError` names the key, and the nearest known one in at least 95 % of the typos."""
    near = []
    for method in METHODS:
        known = fields_of(method)
        for key, typo in ((k, t) for k in known for t in mutations(k) if t not in known):
            with pytest.raises(ConfigError, match=f"unknown key '{typo}'") as caught:
                parse(method, **{typo: 1})
            near.append(f"did you mean '{key}'?" in str(caught.value))
    assert len(near) > 300 and sum(near) >= 0.95 * len(near)
    tried(len(near))


def options(hint: object) -> tuple[object, ...]:
    inner = get_args(hint)
    return (hint,) if get_origin(hint) in (tuple, Literal) or not inner else tuple(o for part in inner for o in options(part))


def fits(value: object, hint: object) -> bool:
    """Whether a field of this type may hold the value as TOML gives it; a lone text or number fills a list."""
    for option in options(hint):
        if get_origin(option) is Literal:
            good = any(type(value) is type(choice) and value == choice for choice in get_args(option))
        elif get_origin(option) is tuple:
            items = value if isinstance(value, list) else [value] if not isinstance(value, bool) else [None]
            item = get_args(option)[0]
            good = all(fits(one, item) or (type(one) in (int, str) and not isinstance(value, list) and written(one, item)) for one in items)
        else:
            good = type(value) in ((int, float) if option is float else (option,)) and bounded(value)
        if good:
            return True
    return False


def bounded(value: object) -> bool:
    return not isinstance(value, (int, float)) or abs(value) < 2**63  # not a number is not


def written(value: object, item: object) -> bool:
    """Whether ``--set`` would read the value as such an item: text for names, digits for whole numbers."""
    return str(value).isdigit() if item is int else item is str or str(value) in get_args(item)


VALUES = ["4", 4, 4.5, True, None, ["a"], [4], [True], [None], {"a": 1}, [["a"]], 10**400, NAN, INF]


@pytest.mark.faults
@pytest.mark.row("B2", "a value of another type in every field of every method")
def test_wrong_types_in_the_fields_of_every_method(tried) -> None:
    """`ConfigError` names the field, what was found and what was expected; nothing is coerced."""
    for method in METHODS:
        hints = get_type_hints(METHODS[method])
        for key in fields_of(method):
            for value in (v for v in VALUES if not fits(v, hints[key])):
                with pytest.raises(ConfigError, match=rf"{key}=|takes neither layers nor towers"):
                    parse(method, **{key: value})
                tried(1)


COUNT, SHARE = [0, -1], [-0.1, 1.0, 2]
RANGES = {
    "rank": COUNT, "dropout": SHARE, "expert_dropout": SHARE, "ranks": [[], [0], [-1, 2]], "bottleneck": [0, -4], "alpha": [0],
    "division": [0, -1, 5], "length": COUNT, "hidden": COUNT, "task_dim": COUNT, "projected": [1, 0, -1], "reduction": COUNT,
    "groups": [0, -1, 3], "patch": COUNT, "places": [[], ["q", "q"]], "mix": [-0.1, 1.1], "gate_rank": COUNT, "value_rank": COUNT,
    "targets": [[], ["q", "q"]], "spans": [[], ["attn", "attn"]], "tasks": [[], ["a", "a"]], "decoder": [["value", "value"]],
}
SCALES = {"adaring": [0, -1], "mma": [0, -1], "vlpet": [0, -1], "fact": [0], "adaptformer": [0], "repadapter": [0]}
LAYERS = [[], "5:5", "5:2", "-2:-3", "", "a:b", "1:2:3:4", "::0", [1, 1]]
TOWERS = [[], [""], ["vision", "vision"]]


@pytest.mark.row("B3", "a number, list or slice of a method out of its range")
@pytest.mark.parametrize("method", METHODS)
def test_ranges_of_every_method(method: str, tried) -> None:
    """`ConfigError` names the field and its range, for every number and list that a method has."""
    hints = get_type_hints(METHODS[method])
    table = RANGES | {"scale": SCALES.get(method, [])} | ({"layers": LAYERS, "towers": TOWERS} if method in BUILT else {})
    for key in fields_of(method):
        ranged = any(o in (int, float) or get_origin(o) is tuple for o in options(hints[key]))
        assert key in table or not ranged or method not in BUILT, f"{method}.{key} has a range without a test"
        for value in table.get(key, []):
            with pytest.raises(ConfigError, match=key):
                parse(method, **{key: value})
            tried(1)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Nursery:
    return Nursery(tmp_path_factory.mktemp("nursery"))


WRONG = [["--lr", "nan"], ["--lr", "inf"], ["--epochs", "0"], ["--set", "rank=0"], ["--set", "dropout=1.0"], ["--set", "dropout=NaN"],
         ["--set", "layers=[]"], ["--set", "layers=5:5"], ["--method", "lora", "--set", "alpha=NaN"], ["--set", "rnak=2"],
         ["--val-fraction", "1.0"], ["--warmup-epochs", "9", "--epochs", "3"], ["--fit", "train+val", "--selection", "val"]]


@pytest.mark.faults
@pytest.mark.row("B3", "a wrong number on the command line")
def test_nothing_is_read_or_built_before_the_recipe_is_right(monkeypatch: pytest.MonkeyPatch, tried) -> None:
    """Exit code 2 before data is read and the backbone is built."""
    reached: list[str] = []
    monkeypatch.setattr(backbones, "load", lambda *args, **options: reached.append("backbone"))
    monkeypatch.setattr("inarch.tasks.classification.load_splits", lambda *args, **options: reached.append("data"))
    for flags in WRONG:
        assert main(["train", "digits", "--backbone", "mini-vit", *flags]) == 2, flags
        tried(1)
    assert reached == []
    main(["train", "digits", "--backbone", "mini-vit", "--out", "unused"])
    assert reached == ["data"]  # the watch sees


BEYOND = [("arc", {"rank": 17}, "17"), ("lora", {"rank": 17}, "17"), ("arc", {"layers": [2]}, "layer 2"),
          ("arc", {"layers": "2:"}, "none of 2"),
          ("arc", {"layers": [0, -2]}, "twice"),
          ("arc", {"towers": ["text"]}, "text"), ("compacter", {"division": 3, "rank": 3}, "3")]


@pytest.mark.row("B3", "a rank above the width, or a layer beyond the last")
@pytest.mark.parametrize(("method", "fields", "reason"), BEYOND)
def test_what_only_the_backbone_can_tell_is_refused_before_it_is_touched(nursery: Nursery, method: str, fields: dict, reason: str) -> None:
    """`ConfigError` names what this backbone allows; the model is as it was."""
    model = backbones.load(nursery.vit).model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    with pytest.raises(ConfigError, match=reason):
        inarch.graft(model, METHODS[method].parse(fields))
    after = model.state_dict()
    assert after.keys() == before.keys() and all((after[name] == tensor).all() for name, tensor in before.items())
    assert [p.requires_grad for p in model.parameters()] == flags and not hasattr(model, "inarch")


PATTERNS = [
    ("lora", {"targets": ["qq"]}, (), r"'qq'.*q"), ("lora", {"targets": ["classifier"]}, (), "'classifier'"),
    ("lora", {"targets": ["head"]}, (), "'head'"), ("lora", {"targets": ["q", "q"]}, (), "each once"),
    ("lora", {"targets": [""]}, (), "''"), ("fact", {"targets": ["x*"]}, (), "'x"),
    ("arc", {"towers": ["visoin"]}, (), "known: vision"), ("arc", {}, ("haed",), "roles: head, norms, biases"),
    ("arc", {}, ("vit.nothing.*",), "matches no parameter"), ("arc", {}, ("text.norms",), "matches no parameter"),
    ("arc", {}, ("",), "matches no parameter"), ("arc", {}, ("projector",), "matches no parameter"),
]


@pytest.mark.row("B6", "a pattern that matches nothing, matches twice, or names the head as a target")
@pytest.mark.parametrize(("method", "fields", "thaw", "reason"), PATTERNS)
def test_patterns_that_name_nothing(nursery: Nursery, method: str, fields: dict, thaw: tuple[str, ...], reason: str) -> None:
    """`ConfigError` lists what could be meant; the model is as it was."""
    model = backbones.load(nursery.vit).model
    with pytest.raises(ConfigError, match=reason):
        inarch.graft(model, METHODS[method].parse(fields), thaw=thaw)
    assert not hasattr(model, "inarch")


@pytest.mark.row("B6", "a parameter named by a role and by a pattern")
def test_what_is_named_twice_trains_once(nursery: Nursery) -> None:
    """It trains once, as if it had been named once."""
    model = inarch.graft(backbones.load(nursery.vit).model, METHODS["arc"](rank=2), thaw=("head", "head", "classifier.*"))
    thawed = [name for name, p in model.named_parameters() if p.requires_grad and not name.startswith("inarch.")]
    assert thawed == ["classifier.weight", "classifier.bias"]
    assert inarch.container.container_of(model).scion("default").thawed == thawed


@pytest.mark.row("B4", "a method with dropout folded while it trains, and one that is no affine map")
def test_what_cannot_be_folded(nursery: Nursery) -> None:
    """`ConfigError` before a weight is written."""
    for method in (METHODS["arc"](rank=2, dropout=0.5), METHODS["bottleneck"](rank=2)):
        model = inarch.graft(backbones.load(nursery.vit).model, method).train()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with pytest.raises(ConfigError):
            inarch.merge(model)
        assert all((model.state_dict()[name] == tensor).all() for name, tensor in before.items())


def test_a_target_that_is_no_matrix_is_a_refusal_to_graft(nursery: Nursery) -> None:
    with pytest.raises(CannotGraft):
        inarch.graft(backbones.load(nursery.vit).model, METHODS["lora"](targets=("classifier",)))
