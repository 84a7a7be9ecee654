"""The model hub: one file at a time into the hub's own cache, safetensors only, one clear message when it cannot be had.

``HF_HOME``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and ``HF_TOKEN`` mean what they mean everywhere. Without a connection only the
cache is asked: the hub client alone would retry for 20 seconds before saying so.
"""

from __future__ import annotations

import os
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inarch.backbones.weights_file import read_json
from inarch.errors import ConfigError, StorageError, Unsafe, need

HF_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
HF_BESIDE = ("preprocessor_config.json", "processor_config.json", "README.md")
_CONNECT_SECONDS = 1.5


@dataclass(frozen=True)
class HubPreset:
    """A backbone of the hub that is documented here, so that nothing about it is a surprise when it is fetched."""

    address: str
    licence: str
    parameters: int
    megabytes: int
    trained_on: str

    @property
    def id(self) -> str:
        return self.address.partition(":")[2]

    def cache_path(self) -> Path:
        """Where the hub's client keeps this model (``HF_HOME`` and ``HF_HUB_CACHE`` are honoured)."""
        return Path(settings().HF_HUB_CACHE) / f"models--{self.id.replace('/', '--')}"

    def announce(self) -> str:
        """What is printed before anything is fetched."""
        return (f"backbone {self.address}: {self.trained_on}, {self.parameters / 1e6:.0f} M parameters, licence {self.licence}, "
                f"{self.megabytes} MB, cache {self.cache_path()}")


HUB_PRESET = HubPreset(
    address="hf:google/vit-base-patch16-224-in21k",
    licence="apache-2.0",
    parameters=86_389_248,
    megabytes=346,
    trained_on="ViT-B/16, ImageNet-21k, 224 px",
)


def fetch(repo: str, config: str, weights: Iterable[str], beside: Iterable[str] = (), revision: str | None = None) -> Path:
    """Folder in the cache with ``config``, the first of ``weights`` that the repository has (none asked for: none fetched), and
    what it has of ``beside``."""
    get = _getter(repo, revision)
    folder = _required(get, repo, (config,)).parent
    names = tuple(weights)
    found = _required(get, repo, names) if names else folder
    if found.name.endswith(".index.json"):
        for shard in sorted(set(read_json(found).get("weight_map", {}).values())):
            _required(get, repo, (shard,))
    for name in beside:
        get(name)
    return folder


def fetch_file(repo: str, names: Iterable[str], revision: str | None = None) -> Path:
    """The first of ``names`` that the repository has, in the cache."""
    return _required(_getter(repo, revision), repo, tuple(names))


def commit(path: Path) -> str | None:
    """The commit a cached file belongs to: the cache keeps ``snapshots/COMMIT/FILE``."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None


@dataclass(frozen=True)
class Getter:
    """name -> its path in the cache, or None where the repository (or, offline, the cache) has no such file."""

    repo: str
    revision: str | None
    offline: bool

    def __call__(self, name: str) -> Path | None:
        return _download(self.repo, name, self.revision, self.offline)


def _getter(repo: str, revision: str | None) -> Getter:
    return Getter(repo, revision, is_offline())


def _download(repo: str, name: str, revision: str | None, offline: bool) -> Path | None:
    from huggingface_hub import errors, hf_hub_download

    try:
        with told(offline):
            return Path(hf_hub_download(repo, name, revision=revision, local_files_only=offline))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise ConfigError(f"the hub has no model {repo!r}" + (f" at revision {revision!r}" if revision else "")
                          + " for you; check the name, and for a private or gated model set HF_TOKEN") from error
    except errors.EntryNotFoundError:  # also: not in the cache, while offline
        return None
    except (OSError, errors.HfHubHTTPError) as error:
        raise StorageError(f"{repo}/{name}: fetching failed ({error}); check disk space and connection, run again") from error


def _required(get: Getter, repo: str, names: tuple[str, ...]) -> Path:
    for name in names:
        path = get(name)
        if path is not None:
            return path
    wanted = " or ".join(names)
    if get.offline:
        raise StorageError(f"{repo}: {wanted} is not in the cache {settings().HF_HUB_CACHE} and {why_offline()}; fetch it once with a "
                           "connection, point HF_HOME at a filled cache, or give a local folder as the address")
    if any(name.endswith(".safetensors") for name in names):
        raise Unsafe(f"{repo}: has no {wanted}; pickled weights are never read: choose a revision or a copy with safetensors")
    raise ConfigError(f"{repo}: has no {wanted}, so it is no model of this kind; check the address")


_OFFLINE = "HF_HUB_OFFLINE"


def settings() -> Any:
    """The constants of the hub's client, its cache and endpoint among them; ``MissingExtra`` where it is not installed."""
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError as error:
        raise need("huggingface_hub", "hub") from error
    return constants


def _switched_off() -> bool:
    return bool(settings().HF_HUB_OFFLINE) or os.environ.get(_OFFLINE, "").upper() in ("1", "TRUE", "ON", "YES")


def why_offline() -> str:
    return f"{_OFFLINE}=1 is set" if _switched_off() else f"{settings().ENDPOINT} cannot be reached"


@contextmanager
def told(offline: bool) -> Iterator[None]:
    """The hub's client knows that nothing answers: it asks for more than files, and would wait for each answer."""
    constants = settings()
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def is_offline() -> bool:
    """Offline by the switch, or because nothing answers at the endpoint, or at the proxy before it."""
    url = urllib.parse.urlsplit(settings().ENDPOINT)
    if _switched_off():
        return True
    proxy = urllib.request.getproxies().get(url.scheme)
    if proxy and not urllib.request.proxy_bypass(url.hostname or ""):
        url = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return not _answers(url.hostname or "", url.port or (443 if url.scheme == "https" else 80))


def _answers(host: str, port: int) -> bool:
    """Whether a connection stands in time; the look-up of the name, which has no limit of its own, is part of it."""
    answered = threading.Event()
    trial = threading.Thread(target=_connect, args=(host, port, answered), daemon=True)
    trial.start()
    trial.join(_CONNECT_SECONDS)
    return answered.is_set()


def _connect(host: str, port: int, answered: threading.Event) -> None:
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except (OSError, UnicodeError):
        return
    answered.set()
