"""``push``: an adapter or a finished run to the hub, in one commit, or to a folder that holds what would be sent.

    verify  ->  card  ->  token  ->  repository, branch  ->  one commit: new files, files of an earlier push that are no more
The repository shows the old commit or the new one, never a part; what was there stays in its history.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inarch
from inarch import files, folders
from inarch.backbones.hub import is_offline, settings, why_offline
from inarch.errors import ConfigError, StorageError
from inarch.export import drafted
from inarch.hub.address import Address, parse
from inarch.hub.card import model_card, said
from inarch.hub.fetching import ADAPTER, RUN
from inarch.hub.parcel import README, packed
from inarch.hub.refusals import in_our_words
from inarch.places import is_address, place

MOST = 4  # paths that are pointed at
_PATH = re.compile(rb'"(?:\w+:)*(/[^"/\n]+/[^"\n]*)"')  # in JSON or TOML, behind a scheme or not


@dataclass(frozen=True)
class Pushed:
    """``where``: the address or folder; ``sent``: file -> bytes; ``left``: what stayed here; ``commit``: None where nothing was sent."""

    where: str
    sent: Mapping[str, int]
    left: tuple[str, ...]
    commit: str | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{size:>12,}  {name}" for name, size in self.sent.items()]
        lines += [f"left out: {', '.join(self.left)}"] if self.left else []
        return "\n".join([*lines, *self.notes, self.where + (f" at commit {self.commit}" if self.commit else "")])


def push(what: str | Path, to: str | Path, *, private: bool = False, revision: str | None = None, message: str | None = None,
         licence: str | None = None, also: Sequence[str] = (), overwrite: bool = False, dry_run: bool = False) -> Pushed:
    """Send the adapter or run folder ``what`` to ``to``: ``hf:USER/NAME``, or a folder to write what would be sent.

    A repository is made where there is none (``private``: seen by you alone); ``revision``: a branch, made where there is none;
    ``message``: of the commit; ``licence``: of the adapter, for the card; ``also``: files of the run that are left out otherwise;
    ``overwrite``: replace what the folder holds; ``dry_run``: say what would be sent, and send nothing. Raises what loading raises for
    a folder that cannot be loaded, ``ConfigError`` for names and rights, ``StorageError`` for a connection that fails.
    """
    target = _target(to, revision)
    if target is None:
        _refuse_itself(place(what), Path(to))
    with packed(what, also) as parcel:
        contents = {README: model_card(parcel, target, licence).encode(), **parcel.files}
        sent = {name: len(data) for name, data in contents.items()}
        notes = _notes(contents)
        if dry_run:
            return Pushed(f"dry run: nothing was written to {target or to}", sent, parcel.left, None, notes)
        if target is None:
            _write(Path(to), contents, overwrite)
            return Pushed(str(to), sent, parcel.left, None, notes)
        with in_our_words(str(target)):
            commit = _send(target, contents, private, message or f"inarch push: {said(parcel)}")
        return Pushed(f"{target}: {settings().ENDPOINT}/{target.repo}", sent, parcel.left, commit, notes)


def _target(to: str | Path, revision: str | None) -> Address | None:
    if not is_address(to):
        if revision:
            raise ConfigError(f"--revision {revision} is a branch of the hub, and {to} is a folder; leave it out, or push to hf:USER/NAME")
        return None
    found = parse(str(to) if revision is None or "@" in str(to) else f"{to}@{revision}")
    if found.inside:
        raise ConfigError(f"{found}: a repository holds one adapter or run; expected hf:USER/NAME")
    if revision is not None and found.revision != revision:
        raise ConfigError(f"{found} and --revision {revision} name two branches; give one")
    return found


def _refuse_itself(source: Path, out: Path) -> None:
    a, b = source.resolve(), out.resolve()
    if a == b or a in b.parents or b in a.parents:
        raise ConfigError(f"{out} is {source} or holds it, or lies in it; choose a folder elsewhere")


def _notes(contents: Mapping[str, bytes]) -> tuple[str, ...]:
    """What a reader of the repository will learn of this machine: the absolute paths that a run was given."""
    found = {path.decode(errors="replace"): name for name, data in contents.items() if not name.endswith(".safetensors")
             for path in _PATH.findall(data)}
    return tuple(f"note: {name} names {path}, which its readers will see" for path, name in list(found.items())[:MOST])


def _write(out: Path, contents: Mapping[str, bytes], overwrite: bool) -> None:
    with drafted(out, overwrite) as draft:
        for name, data in contents.items():
            folders.make_folder((draft / name).parent)
            files.write(draft / name, data)


def _send(target: Address, contents: Mapping[str, bytes], private: bool, message: str) -> str:
    """One commit; its name. Nothing is written where the repository is not what was asked for, or changes meanwhile."""
    if is_offline():
        raise StorageError(f"{target}: {why_offline()}; nothing was sent")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(endpoint=settings().ENDPOINT, library_name="inarch", library_version=inarch.__version__)
    api.whoami()
    api.create_repo(target.repo, private=private or None, exist_ok=True)
    if target.revision:
        api.create_branch(target.repo, branch=target.revision, exist_ok=True)
    standing = api.repo_info(target.repo, revision=target.revision)
    if private and not standing.private:
        raise ConfigError(f"{target} is there already, and everybody can read it; nothing was sent: make it private on its page, or "
                          "leave out --private")
    stale = [name for name in _names(standing) if _ours(name) and name not in contents]
    operations: list[Any] = [*(CommitOperationAdd(name, data) for name, data in contents.items()), *map(CommitOperationDelete, stale)]
    done = api.create_commit(target.repo, operations, commit_message=message, revision=target.revision, parent_commit=standing.sha)
    return str(done.oid)


def _names(standing: Any) -> list[str]:
    return [entry.rfilename for entry in standing.siblings or ()]


def _ours(name: str) -> bool:
    """Whether a push may have written the file; what others put there stays."""
    return any(fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in (*ADAPTER, *RUN))


__all__ = ["Pushed", "push"]
