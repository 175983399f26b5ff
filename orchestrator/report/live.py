"""The page of results that still grow, served to browsers of this machine.

Whoever may read the results may read the page: it is served on loopback alone, at an address with
a token that nobody guesses, and to requests that name this machine. A page of another site that
had its own name resolved to this machine (DNS rebinding) names itself in its requests, and is
refused. Nothing else is served.
"""

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Template

from orchestrator.errors import SweepError
from orchestrator.results.store import ResultStore

LOOPBACK = "127.0.0.1"
NAMES = (LOOPBACK, "localhost")
"""How browsers of this machine name it; with any port, since a tunnel may have its own."""

RESTS = 3
"""For how many times as long as a page took to make none is made: the sweep needs the machine."""

READ = ("plans", "trials", "scores", "attempts", "compact")
"""Folders of results that change whenever something is committed."""

_EMPTY = Template(
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
    "<title>sparsweep</title><p>{{ told }}</p></html>",
    autoescape=True,
)

Make = Callable[[str], str]
"""Makes the page, as HTML, for results whose state has this name."""


def find_state(store: ResultStore) -> str:
    """A name for what is committed to results: another one as soon as that changes.

    Raises:
        OSError: the results do not answer.
    """
    digest = hashlib.sha256()
    for folder in READ:
        for entry in sorted((store.location / folder).entries()):
            digest.update(repr((folder, *entry)).encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is served.

    Attributes:
        page: HTML.
        state: of the results that it shows; empty where it shows none.
        problem: why the page is not of what is there now; empty where it is.
    """

    page: bytes
    state: str = ""
    problem: str = ""


class LivePage:
    """A page that is made again when the results have changed, in a thread of its own.

    Args:
        store: the results.
        make: makes the page.
        every_s: seconds between two looks at the results.
        on_problem: told, in a line, when a page cannot be made, and another time only when it is
            for another reason.
    """

    def __init__(
        self, store: ResultStore, make: Make, every_s: float, on_problem: Callable[[str], object]
    ) -> None:
        self.shown = Shown(page=_EMPTY.render(told="The report is being made.").encode())
        self._store = store
        self._make = make
        self._every_s = every_s
        self._on_problem = on_problem
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True, name="report")

    def __enter__(self) -> "LivePage":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()  # not awaited: what it makes is kept nowhere

    def _go_on(self) -> None:
        rest_s = 0.0
        while not self._is_over.wait(rest_s):
            started_s = time.monotonic()
            self.renew()
            rest_s = max(self._every_s, RESTS * (time.monotonic() - started_s))

    def renew(self) -> None:
        """Make the page again if the results have changed. What fails stays as it was, and is tried
        again the next time: files change while they are read."""
        try:
            state = find_state(self._store)
            if state != self.shown.state or self.shown.problem:
                page = self._make(state).encode()
                self.shown = Shown(page=page, state=state)
        except Exception as error:
            is_ours = not isinstance(error, SweepError | OSError)
            what = f"{type(error).__name__}: {error}" if is_ours else str(error)
            self._say(" ".join(what.split()))

    def _say(self, problem: str) -> None:
        is_new = problem != self.shown.problem
        before = self.shown
        page = before.page if before.state else _EMPTY.render(told=problem).encode()
        self.shown = Shown(page=page, state=before.state, problem=problem)
        if is_new:
            self._on_problem(problem)


class LiveServer(ThreadingHTTPServer):
    """Serves a page on loopback.

    Args:
        live: the page.
        port: the port; 0 for any that is free.

    Raises:
        SweepError: the port is taken, or not for this user.
    """

    daemon_threads = True

    def __init__(self, live: LivePage, port: int = 0) -> None:
        self.live = live
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise SweepError(
                f"--port: {port} cannot be had ({why}); give another, or none for one that is free"
            ) from error

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the midst of an answer is no error."""

    def answer(self, host: str, path: str) -> tuple[HTTPStatus, str, bytes]:
        """What a request gets: status, kind of content, and content.

        Args:
            host: whom it names, with or without a port.
            path: for what it asks.
        """
        token, _, rest = path.removeprefix("/").partition("/")
        is_known = hmac.compare_digest(token.encode(), self.token.encode())
        if _name_of(host) not in NAMES or not is_known:
            return HTTPStatus.FORBIDDEN, "text/plain", b"The address that was printed is needed.\n"
        shown = self.live.shown
        if rest == "":
            return HTTPStatus.OK, "text/html", shown.page
        if rest == "state":
            told = {"state": shown.state, "problem": shown.problem}
            return HTTPStatus.OK, "application/json", json.dumps(told).encode()
        return HTTPStatus.NOT_FOUND, "text/plain", b"There is only the report.\n"


def _name_of(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


class _Handler(BaseHTTPRequestHandler):
    """Answers requests; says nothing of them."""

    server: LiveServer
    server_version, sys_version = "sparsweep", ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer."""
        hosts = self.headers.get_all("Host") or [""]
        host = hosts[0] if len(hosts) == 1 else ""
        status, kind, content = self.server.answer(host, self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        """Answer without content."""
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal has the address alone."""
