"""A model hub on this machine: repositories with commits and branches, behind the part of the hub's HTTP interface that is used.

whoami, create, branch, info, tree, validate-yaml, preupload, LFS batch and upload, commit, resolve. What it holds is in memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

TOKEN, USER = "hf_of_ada", "ada"
Files = dict[str, bytes]


@dataclass
class Repository:
    """``commits``: name -> files; ``heads``: branch -> the newest of them."""

    private: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Files) -> str:
        name = hashlib.sha1(f"{branch}{len(self.commits)}".encode()).hexdigest()
        self.commits[name] = dict(files)
        self.heads[branch] = name
        return name

    def at(self, revision: str) -> tuple[str, Files] | None:
        name = self.heads.get(revision, revision)
        return (name, self.commits[name]) if name in self.commits else None

    @property
    def main(self) -> Files:
        return self.commits[self.heads["main"]]


class Hub:
    """``asked``: every request; ``damage``: path -> what is sent in its place; ``failing``: part of a request -> status (0: it is cut)."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []
        self.damage: Files = {}
        self.failing: dict[str, int] = {}
        self.mode = "regular"  # or "lfs": how safetensors are uploaded
        self.uploads: Files = {}
        self.pages: dict[str, Any] = {}
        self.before_commit: Callable[[], None] = lambda: None
        self.url = ""

    def create(self, repo: str, private: bool = False) -> Repository:
        found = self.repositories[repo] = Repository(private)
        found.commit("main", {".gitattributes": b""})
        return found


