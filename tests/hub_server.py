"""A hub on loopback that speaks as much of Hugging Face's API as its clients need here.

Repositories have commits, the last of which is `main`. Large files are given away by another host,
to which the clients may not show a token, as the real hub does it. Answers can be made to fail.
"""

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.served import Quiet, served

LARGE = (".parquet", ".safetensors", ".bin")
"""Files that are kept by another host."""

TINY_MODEL = Path(__file__).parent / "golden" / "tiny-bert"
"""Config and tokenizer of a small encoder."""


@dataclass
class HubRepository:
    """A repository on the server.

    Attributes:
        commits: their files by path, by commit, the newest last.
        tokens: those that may read it; None: it is public.
        is_gated: whether others see that it is there.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tokens: set[str] | None = None
    is_gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)  # their commits, beside that of main

    @property
    def main(self) -> str:
        return list(self.commits)[-1]


@dataclass
class Fault:
    """Answers that go wrong.

    Attributes:
        path: part of the path of the requests that it strikes.
        status: the answer; None: the connection breaks.
        headers: of the answer.
        times: how many requests.
        after: bytes of the body that come before the connection breaks.
        method: only of this method; None: of any.
    """

    path: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 10**6
    after: int = 0
    method: str | None = None
    delay_s: float = 0.0


@dataclass
class Hub:
    """The server's state; tests change it while it runs.

    Attributes:
        address: http://HOST:PORT.
        repositories: by kind and name.
        known_tokens: those that are somebody's.
        faults: answers that go wrong; the first that strikes counts.
        requests: what was asked.
        leaks: large files for which a token was shown.
        waits: seconds that the client would have slept, in the fixture `hub`.
        large: files by their SHA-256.
    """

    address: str = ""
    repositories: dict[tuple[str, str], HubRepository] = field(default_factory=dict)
    known_tokens: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)

    def publish(
        self, kind: str, name: str, files: Mapping[str, bytes | Path], **rights: Any
    ) -> str:
        """Add a commit; returns it."""
        contents = {
            path: file.read_bytes() if isinstance(file, Path) else file
            for path, file in files.items()
        }
        repository = self.repositories.setdefault((kind, name), HubRepository(**rights))
        seed = json.dumps([len(repository.commits), sorted(contents)]).encode()
        commit = hashlib.sha1(seed + b"".join(contents.values())).hexdigest()
        repository.commits[commit] = contents
        return commit


@contextlib.contextmanager
def run_hub() -> Iterator[Hub]:
    """A server in a thread of this process."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    with served(server):
        yield hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A server that the clients of this process ask, with a cache of the test's own."""
    from huggingface_hub import constants

    from workers.hub import repository, snapshots

    with run_hub() as server:
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(repository, "_away", {})
        monkeypatch.setattr(snapshots, "PAUSE_S", 0.01)
        waits_for_nothing = SimpleNamespace(sleep=server.waits.append)
        monkeypatch.setattr("huggingface_hub.utils._http.time", waits_for_nothing)
        monkeypatch.setattr("huggingface_hub.file_download.time", waits_for_nothing)
        yield server


def wikiann_files(folder: Path, languages: list[str]) -> dict[str, bytes | Path]:
    """A data set of some languages, as WikiANN stands on the hub."""
    files: dict[str, bytes | Path] = {
        f"{code}/{file.name}": file for code in languages for file in (folder / code).iterdir()
    }
    configs = "".join(
        f"- config_name: {code}\n  data_files:\n"
        + "".join(
            f"  - split: {split}\n    path: {code}/{split}-*\n"
            for split in ("validation", "test", "train")
        )
        for code in languages
    )
    return files | {"README.md": f"---\nconfigs:\n{configs}---\n# WikiANN\n".encode()}


