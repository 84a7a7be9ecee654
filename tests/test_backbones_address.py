"""The grammar of addresses: what is accepted comes back canonical, what is not is refused with the nearest known word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inarch import backbones
from inarch.backbones.address import Address, parse
from inarch.backbones.backbone import Wish
from inarch.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:google/vit-base-patch16-224-in21k", Address("hf", "google/vit-base-patch16-224-in21k")),
        ("hf:org/name@0123abc", Address("hf", "org/name", "0123abc")),
        ("timm:vit_tiny_patch16_224.augreg_in21k", Address("timm", "vit_tiny_patch16_224.augreg_in21k")),
        ("timm:vit_tiny_patch16_224@a/b c.safetensors", Address("timm", "vit_tiny_patch16_224", "a/b c.safetensors")),
        ("open_clip:ViT-B-32/openai", Address("open_clip", "ViT-B-32/openai")),
        ("config:vit-b16", Address("config", "vit-b16")),
        ("config:vit-b16@3", Address("config", "vit-b16", "3")),
        ("npz:ViT-B_16.npz", Address("npz", "ViT-B_16.npz")),
        ("google:/x/ViT-B_16.npz", Address("npz", "/x/ViT-B_16.npz")),
        ("mini-vit", Address("embedded", "mini-vit")),
    ],
)
def test_an_address_parses_and_its_text_parses_to_the_same(text: str, expected: Address) -> None:
    assert parse(text) == expected
    assert parse(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("hff:x", "did you mean 'hf'"),
        ("tim:vit_tiny_patch16_224", "did you mean 'timm'"),
        ("minivit", "did you mean 'mini-vit'"),
        ("vit_tiny_patch16_224", "timm:NAME"),
        ("hf:", "nothing after 'hf:'"),
        ("timm:name@", "timm:NAME@FILE"),
        ("./no-such-folder", "no backbone folder"),
        ("hf:./no-such-folder", "no backbone folder"),
        ("", "no backbone ''"),
    ],
)
def test_what_is_no_address_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        parse(text)


@pytest.mark.parametrize(
    ("file", "fields", "scheme"),
    [
        ("config.json", {"model_type": "vit", "architecture": "also"}, "hf"),
        ("config.json", {"architecture": "test_vit"}, "timm"),
        ("open_clip_config.json", {"model_cfg": {}}, "open_clip"),
    ],
)
def test_a_bare_folder_is_recognised(tmp_path: Path, file: str, fields: dict, scheme: str) -> None:
    (tmp_path / file).write_text(json.dumps(fields))
    assert parse(str(tmp_path)) == Address(scheme, str(tmp_path), folder=True)
    assert parse(f"{scheme}:{tmp_path}") == Address(scheme, str(tmp_path), folder=True)


def test_a_relative_folder_cannot_be_taken_for_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "org" / "name" / "config.json").write_text('{"model_type": "vit"}')
    monkeypatch.chdir(tmp_path)
    found = parse("org/name")
    assert str(found) == "hf:./org/name"
    assert parse(str(found)) == found


def test_a_folder_that_holds_no_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model_type.*open_clip_config"):
        parse(str(tmp_path))


@pytest.mark.parametrize("bad", [{"classes": 0}, {"classes": True}, {"classes": 2.0}, {"image_size": -1}, {"head_init": "ones"}])
def test_a_wish_out_of_range_is_refused_before_anything_is_built(bad: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Wish(**bad)
    with pytest.raises(ConfigError, match=next(iter(bad))):
        backbones.load("config:vit-ti16", **bad)


def test_the_hub_preset_says_what_it_is_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    preset = backbones.HUB_PRESET
    assert parse(preset.address).scheme == "hf"
    assert preset.cache_path() == tmp_path / "models--google--vit-base-patch16-224-in21k"
    for part in (preset.id, preset.licence, f"{preset.megabytes} MB", str(tmp_path)):
        assert part in preset.announce()
