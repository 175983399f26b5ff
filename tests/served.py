"""Servers that answer in a thread of the test's own process."""

import contextlib
import socketserver
import threading
from collections.abc import Iterator

LOOKS_EVERY_S = 0.02
"""How soon a server notices that it is to end; half a second unless told."""


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
