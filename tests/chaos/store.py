"""A way to an object store that fails on demand."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Self

ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
SLOW_S = 1.0
"""How long each piece of what is said takes on a slow way."""
PIECE = 2**16


class FailingWay:
    """Passes on what is said to a server and what it answers, as long as it works. Change `mode` by
    `fail`.

    Args:
        server: its address, http://HOST:PORT.

    Attributes:
        mode: "works"; "errs": each request is answered by 500; "slow": each piece takes a second;
            "silent": nothing is answered; "refuses": connections are closed at once.
        address: where it listens, inside the block.
    """

    def __init__(self, server: str):
        host, _, port = server.removeprefix("http://").partition(":")
        self._server = host, int(port)
        self.mode = "works"
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="way")

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._meet, "127.0.0.1", 0)
        self._listening = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        port = self._listening.sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._listening.close()
        here = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not here]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for writer in self._open:
            writer.close()

    @contextlib.contextmanager
    def failing(self, mode: str) -> Iterator[None]:
        """Fail in this way inside the block."""
        self._change(mode)
        try:
            yield
        finally:
            self._change("works")

    def _change(self, mode: str) -> None:
        """Connections that are open end: they were made under other circumstances."""
        self.mode = mode
        self._loop.call_soon_threadsafe(lambda: [writer.close() for writer in self._open])

    async def _meet(self, asking: asyncio.StreamReader, asker: asyncio.StreamWriter) -> None:
        self._open.add(asker)
        with contextlib.suppress(OSError):
            match self.mode:
                case "works" | "slow":
                    await self._pass_on(asking, asker)
                case "errs":
                    await asking.read(PIECE)
                    asker.write(ERROR)
                    await asker.drain()
                case "silent":
                    while await asking.read(PIECE):
                        pass
        self._open.discard(asker)
        asker.close()

    async def _pass_on(self, asking: asyncio.StreamReader, asker: asyncio.StreamWriter) -> None:
        answering, server = await asyncio.open_connection(*self._server)
        self._open.add(server)
        await asyncio.gather(self._copy(asking, server), self._copy(answering, asker))
        self._open.discard(server)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(PIECE):
                if self.mode == "slow":
                    await asyncio.sleep(SLOW_S)
                target.write(piece)
                await target.drain()
        target.close()
