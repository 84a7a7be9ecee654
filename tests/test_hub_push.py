"""``inarch push``: what is sent and what is not, in one commit; who may not, and what is left as it was when something fails."""

# ruff: noqa: F811 (fixtures from hub_parts)
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from adapter_files import adapter
from exported import tree
from hub_parts import hub, pets, saved  # noqa: F401 (fixtures)
from hub_stub import Hub

import inarch
from inarch.cli import main
from inarch.errors import CheckpointError, ConfigError, Corrupt, Incomplete, StorageError
from inarch.recipe import Recipe

WRITES = ("POST /api/repos", "/commit/", "/branch/", "/preupload/", "PUT ")


def wrote(hub: Hub) -> list[str]:
    return [request for request in hub.asked if any(word in request for word in WRITES)]


def names(hub: Hub) -> set[str]:
    return set(hub.repositories["ada/pets"].main)


def test_what_is_sent_is_what_is_said(hub: Hub, saved: Path) -> None:
    pushed = inarch.push(saved, "hf:ada/pets", message="the first")
    repository = hub.repositories["ada/pets"]
    sent = {name: data for name, data in repository.main.items() if name != ".gitattributes"}
    assert {name: len(data) for name, data in sent.items()} == pushed.sent
    assert {name: sent[name] for name in tree(saved)} == tree(saved) and sent.keys() - tree(saved).keys() == {"README.md"}
    assert pushed.commit == repository.heads["main"] and len(repository.commits) == 2 and str(pushed).endswith(pushed.commit)


def test_nothing_else_leaves_unless_it_is_named(hub: Hub, saved: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(saved, tmp_path / "mine")
    (folder / "optimizer.safetensors").write_bytes(b"state")
    (folder / ".env").write_text("SECRET=1")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "1.bin").write_bytes(b"1")
    pushed = inarch.push(folder, "hf:ada/pets")
    assert pushed.left == ("checkpoints", "optimizer.safetensors") and "left out: checkpoints, optimizer.safetensors" in str(pushed)
    assert names(hub) == {".gitattributes", "README.md", *tree(saved)}
    assert b"Left out: `checkpoints`, `optimizer.safetensors`." in hub.repositories["ada/pets"].main["README.md"]
    assert inarch.push(folder, "hf:ada/pets", also=["checkpoints"]).left == ("optimizer.safetensors",)
    assert "checkpoints/1.bin" in names(hub) and ".env" not in names(hub)


