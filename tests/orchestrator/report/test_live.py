"""The page of results that grow: when it is made again, and who gets it."""

import http.client
import json
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest

from orchestrator.errors import StoreError, SweepError
from orchestrator.report.live import LivePage, LiveServer, find_state
from orchestrator.results.store import ResultStore
from tests.orchestrator.analysis.committing import commit
from tests.served import served


@pytest.fixture
def store(tmp_path):
    store = ResultStore(str(tmp_path / "results"))
    commit(store, "sw", 0, 0, 0.9)
    return store


class Maker:
    """Makes a page that says how often it was made; fails when it is told to."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.fault: Exception | None = None

    def __call__(self, state: str) -> str:
        if self.fault:
            raise self.fault
        self.made.append(state)
        return f"page {len(self.made)}"


@pytest.fixture
def make():
    return Maker()


@pytest.fixture
def said():
    return []


@pytest.fixture
def live(store, make, said):
    return LivePage(store, make, 0.01, said.append)


@pytest.fixture
def server(live):
    live.renew()
    server = LiveServer(live)
    with served(server):
        yield server


def ask(server, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_state_changes_with_what_is_committed_alone(store):
    first = find_state(store)
    ResultStore(str(store.location)).read("trials")
    assert find_state(store) == first
    (store.location / "report.html").write_atomic(b"a page")
    assert find_state(store) == first
    commit(store, "yo", 0, 0, 0.9)
    second = find_state(store)
    assert second != first
    store.compact()
    assert find_state(store) not in (first, second)


def test_a_page_is_made_again_only_when_results_changed(store, live, make):
    live.renew()
    live.renew()
    assert (len(make.made), live.shown.page) == (1, b"page 1")
    commit(store, "yo", 0, 0, 0.9)
    live.renew()
    assert (len(make.made), live.shown.page) == (2, b"page 2")
    assert live.shown.state == make.made[-1]


def test_what_fails_is_told_once_and_tried_again(store, live, make, said):
    live.renew()
    commit(store, "yo", 0, 0, 0.9)
    make.fault = StoreError("trials: <b>damaged</b>\nfile")
    live.renew()
    live.renew()
    assert said == ["trials: <b>damaged</b> file"]
    assert live.shown.page == b"page 1"
    assert live.shown.problem == said[0]
    make.fault = KeyError("x")
    live.renew()
    assert said[1:] == ["KeyError: 'x'"]
    make.fault = None
    live.renew()
    assert (live.shown.page, live.shown.problem) == (b"page 2", "")


def test_before_the_first_page_there_is_one_that_asks_again(live, make):
    assert b"The report is being made." in live.shown.page
    make.fault = StoreError("<script>alert(1)</script>")
    live.renew()
    assert b'http-equiv="refresh"' in live.shown.page
    assert b"&lt;script&gt;" in live.shown.page
    assert b"<script" not in live.shown.page


def test_a_thread_makes_pages_until_it_is_over(store, live, make):
    with live:
        for language in ("yo", "af"):
            until = time.monotonic() + 60
            while live.shown.state != find_state(store) and time.monotonic() < until:
                time.sleep(0.01)
            assert live.shown.state == make.made[-1] == find_state(store)
            commit(store, language, 0, 0, 0.9)
    assert len(make.made) >= 2


def test_the_address_gives_the_page_and_its_state(server, live):
    with urllib.request.urlopen(server.address, timeout=60) as answer:
        assert answer.read() == b"page 1"
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    status, told = ask(server, f"/{server.token}/state")
    assert (status, json.loads(told)) == (200, {"state": live.shown.state, "problem": ""})
    assert ask(server, f"/{server.token}/", method="HEAD") == (200, "")
    assert urlsplit(server.address).hostname == "127.0.0.1"
    assert server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "path",
    ["/", "/state", "/x/", "/x/state", "//", "/../../etc/passwd", "/%C3%A9"],
)
def test_without_the_token_nothing_is_given(server, path):
    assert ask(server, path)[0] == 403
    assert ask(server, f"/{server.token}x/")[0] == 403
    assert ask(server, f"/{server.token[:-1]}/")[0] == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "["]
)
def test_a_request_that_names_another_host_is_refused(server, host):
    assert ask(server, f"/{server.token}/", host)[0] == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9999", "LOCALHOST:1"])
def test_this_machine_may_be_named_with_the_port_of_a_tunnel(server, host):
    assert ask(server, f"/{server.token}/", host) == (200, "page 1")


@pytest.mark.parametrize("path", ["report.html", "../trials", "%2e%2e/", "state/"])
def test_no_other_file_is_served(server, path):
    assert ask(server, f"/{server.token}/{path}")[0] == 404


def test_a_port_that_is_taken_is_refused(server, live):
    with pytest.raises(SweepError, match=rf"--port: {server.server_port} cannot be had .*in use"):
        LiveServer(live, server.server_port)
    with pytest.raises(SweepError, match="--port: 70000 cannot be had"):
        LiveServer(live, 70000)
