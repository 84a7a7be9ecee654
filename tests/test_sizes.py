"""Every method that names a size grows with it, and only it."""

import dataclasses

import pytest

import inarch
from inarch import backbones
from inarch.errors import CannotGraft, ConfigError
from inarch.methods import METHODS, configured

SIZED = [name for name, kind in METHODS.items() if kind.size]


def trained(method: inarch.adapter.Method) -> int:
    """On the first of three backbones that takes it."""
    for address in ("mini-vit", "mini-clip", "mini-vl"):
        try:
            model = backbones.load(address, classes=2 if address == "mini-vit" else None, device="meta", pretrained=False).model
            return inarch.count(inarch.graft(model, method)).adapter
        except CannotGraft:
            continue
    raise AssertionError(f"no backbone here takes {method}")


@pytest.mark.parametrize("name", SIZED)
def test_a_method_grows_with_its_size(name):
    method = configured(name, {})
    field = method.size
    larger = method.resized(2 * getattr(method, field) if getattr(method, field) else 192)
    assert trained(larger) > trained(method.resized(2))
    assert {f.name for f in dataclasses.fields(method) if getattr(method, f.name) != getattr(larger, f.name)} <= {
        field, "gate_rank", "value_rank"}


def test_a_method_without_a_size_says_so():
    with pytest.raises(ConfigError, match="SSF has no field that makes it larger or smaller"):
        configured("ssf", {}).resized(3)
