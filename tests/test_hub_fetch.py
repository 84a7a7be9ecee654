"""``hf:USER/NAME`` where a folder is read: fetched from a hub on this machine, verified, the same numbers bit for bit."""

# ruff: noqa: F811 (fixtures from hub_parts)
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from adapter_files import adapter, fresh
from conftest import ROOT
from hub_parts import hub, loaded, pets, saved  # noqa: F401 (fixtures)
from hub_stub import Hub

import inarch
from inarch.errors import CheckpointError, ConfigError, Corrupt, InarchError, MissingExtra, StorageError, Unsafe
from inarch.hub.address import Address, parse
from inarch.inspect import inspect
from inarch.places import namesake, place


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and "inarch" in path.parts)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the hub's own client
@pytest.mark.parametrize("mode", ["regular", "lfs"])
def test_an_adapter_comes_back_bit_for_bit(hub: Hub, saved: Path, mode: str) -> None:
    hub.mode = mode
    inarch.push(saved, "hf:ada/pets")
    assert torch.equal(loaded("hf:ada/pets"), loaded(saved))
    assert bool(hub.uploads) == (mode == "lfs")
    assert str(inspect("hf:ada/pets")).splitlines()[1:] == str(inspect(saved)).splitlines()[1:]


def test_only_the_files_of_an_adapter_are_fetched(pets: Hub, tmp_path: Path) -> None:
    pets.repositories["ada/pets"].main.update({"pytorch_model.bin": b"\x80\x02", "adapter-x.py": b"import os", "notes/recipe.toml": b""})
    place("hf:ada/pets")
    asked = {request.rpartition("/")[2] for request in pets.asked if "/resolve/" in request}
    assert asked == set(cached(tmp_path)) == {name for name in pets.repositories["ada/pets"].main if name.startswith("adapter")} - {
        "adapter-x.py"}