def folder_files(folder: Path) -> dict[str, bytes | Path]:
    """What lies in a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }


class _Handler(Quiet, BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path != "/api/agent-harnesses":  # which the client asks for once, by itself
            self.hub.requests.append(f"{self.command} {path}")
        fault = self._fault(path)
        if fault is not None and fault.delay_s:
            time.sleep(fault.delay_s)
        if fault is not None and fault.status is not None:
            return self._send(fault.status, b"", fault.headers)
        self._cut = None if fault is None or fault.delay_s else fault.after
        if path.startswith("/large/"):
            if self.headers.get("Authorization"):
                self.hub.leaks.append(path)
            return self._send_file(self.hub.large[path.removeprefix("/large/")], {})
        routes: list[tuple[str, Callable[..., None]]] = [
            (r"/api/(models|datasets)/(.+)/revision/(.+)", self._info),
            (r"/api/(models|datasets)/(.+)/tree/([^/]+)/?", self._tree),
            (r"/(?:(datasets)/)?(.+?)/resolve/([^/]+)/(.+)", self._resolve),
        ]
        for pattern, answer in routes:
            if found := re.fullmatch(pattern, path):
                kind = "dataset" if found[1] == "datasets" else "model"
                repository = self._open(kind, found[2])
                if repository is None:
                    return None
                revision = found[3]
                branches = repository.branches | {"main": repository.main}
                commit = branches.get(revision, revision)
                if commit not in repository.commits:
                    return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
                return answer(repository, commit, *found.groups()[3:])
        if path == "/api/whoami-v2":
            if self._token() in self.hub.known_tokens:
                return self._send_json({"name": "me"})
            return self._refuse_token()
        return self._send(200 if path == "/" else 404, b"")

    def _fault(self, path: str) -> Fault | None:
        for fault in self.hub.faults:
            if fault.path in path and fault.times > 0 and fault.method in (None, self.command):
                fault.times -= 1
                return fault
        return None

    def _open(self, kind: str, name: str) -> HubRepository | None:
        """The repository, for whom may read it; else the refusal is sent."""
        given = self._token()
        if given and given not in self.hub.known_tokens:
            self._refuse_token()
            return None
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (
            repository.tokens is not None
            and given not in repository.tokens
            and not repository.is_gated
        ):
            self._send(404 if given else 401, b"", {"X-Error-Code": "RepoNotFound"})
            return None
        is_open = repository.tokens is None or given in repository.tokens
        if not is_open and "/resolve/" in self.path:  # what a gated one is made of, all may see
            self._send(403 if given else 401, b"", {"X-Error-Code": "GatedRepo"})
            return None
        return repository

    def _token(self) -> str:
        return str(self.headers.get("Authorization", "")).removeprefix("Bearer ")

    def _refuse_token(self) -> None:
        self._send(401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"})

    def _info(self, repository: HubRepository, commit: str) -> None:
        self._send_json({"id": "x/y", "_id": "0", "sha": commit})

    def _tree(self, repository: HubRepository, commit: str) -> None:
        entries = []
        for path, content in repository.commits[commit].items():
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
            entry["oid"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            if path.endswith(LARGE):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
            entries.append(entry)
        self._send_json(entries)

    def _resolve(self, repository: HubRepository, commit: str, path: str) -> None:
        content = repository.commits[commit].get(path)
        headers = {"X-Repo-Commit": commit}
        if content is None:
            return self._send(404, b"", headers | {"X-Error-Code": "EntryNotFound"})
        if path.endswith(LARGE):
            sha256 = hashlib.sha256(content).hexdigest()
            self.hub.large[sha256] = content
            headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
            elsewhere = self.hub.address.replace("127.0.0.1", "localhost")
            return self._send(302, b"", headers | {"Location": f"{elsewhere}/large/{sha256}"})
        etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return self._send_file(content, headers | {"ETag": f'"{etag}"'})

    def _send_file(self, content: bytes, headers: Mapping[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked is None:
            return self._send(200, content, headers)
        start = int(asked[1])
        place = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.hub.requests[-1] += f" from {start}"
        return self._send(206, content[start:], {**headers, **place})

    def _send_json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = getattr(self, "_cut", None)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True
            self.connection.close()
