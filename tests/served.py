"""Servers that answer in a thread of the test's own process."""

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

LOOKS_EVERY_S = 0.02
"""How soon a server notices that it is to end; half a second unless told."""


class Quiet:
    """What handlers of requests begin with, so that they answer at once and say nothing of it."""

    disable_nagle_algorithm = True  # else an answer of two pieces waits 40 ms for the client's word

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served(server: socketserver.BaseServer) -> Iterator[None]:
    """Let it answer within, and close it afterwards."""
    thread = threading.Thread(target=server.serve_forever, args=[LOOKS_EVERY_S])
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
