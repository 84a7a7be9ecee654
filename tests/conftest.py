"""What every test stands on: no network, two threads, a working torchvision, and the way to the real data."""

from __future__ import annotations

import os
import socket
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before huggingface_hub is imported; make test-hub sets it to 0
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

from inarch.backbones.torchvision import mend_torchvision

pytest_plugins = ["fault_rows"]
ROOT = Path(__file__).resolve().parents[1]
LOCAL = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "", None, socket.gethostname()}

torch.set_num_threads(min(2, torch.get_num_threads()))
mend_torchvision()


class NetworkUsed(RuntimeError):
    """A test reached for the network; not an OSError, so that no fallback can swallow it."""


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection that would leave this machine is refused, except in tests marked ``hub``."""
    if request.node.get_closest_marker("hub"):
        return
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def local_connect(self: socket.socket, address):
        if self.family != socket.AF_UNIX and address[0] not in LOCAL:
            raise NetworkUsed(f"a test connects to {address}; tests run offline, mark it 'hub' if it must not")
        return connect(self, address)

    def local_resolve(host, *args, **kwargs):
        if host not in LOCAL:
            raise NetworkUsed(f"a test looks up {host!r}; tests run offline, mark it 'hub' if it must not")
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", local_connect)
    monkeypatch.setattr(socket, "getaddrinfo", local_resolve)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real weights and images, or a skip that says how to bring it."""
    place = Path(os.environ.get("INARCH_SHARED", ROOT.parent / "shared"))
    if not (place / "data").is_dir():
        pytest.skip(f"no real data at {place}; set INARCH_SHARED to the folder that holds data/")
    return place
