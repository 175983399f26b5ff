"""An exported model is an ordinary Hugging Face folder, and one that the hub is given."""

import base64
import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import torch
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file

from orchestrator.errors import SweepError
from orchestrator.models.card import make_card
from orchestrator.models.folder import push, refuse_folder, write_folder
from orchestrator.models.tagging import Sentence, tag
from tests.real_sweeps import TINY_MODEL
from tests.served import Quiet, served
from workers.tags import WIKIANN

PLAIN = """
import sys, json
from transformers import pipeline
tag = pipeline("token-classification", model=sys.argv[1])
print(json.dumps([one["entity"] for one in tag("habari Nairobi")]))
assert not [name for name in sys.modules if name.split(".")[0] in ("workers", "orchestrator")]
"""
"""What somebody runs who has never heard of sparsweep."""


@pytest.fixture(scope="module")
def folder(kept, opened, tmp_path_factory):
    store, _ = kept
    folder = tmp_path_factory.mktemp("handed") / "model"
    write_folder(opened, make_card(store, opened.row, opened.kept.spec), folder)
    return folder


def test_it_has_config_weights_tokenizer_and_card(folder, kept):
    files = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= files
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {str(label): tag for label, tag in enumerate(WIKIANN.tags)}
    assert config["label2id"] == {tag: label for label, tag in enumerate(WIKIANN.tags)}
    assert config["architectures"] == ["BertForTokenClassification"]
    state, stored = kept[1].state_dict(), load_file(folder / "model.safetensors")
    assert stored.keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in stored.items())
    assert oct(folder.stat().st_mode & 0o777) == oct(0o755)
    assert {oct(file.stat().st_mode & 0o777) for file in folder.iterdir()} == {oct(0o644)}
    assert [file.name for file in folder.parent.iterdir()] == ["model"]
    assert ModelCard.load(folder / "README.md").data.language == ["sw"]


def test_no_file_names_a_folder_of_the_owner(folder, kept):
    for file in folder.iterdir():
        content = file.read_bytes()
        assert str(folder.parent).encode() not in content, file.name
        assert str(kept[0].location).encode() not in content, file.name
        assert str(TINY_MODEL).encode() not in content, file.name


@pytest.mark.slow
def test_plain_transformers_tags_with_it(folder, opened, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(folder)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    tagged = json.loads(done.stdout.splitlines()[-1])
    (here,) = tag(opened, [Sentence(["habari", "Nairobi"])])
    assert set(here.predicted) - {"O"} <= set(tagged) <= set(WIKIANN.tags)
    assert any(one != "O" for one in tagged)


def test_what_is_there_is_not_touched(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(SweepError, match="there: is there already; give a new folder"):
        refuse_folder(str(tmp_path / "there"))
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SweepError, match="link: is there already"):
        refuse_folder(str(tmp_path / "link"))
    with pytest.raises(SweepError, match="model: cannot be written"):
        refuse_folder("/dev/null/model")
    with pytest.raises(SweepError, match="the folder's name is empty"):
        refuse_folder("")


def test_a_folder_that_somebody_makes_meanwhile_is_kept(opened, tmp_path):
    folder = refuse_folder(str(tmp_path / "new" / "model"))
    folder.mkdir()
    (folder / "theirs").touch()
    with pytest.raises(SweepError, match="is there already"):
        write_folder(opened, "card", folder)
    assert [file.name for file in folder.iterdir()] == ["theirs"]
    assert [file.name for file in folder.parent.iterdir()] == ["model"]


class Hub(Quiet, BaseHTTPRequestHandler):
    """As much of the hub as an upload of small files asks."""

    got: ClassVar[dict] = {}
    refuses = False

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not body and self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        path = self.path.partition("?")[0]
        Hub.got.setdefault("tokens", set()).add(self.headers.get("Authorization"))
        if Hub.refuses:
            return self.answer(401, {"error": "Invalid user token."})
        if path == "/api/repos/create":
            Hub.got["create"] = json.loads(body)
            return self.answer(200, {"url": f"{constants.ENDPOINT}/me/model"})
        if path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular"} for f in files]
            return self.answer(200, {"files": [m | {"shouldIgnore": False} for m in modes]})
        if path.endswith("/commit/main"):
            Hub.got["commit"] = [json.loads(line) for line in body.splitlines()]
            url = f"{constants.ENDPOINT}/me/model/commit/0"
            return self.answer(200, {"commitUrl": url, "commitOid": "0" * 40, "success": True})
        return self.answer(200, {})

    def do_GET(self):
        self.answer(200, {"id": "me/model", "sha": "0" * 40, "siblings": []})

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub(monkeypatch):
    """A hub on loopback, and what it was given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # tests are, as a rule
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(Hub, "got", {})
    with served(server):
        yield Hub


def test_it_is_uploaded_with_the_token_of_its_owner(folder, hub):
    assert push(folder, "me/model") == f"{constants.ENDPOINT}/me/model"
    created = hub.got["create"]
    assert (created["name"], created["visibility"]) == ("model", "private")
    assert hub.got["tokens"] == {"Bearer hf_of_the_user"}
    given = {
        one["value"]["path"]: base64.b64decode(one["value"]["content"])
        for one in hub.got["commit"]
        if one["key"] == "file"
    }
    assert given == {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_hub_that_refuses_leaves_the_folder(folder, hub, monkeypatch):
    monkeypatch.setattr(Hub, "refuses", True)
    with pytest.raises(SweepError, match=r"--push: me/model was not uploaded \(") as error:
        push(folder, "me/model")
    assert len(str(error.value).splitlines()) == 1
    assert "check your token (`hf auth login`, or HF_TOKEN)" in str(error.value)
    assert "401" in str(error.value)
    assert (folder / "model.safetensors").exists()


def test_a_machine_that_is_offline_says_so(folder):
    with pytest.raises(SweepError, match="--push: me/model was not uploaded .*offline mode"):
        push(folder, "me/model")


def test_a_name_that_is_none_is_refused(folder, hub):
    with pytest.raises(SweepError, match="--push: 'a/b/c' is no name of a repository; give one"):
        push(folder, "a/b/c")
    assert hub.got == {}