@pytest.mark.parametrize("name", [".env", "../mine", "checkpoint", "adapter.json", ""])
def test_what_cannot_be_sent_beside(hub: Hub, saved: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(saved, tmp_path / "mine")
    (folder / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match="is not among what would be left out"):
        inarch.push(folder, "hf:ada/pets", also=[name])
    assert wrote(hub) == []


def test_a_link_is_not_followed(hub: Hub, saved: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(saved, tmp_path / "mine")
    (tmp_path / "secret").write_text("token")
    (folder / "notes").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="symbolic link"):
        inarch.push(folder, "hf:ada/pets", also=["notes"])
    assert wrote(hub) == []


def test_a_second_push_replaces_the_first_and_leaves_what_others_wrote(pets: Hub, tmp_path: Path) -> None:
    repository = pets.repositories["ada/pets"]
    repository.main["LICENSE"] = b"theirs"
    before = names(pets)
    other = adapter(tmp_path / "other", seed=1)
    inarch.push(other, "hf:ada/pets")
    stale = before - names(pets)
    assert len(stale) == 1 and stale.pop().startswith("adapter-")
    assert {**tree(other), "LICENSE": b"theirs"}.items() <= repository.main.items()
    again = inarch.push(other, "hf:ada/pets")
    assert names(pets) == {".gitattributes", "LICENSE", "README.md", *tree(other)} and again.commit == repository.heads["main"]


@pytest.mark.parametrize("where", ["/preupload/", "/commit/", "/validate-yaml"])
def test_a_push_that_is_cut_leaves_the_old_commit(pets: Hub, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client tries again, ever more slowly
    repository = pets.repositories["ada/pets"]
    head, before = repository.heads["main"], dict(repository.main)
    pets.failing[where] = 0
    with pytest.raises(StorageError, match=r"hf:ada/pets: .*; check connection and disk space, run again"):
        inarch.push(adapter(tmp_path / "other", seed=1), "hf:ada/pets")
    assert repository.heads["main"] == head and repository.main == before


def test_a_push_does_not_bury_that_of_another(pets: Hub, tmp_path: Path) -> None:
    repository = pets.repositories["ada/pets"]
    pets.before_commit = lambda: repository.commit("main", {"theirs": b""})
    with pytest.raises(StorageError, match="changed by somebody else meanwhile; nothing was written, run again"):
        inarch.push(adapter(tmp_path / "other", seed=1), "hf:ada/pets")
    assert repository.main == {"theirs": b""}


def test_a_branch_of_its_own(pets: Hub, saved: Path, tmp_path: Path) -> None:
    other = adapter(tmp_path / "other", seed=1)
    pushed = inarch.push(other, "hf:ada/pets", revision="v2")
    repository = pets.repositories["ada/pets"]
    assert tree(other).items() <= repository.at("v2")[1].items() and tree(saved).items() <= repository.main.items()
    assert "hf:ada/pets@v2" in str(pushed) and b"hf:ada/pets@v2" in repository.at("v2")[1]["README.md"]
    assert inarch.push(other, "hf:ada/pets@v2").commit == pushed.commit


def test_private_is_private_or_refused(hub: Hub, saved: Path) -> None:
    inarch.push(saved, "hf:ada/secret", private=True)
    assert hub.repositories["ada/secret"].private
    hub.create("ada/pets")
    with pytest.raises(ConfigError, match="everybody can read it; nothing was sent"):
        inarch.push(saved, "hf:ada/pets", private=True)
    assert names(hub) == {".gitattributes"}


REFUSED = {
    "no token": (None, "hf:ada/pets", "there is no token to write with; log in"),
    "wrong token": ("hf_of_nobody", "hf:ada/pets", "the hub does not accept the token; log in"),
    "another's name": ("hf_of_ada", "hf:bob/pets", "this token may not do that; take one with write access"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_who_may_not_write(hub: Hub, saved: Path, case: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    token, to, words = REFUSED[case]
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    assert main(["push", str(saved), to]) == 2
    said = capsys.readouterr().err
    assert words in said and to in said and "\n" not in said.strip() and "hf_of" not in said
    assert not any("/commit/" in request for request in hub.asked) and not hub.repositories


def test_without_a_connection_nothing_is_tried(saved: Path) -> None:
    with pytest.raises(StorageError, match="HF_HUB_OFFLINE=1 is set; nothing was sent"):
        inarch.push(saved, "hf:ada/pets")


@pytest.mark.parametrize(("to", "more", "words"), [
    ("hf:pets", {}, "expected hf:USER/NAME"), ("hf:ada/pets/x", {}, "holds one adapter or run"),
    ("hf:ada/pets@a", {"revision": "b"}, "name two branches"),
    ("folder", {"revision": "b"}, "is a branch of the hub, and folder is a folder"),
])
def test_targets_that_are_none(hub: Hub, saved: Path, to: str, more: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        inarch.push(saved, to, **more)
    assert hub.asked == []


def test_a_folder_that_does_not_load_is_not_sent(hub: Hub, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(Incomplete, match=r"holds neither adapter.json nor recipe.toml"):
        inarch.push(tmp_path / "nothing", "hf:ada/pets")
    folder = shutil.copytree(saved, tmp_path / "bad")
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(Corrupt, match=weights.name):
        inarch.push(folder, "hf:ada/pets")
    weights.unlink()
    with pytest.raises(Incomplete, match=weights.name):
        inarch.push(folder, "hf:ada/pets")
    assert hub.asked == [] and not hub.repositories


def test_a_dry_run_sends_nothing(hub: Hub, saved: Path, tmp_path: Path, capsys) -> None:
    assert main(["push", str(saved), "hf:ada/pets", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert hub.asked == [] and "dry run: nothing was written to hf:ada/pets" in said and all(name in said for name in tree(saved))
    assert main(["push", str(saved), str(tmp_path / "out"), "--dry-run"]) == 0 and not (tmp_path / "out").exists()


def test_a_folder_gets_what_would_be_sent(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pushed = inarch.push(saved, out)
    assert tree(out).keys() == pushed.sent.keys() and tree(saved).items() <= tree(out).items() and pushed.commit is None
    with pytest.raises(ConfigError, match="exists and is not empty"):
        inarch.push(saved, out)
    before = tree(out)
    assert inarch.push(saved, out, overwrite=True).sent == pushed.sent and tree(out) == before
    for place in (saved, saved.parent, saved / "in"):
        with pytest.raises(ConfigError, match="choose a folder elsewhere"):
            inarch.push(saved, place, overwrite=True)
    assert tree(saved).keys() == before.keys() - {"README.md"}


def test_what_was_pushed_can_be_pushed_on(pets: Hub, saved: Path) -> None:
    inarch.push("hf:ada/pets", "hf:ada/copy")
    assert tree(saved).items() <= pets.repositories["ada/copy"].main.items()


def test_a_run_is_not_trained_into_an_address() -> None:
    with pytest.raises(ConfigError, match="is an address; train into a folder, then send it: inarch push RUN hf:ada/pets"):
        Recipe.parse({"data": "digits", "backbone": "mini-vit", "out": "hf:ada/pets"})


