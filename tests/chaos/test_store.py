"""The way to a store fails as it is told to, and works again afterwards."""

import contextlib
import http.client
import http.server
from collections.abc import Iterator

import pytest

from tests.chaos.store import FailingWay
from tests.served import Quiet, served

ENDED = (ConnectionError, http.client.HTTPException)


class Hello(Quiet, http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")


@pytest.fixture
def way() -> Iterator[FailingWay]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    with served(server), FailingWay(f"http://127.0.0.1:{server.server_port}") as way:
        yield way


def connect(way: FailingWay, timeout_s: float = 10) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(way.address.removeprefix("http://"), timeout=timeout_s)


def ask(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/")
    with connection.getresponse() as response:
        response.read()
        return response.status


def test_it_passes_on_and_fails_as_told(way):
    with contextlib.closing(connect(way)) as works:
        assert ask(works) == 200
    with way.failing("errs"), contextlib.closing(connect(way)) as errs:
        assert ask(errs) == 500
    connection = connect(way, timeout_s=0.2)
    for mode, error in (("refuses", ENDED), ("silent", TimeoutError)):
        with way.failing(mode), contextlib.closing(connection), pytest.raises(error):
            ask(connection)
    with contextlib.closing(connect(way)) as works:
        assert ask(works) == 200


def test_connections_that_are_open_end_when_it_begins_to_fail(way):
    with contextlib.closing(connect(way)) as connection:
        assert ask(connection) == 200
        with way.failing("silent"), pytest.raises(ENDED):
            ask(connection)
