"""``hf:USER/NAME``: the files of an adapter or run, fetched into the hub's cache and read as those of any other folder.

    models--USER--NAME/snapshots/COMMIT/FILE    a link to a blob, as the hub's client leaves it
    models--USER--NAME/inarch/COMMIT/FILE       the same bytes as a file: what reads an adapter refuses links
A blob is held against the checksum that the hub names it by, each time; then comes the verified load, as from any folder.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from inarch import files, folders
from inarch.backbones.hub import is_offline, settings, told
from inarch.errors import ConfigError, Corrupt, StorageError
from inarch.hub.address import Address, parse
from inarch.hub.refusals import in_our_words

ADAPTER = ("adapter.json", "adapter-*.safetensors")
RUN = ("recipe.toml", "run.json", "result.json", "metrics.jsonl", *(f"adapter/{name}" for name in ADAPTER))
COPIES = "inarch"


def fetch(address: str) -> Path:
    """The folder with what the address names; raises ``ConfigError`` (no such thing), ``StorageError`` (no way to it) or ``Corrupt``."""
    wanted = parse(address)
    snapshot = _snapshot(wanted)
    found = sorted(path for name in (*ADAPTER, *RUN) for path in (snapshot / wanted.inside).glob(name))
    if not any(path.name in ("adapter.json", "recipe.toml") for path in found):
        raise ConfigError(f"{address} holds neither adapter.json nor recipe.toml, so it is no adapter or run of inarch; check the address, "
                          "and the folder in it (hf:USER/NAME/FOLDER)")
    copies = snapshot.parents[1] / COPIES / snapshot.name
    for path in found:
        _copy(path, copies / path.relative_to(snapshot))
    return copies / wanted.inside


def _snapshot(wanted: Address) -> Path:
    """The client's own folder of that commit. Without a connection the newest that was fetched before."""
    endpoint, offline = settings().ENDPOINT, is_offline()
    from huggingface_hub import snapshot_download

    names = ["/".join(filter(None, (wanted.inside, name))) for name in (*ADAPTER, *RUN)]
    with in_our_words(str(wanted)), told(offline):
        return Path(snapshot_download(wanted.repo, revision=wanted.revision, allow_patterns=names, local_files_only=offline,
                                      endpoint=endpoint))


def _copy(link: Path, path: Path) -> None:
    data = _read(link)
    try:
        if path.is_file() and not path.is_symlink() and files.read(path) == data:
            return
        folders.make_folder(path.parent)
    except OSError as problem:
        raise StorageError(f"{path}: {problem.strerror}; point HF_HOME at a cache that can be written") from None
    files.write(path, data)


def _read(link: Path) -> bytes:
    """The bytes of a file in the cache, which must be those that its blob is named after."""
    blob = link.resolve()
    data = files.read(blob)
    if blob != link and blob.name not in _names(blob.name, data):
        raise Corrupt(f"{link} is damaged: its bytes are not those that the hub lists for it (checksum {blob.name[:12]}); "
                      f"delete {blob} and run again")
    return data


def _names(name: str, data: bytes) -> set[str]:
    """The checksums of ``data`` that a blob can be named after; where ``name`` is none of that kind, there is nothing to compare."""
    sums = {files.sha256(data), hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()}
    return sums if len(name) in (40, 64) else {name}


__all__ = ["ADAPTER", "RUN", "fetch"]
