"""Recipes and tables as files: what is crafted to slow a parser down or to fool it is refused at once; nothing but TOML is a recipe."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest

from inarch.cli import main
from inarch.data import load_splits
from inarch.errors import ConfigError, DataError
from inarch.recipe import load_recipe
from inarch.toml import CAP

LIMIT = 5.0  # seconds, where 1 is asked for: other tests run beside this one
FULL = CAP - 20
CRAFTED = {
    "a key twice": "lr = 1\nlr = 2",
    "a table twice": "[set]\na = 1\n[set]\nb = 2",
    "a key of thirty thousand parts": "a." * (FULL // 2) + "b = 1",
    "the same, quoted": '"a".' * (FULL // 4) + "b = 1",
    "a table of as many": "[a" + ".a" * (FULL // 2 - 2) + "]",
    "lists in lists": "a = " + "[" * (FULL - 4),
    "tables in tables": "a = " + "{a=" * (FULL // 4),
    "many tables": "\n".join(f"[t{i}]" for i in range(FULL // 9)),
    "many keys": "\n".join(f"k{i} = 1" for i in range(FULL // 11)),
    "a long number": "a = " + "9" * (FULL - 4),
    "an open text": 'a = "' + "x" * (FULL - 5),
    "open quotes": '"""\n' * (FULL // 4),
    "half a byte": "data = 'caf\udce9'",
    "NUL": "data = 'a\0b'",
    "no TOML": "data: digits\nlr: 1",
}


def refused(path: Path) -> str:
    start = time.perf_counter()
    with pytest.raises(ConfigError, match=path.name) as caught:
        load_recipe(path)
    assert time.perf_counter() - start < LIMIT
    return str(caught.value)


@pytest.mark.row("B5", "a recipe with a key twice, nested a thousand times, of one endless key, number or text, or in another encoding")
@pytest.mark.parametrize("kind", CRAFTED)
def test_crafted_recipes(tmp_path: Path, kind: str) -> None:
    """`ConfigError` names the file and what is wrong with it, at once."""
    path = tmp_path / "r.toml"
    path.write_bytes(CRAFTED[kind].encode("utf-8", "surrogateescape"))
    refused(path)


def test_dots_in_texts_and_numbers_are_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    text = "........... it's # \\\" of 10 . 10 . 10"
    path.write_text(f"data = \"{text}\"  # ........... 1.1.1.1.1.1.1.1.1.1\ntest_fraction = 0.5\nset = {{spans = ['attn']}}\n")
    assert load_recipe(path).data == text.replace("\\", "")


@pytest.mark.row("B5", "a recipe, and a table of images, of more than 100 MB")
def test_large_files(tmp_path: Path, tried) -> None:
    """Refused by the size of the file, before it is read."""
    recipe, table = tmp_path / "r.toml", tmp_path / "t.csv"
    for path, size in ((recipe, 100 << 20), (table, 5 << 30)):
        with path.open("wb") as file:
            file.truncate(size)  # no block of it is on the disk
    assert "has 104857600 bytes; expected at most 65536" in refused(recipe)
    for name in ("t.csv", "t.jsonl"):
        address = table.rename(tmp_path / name) if name != "t.csv" else table
        start = time.perf_counter()
        with pytest.raises(DataError, match=r"t\.\w+: 5,368,709,120 bytes; at most"):
            load_splits(address)
        assert time.perf_counter() - start < LIMIT
    tried(3)


YAML = {
    "a plain one": "data: digits\n",
    "a bomb of anchors": "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*{'a' if not i else f'b{i - 1}'}, *a]\n" for i in range(40)),
    "a Python object": "!!python/object/apply:pathlib.Path.touch [canary]\n",
}


@pytest.mark.row("B5", "YAML: a plain recipe, a bomb of anchors, !!python/object")
@pytest.mark.parametrize("kind", YAML)
@pytest.mark.parametrize("suffix", ["yaml", "YML"])
def test_yaml_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, suffix: str, capsys) -> None:
    """`ConfigError` by the file's name, exit code 2; no parser of YAML is called."""
    monkeypatch.chdir(tmp_path)
    if importlib.util.find_spec("yaml"):  # other packages bring it
        import yaml

        for name in ("load", "safe_load", "full_load", "unsafe_load"):
            monkeypatch.setattr(yaml, name, lambda *args, **options: pytest.fail("YAML was parsed"))
    path = tmp_path / f"r.{suffix}"
    path.write_text(YAML[kind])
    assert "YAML is not read; write the recipe as TOML" in refused(path)
    assert main(["train", str(path)]) == 2
    assert "YAML is not read" in capsys.readouterr().err
    path = path.rename(tmp_path / "r.toml")  # nor under another name
    assert "is not valid TOML" in refused(path)
    assert not (tmp_path / "canary").exists()
