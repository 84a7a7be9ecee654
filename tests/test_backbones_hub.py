"""The hub's own client against a small server on this machine: what is fetched, what is not, and what a refusal says."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from inarch import backbones
from inarch.backbones import hf
from inarch.errors import ConfigError, StorageError, Unsafe

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


class _Hub(BaseHTTPRequestHandler):
    """``/org/name/resolve/REVISION/FILE``, with the headers the client asks for."""

    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        repository, _, rest = self.path.removeprefix("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        self.asked += [name] if name else []  # the client also asks an API of its own now and then
        data = self.files.get(name)
        if repository != "org/tiny" or revision not in ("main", COMMIT):
            self._refuse("RepoNotFound" if repository != "org/tiny" else "RevisionNotFound")
        elif data is None:
            self._refuse("EntryNotFound")
        else:
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    with hf.quiet():
        ViTForImageClassification(ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                                            image_size=32, patch_size=8, num_labels=3)).save_pretrained(folder)
    return folder


@pytest.fixture
def hub(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    """A hub with the one repository org/tiny, as HF_ENDPOINT, and an empty cache."""
    from huggingface_hub import constants

    class Hub(_Hub):
        files = {path.name: path.read_bytes() for path in model.iterdir()}  # noqa: RUF012 (one per test)
        asked = []  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    here = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, here)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", here)  # HF_ENDPOINT is read when the client is imported
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    try:
        yield Hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_model_is_fetched_into_the_cache_and_then_needs_no_hub(hub: type[_Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files["README.md"] = b"---\nlicense: mit\n---\n"
    found = backbones.load("hf:org/tiny", classes=4)
    assert (found.source["revision"], found.source["licence"]) == (COMMIT, "mit")
    beside = {"preprocessor_config.json", "processor_config.json", "README.md"}
    assert set(hub.asked) == {"config.json", "model.safetensors"} | beside
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = backbones.load(f"hf:org/tiny@{COMMIT}", classes=4)
    assert hub.asked == [] and again.source["sha256"] == found.source["sha256"]


def test_counting_a_hub_model_fetches_no_weights(hub: type[_Hub]) -> None:
    found = backbones.load("hf:org/tiny", device="meta", pretrained=False, classes=2)
    assert all(parameter.is_meta for parameter in found.model.parameters())
    assert not [name for name in hub.asked if name.endswith(".safetensors")]


def test_shards_are_fetched(hub: type[_Hub], model: Path, tmp_path: Path) -> None:
    with hf.quiet():
        backbones.load(str(model)).model.save_pretrained(tmp_path / "shards", max_shard_size=8_000)
    hub.files.clear()
    hub.files |= {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()}
    found = backbones.load("hf:org/tiny").model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in backbones.load(str(model)).model.state_dict().items())


def test_a_repository_with_pickles_only_is_refused_and_they_are_never_asked_for(hub: type[_Hub]) -> None:
    hub.files["pytorch_model.bin"] = hub.files.pop("model.safetensors")
    with pytest.raises(Unsafe, match=r"org/tiny: has no model\.safetensors"):
        backbones.load("hf:org/tiny")
    assert not [name for name in hub.asked if name.endswith(".bin")]


@pytest.mark.parametrize(
    ("address", "words"),
    [("hf:org/other", "has no model 'org/other'"), ("hf:org/tiny@nope", "at revision 'nope'"), ("hf:a/b/c", "no model 'a/b/c'")],
)
def test_what_the_hub_does_not_have_is_a_wrong_address(hub: type[_Hub], address: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        backbones.load(address)


def test_a_repository_that_is_no_model_is_a_wrong_address(hub: type[_Hub]) -> None:
    hub.files.clear()
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        backbones.load("hf:org/tiny")


def test_a_cache_that_cannot_be_written_is_said(hub: type[_Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match=r"org/tiny/config\.json: fetching failed"):
        backbones.load("hf:org/tiny")