def etag(name: str, data: bytes, mode: str) -> str:
    """What the hub names a file by: SHA-256 of a large one, git's own checksum of another."""
    if mode == "lfs" and name.endswith(".safetensors"):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One request; ``hub`` is set by the server that is made for it."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        self.body = self.received()
        path = urllib.parse.urlsplit(self.path).path
        request = f"{self.command} {path}"
        self.hub.asked.append(request)
        for part, status in self.hub.failing.items():
            if part in request:
                return self.cut() if status == 0 else self.say({"error": "as asked"}, status)
        for pattern, answer in ROUTES:
            if found := re.fullmatch(pattern, request):
                return answer(self, *map(urllib.parse.unquote, found.groups()))
        self.say({"error": f"no such page: {request}"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def received(self) -> bytes:
        """The body, in one piece or in chunks."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def say(self, fields: Any, status: int = 200, **headers: str) -> None:
        data = json.dumps(fields).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def repository(self, repo: str, write: bool = False) -> Repository | None:
        """The one that is asked for, or None when a refusal has been said."""
        found = self.hub.repositories.get(repo)
        if found is None or (found.private and not self.known()):
            self.say({"error": "Repository not found"}, 404 if self.known() else 401, X_Error_Code="RepoNotFound")
        elif write and not self.known():
            self.refuse_token()
        elif write and not repo.startswith(f"{USER}/"):
            self.say({"error": "forbidden"}, 403, X_Error_Message="no write access")
        else:
            return found
        return None

    def refuse_token(self) -> None:
        self.say({"error": "bad token"}, 401, X_Error_Message="Invalid credentials in Authorization header")

    def snapshot(self, repo: str, revision: str) -> tuple[Repository, str, Files] | None:
        repository = self.repository(repo)
        if repository is None:
            return None
        found = repository.at(revision)
        if found is None:
            self.say({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
            return None
        return (repository, *found)

    def whoami(self) -> None:
        self.say({"name": USER, "type": "user"}) if self.known() else self.refuse_token()

    def create(self) -> None:
        fields = json.loads(self.body)
        repo = f"{fields.get('organization') or USER}/{fields['name']}"
        url = {"url": f"{self.hub.url}/{repo}"}
        if not self.known():
            self.refuse_token()
        elif repo in self.hub.repositories:
            self.say(url, 409)
        elif not repo.startswith(f"{USER}/"):
            self.say({"error": "forbidden"}, 403, X_Error_Message="no write access")
        else:
            self.hub.create(repo, fields.get("private") or fields.get("visibility") == "private")
            self.say(url)

    def branch(self, repo: str, branch: str) -> None:
        repository = self.repository(repo, write=True)
        if repository is not None:
            status = 409 if branch in repository.heads else 200
            repository.heads.setdefault(branch, repository.heads["main"])
            self.say({}, status)

    def info(self, repo: str, revision: str = "main") -> None:
        if found := self.snapshot(repo, revision):
            repository, commit, files = found
            self.say({"_id": "1", "id": repo, "sha": commit, "private": repository.private, "downloads": 0, "likes": 0, "tags": [],
                      "siblings": [{"rfilename": name} for name in files]})

    def tree(self, repo: str, revision: str) -> None:
        if found := self.snapshot(repo, revision):
            self.say([self.entry(name, data) for name, data in found[2].items()])

    def entry(self, name: str, data: bytes) -> dict[str, Any]:
        fields = {"type": "file", "path": name, "size": len(data), "oid": etag(name, data, "regular")}
        if self.hub.mode == "lfs" and name.endswith(".safetensors"):
            fields["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return fields

    def validate(self) -> None:
        found = re.match(r"---\n(.*?)\n---\n", json.loads(self.body)["content"], re.S)
        try:
            good = isinstance(yaml.safe_load(found[1]), dict) if found else False
        except yaml.YAMLError:
            good = False
        self.say({"errors": [] if good else [{"message": "no metadata"}], "warnings": []}, 200 if good else 400)

    def preupload(self, repo: str, revision: str) -> None:
        if repository := self.repository(repo, write=True):
            there = (repository.at(revision) or ("", {}))[1]
            modes = {f["path"]: self.hub.mode if f["path"].endswith(".safetensors") else "regular" for f in json.loads(self.body)["files"]}
            self.say({"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False,
                                 "oid": etag(path, there[path], mode) if path in there else None} for path, mode in modes.items()]})

    def batch(self, repo: str) -> None:
        if self.repository(repo, write=True) is not None:
            objects = [{**o, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{o['oid']}"}}} for o in json.loads(self.body)["objects"]]
            self.say({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        self.hub.uploads[oid] = self.body
        self.say({}, 200 if hashlib.sha256(self.body).hexdigest() == oid else 400)

    def commit(self, repo: str, revision: str) -> None:
        repository = self.repository(repo, write=True)
        if repository is None:
            return
        self.hub.before_commit()
        head, files = repository.at(revision) or ("", {})
        files = dict(files)
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header" and value.get("parentCommit", head) != head:
                return self.say({"error": "the branch moved"}, 412)
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if item["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
            if item["key"] == "deletedFile":
                del files[value["path"]]
        name = repository.commit(revision, files)
        self.say({"success": True, "commitOid": name, "commitUrl": f"{self.hub.url}/{repo}/commit/{name}"})

    def resolve(self, repo: str, revision: str, name: str) -> None:
        found = self.snapshot(repo, revision)
        if found is None:
            return
        _, commit, files = found
        if name not in files:
            return self.say({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        data = self.hub.damage.get(name, files[name])
        self.send_response(200)
        self.send_header("ETag", f'"{etag(name, files[name], self.hub.mode)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


_REPO = r"([^/]+/[^/]+)"
ROUTES: list[tuple[str, Callable[..., None]]] = [
    (r"GET /api/whoami-v2", Handler.whoami), (r"POST /api/repos/create", Handler.create),
    (rf"POST /api/models/{_REPO}/branch/(.+)", Handler.branch), (r"POST /api/validate-yaml", Handler.validate),
    (rf"GET /api/models/{_REPO}", Handler.info), (rf"GET /api/models/{_REPO}/revision/(.+)", Handler.info),
    (rf"GET /api/models/{_REPO}/tree/([^/]+)", Handler.tree), (rf"POST /api/models/{_REPO}/preupload/(.+)", Handler.preupload),
    (rf"POST /api/models/{_REPO}/commit/(.+)", Handler.commit), (rf"POST /{_REPO}\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /lfs/(\w+)", Handler.upload), (rf"(?:GET|HEAD) /{_REPO}/resolve/([^/]+)/(.+)", Handler.resolve),
]


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub with nothing in it, reached at ``url`` until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def used(hub: Hub, cache: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The client of this process speaks to ``hub`` with Ada's token and keeps what it fetches in ``cache``."""
    from huggingface_hub import constants

    for proxy in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    for name, value in {"HF_HUB_OFFLINE": False, "ENDPOINT": hub.url, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_CACHE": cache,
                        "HF_HUB_DISABLE_XET": True, "HF_TOKEN_PATH": f"{cache}/no-token"}.items():
        monkeypatch.setattr(constants, name, value)
    yield hub