def test_what_was_fetched_once_needs_no_hub(pets: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loaded("hf:ada/pets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pets.asked.clear()
    assert torch.equal(loaded("hf:ada/pets"), first) and pets.asked == []
    with pytest.raises(StorageError, match=r"hf:ada/cats is not wholly in the cache .* HF_HUB_OFFLINE=1 is set; fetch it once"):
        place("hf:ada/cats")


def test_a_hub_that_does_not_answer_is_one_message(pets: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"hf:ada/pets is not wholly in the cache .* http://127.0.0.1:9 cannot be reached"):
        place("hf:ada/pets")


def test_bytes_damaged_on_the_way_are_refused_until_they_are_right(pets: Hub) -> None:
    name, data = next((n, d) for n, d in pets.repositories["ada/pets"].main.items() if n.endswith(".safetensors"))
    pets.damage[name] = data[:-1] + bytes([data[-1] ^ 1])
    model = fresh()
    with pytest.raises(Corrupt, match=rf"{name} is damaged: its bytes are not those that the hub lists.*delete \S+ and run") as told:
        inarch.load(model, "hf:ada/pets")
    assert "inarch" not in model._modules
    pets.damage.clear()
    Path(str(told.value).rpartition("delete ")[2].partition(" and run")[0]).unlink()
    assert torch.isfinite(loaded("hf:ada/pets")).all()


def test_damage_in_the_repository_itself_is_refused_by_the_load(pets: Hub) -> None:
    files = pets.repositories["ada/pets"].main
    name = next(n for n in files if n.endswith(".safetensors"))
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    with pytest.raises(Corrupt, match=f"{name}.*another SHA-256"):
        loaded("hf:ada/pets")
    pets.repositories["ada/pets"].commit("main", files | {name: b"\x80\x02}q\x00."})
    with pytest.raises((Corrupt, Unsafe), match=name):
        loaded("hf:ada/pets")


def test_a_copy_that_was_changed_here_is_mended(pets: Hub, saved: Path) -> None:
    folder = place("hf:ada/pets")
    (folder / "adapter.json").write_bytes(b"{}")
    assert torch.equal(loaded("hf:ada/pets"), loaded(saved))


def test_a_revision_is_what_it_was(pets: Hub, saved: Path, tmp_path: Path) -> None:
    first = pets.repositories["ada/pets"].heads["main"]
    other = adapter(tmp_path / "other", seed=1)
    inarch.push(other, "hf:ada/pets")
    assert torch.equal(loaded("hf:ada/pets"), loaded(other))
    assert torch.equal(loaded(f"hf:ada/pets@{first}"), loaded(saved))
    with pytest.raises(ConfigError, match=r"hf:ada/pets@v9: the repository has no such revision"):
        place("hf:ada/pets@v9")


def test_a_folder_inside_a_repository(hub: Hub, saved: Path) -> None:
    here = hub.create("ada/many")
    here.main.update({f"cats/{path.name}": path.read_bytes() for path in saved.iterdir()} | {"README.md": b""})
    assert torch.equal(loaded("hf:ada/many/cats"), loaded(saved))
    with pytest.raises(ConfigError, match=r"hf:ada/many holds neither adapter.json nor recipe.toml"):
        place("hf:ada/many")


def test_who_may_not_see_it_is_told_what_to_do(pets: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    pets.repositories["ada/pets"].private = True
    place("hf:ada/pets")
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    for address in ("hf:ada/dogs", "hf:bob/secret"):
        with pytest.raises(ConfigError, match=rf"the hub has no {address} for you; check the name, and for a private one log in") as told:
            place(address)
        assert "hf_of_nobody" not in str(told.value)


@pytest.mark.parametrize("status", [403, 500])
def test_other_answers_are_told_by_their_number(pets: Hub, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pets.failing["/api/models/ada/pets"] = status
    with pytest.raises(InarchError, match="write access" if status == 403 else "the hub answers 500"):
        place("hf:ada/pets")


def test_without_the_client_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"huggingface_hub is not installed; install it with: pip install 'inarch\[hub\]'"):
        place("hf:ada/pets")


@pytest.mark.parametrize(("text", "found"), [
    ("hf:ada/pets", Address("ada/pets")), ("hf:ada/pets@v2", Address("ada/pets", "", "v2")),
    ("hf:ada/pets/a/b@refs/pr/1", Address("ada/pets", "a/b", "refs/pr/1")), ("hf:a.b_c/d-e", Address("a.b_c/d-e")),
])
def test_addresses(text: str, found: Address) -> None:
    assert parse(text) == found and str(found) == text


@pytest.mark.parametrize("text", ["hf:", "hf:pets", "hf:ada/", "hf:/pets", "hf:ada/pe ts", "hf:../pets", "hf:ada/..", "hf:ada/p--q",
                                  "hf:ada/pets/", "hf:ada/pets/../x", "hf:ada/pets//x", "hf:ada/pets@", "hf:ada/pets@../main",
                                  "hf:ada/" + "x" * 99, "hf:-ada/pets", "hf:ada/pets\n"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="expected hf:USER/NAME"):
        parse(text)


def test_paths_stay_paths(tmp_path: Path) -> None:
    assert place(tmp_path) == tmp_path and place("runs/hf") == Path("runs/hf")
    assert (namesake("hf:ada/pets/x@v2"), namesake("runs/pets")) == (Path("x"), Path("runs/pets"))
    with pytest.raises(CheckpointError):
        inarch.load(fresh(), tmp_path)


@pytest.mark.long
def test_an_address_needs_the_client_and_the_core_alone() -> None:
    """``pip install 'inarch[hub]'`` is enough to load: none of the other extras is imported on the way."""
    absent = "PIL numpy pydantic typer rich accelerate transformers timm".split()
    code = f"import inarch, torch, sys; sys.modules.update(dict.fromkeys({absent})); from inarch.places import place; place('hf:ada/none')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "StorageError: hf:ada/none is not wholly in the cache" in done.stderr, done.stderr
