"""An upstream that says exactly the bytes a test wrote, and counts what it was asked.

Each complete request calls the test's script with the connection it came by: the script writes, waits, closes,
resets or says nothing. It runs in the test's own loop on 127.0.0.1, port 0, and ends with the `async with`.
"""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import uvloop

from torana.net.client import Client, Origin
from torana.net.origin import render_head
from torana.records import Timeouts

TEST_S = 30.0  # no test of the client needs a tenth of it
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")


class Peer(asyncio.Protocol):
    """The upstream's end of one connection."""

    def __init__(self, upstream: "Upstream") -> None:
        self.upstream = upstream
        self.requests: list[bytes] = []
        self.lost = asyncio.Event()
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.upstream.peers.append(self)

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (request := self._cut()) is not None:
            self.requests.append(request)
            self.upstream.requests.append(request)
            self.upstream.start(self.upstream.script(self, request))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def _cut(self) -> bytes | None:
        head, found, rest = self._rest.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        size = int(length[1]) if length else 0
        if not found or len(rest) < size:
            return None
        self._rest = rest[size:]
        return head + found + rest[:size]

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def close(self) -> None:
        self.transport.close()

    def half_close(self) -> None:
        self.transport.write_eof()

    def reset(self) -> None:
        """RST instead of FIN."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


Script = Callable[[Peer, bytes], Awaitable[None]]


class Upstream:
    """`peers`: every connection that was made; `requests`: every request that was read to its end."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.peers: list[Peer] = []
        self.requests: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, play: Awaitable[None]) -> None:
        async def run() -> None:
            await play

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @asynccontextmanager
    async def listen(self, tls: ssl.SSLContext | None, host: str) -> AsyncIterator["Upstream"]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Peer(self), host, 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        self.origin = Origin("https" if tls else "http", "localhost" if tls else host, self.port)
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            for peer in self.peers:
                peer.transport.abort()


def upstream(script: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Any:
    """`async with upstream(script) as there: ...`"""
    return Upstream(script).listen(tls, host)


def saying(*writes: bytes) -> Script:
    """A script that answers every request with these writes."""

    async def script(peer: Peer, request: bytes) -> None:
        for data in writes:
            peer.write(data)
            await asyncio.sleep(0)

    return script


def whole(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = b"".join(b"%b\r\n" % header for header in headers)
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, lines, len(body), body)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


async def send(
    client: Client, origin: Origin, body: bytes = b"{}", stream: bool = False, **limits: float
) -> Any:
    head = render_head("POST", origin, "/v1/x", [("content-type", "application/json")])
    return await client.send(origin, head, body, Timeouts(**limits), stream=stream)


async def fetch(client: Client, origin: Origin, body: bytes = b"{}", **limits: float) -> bytes:
    reply = await send(client, origin, body, **limits)
    return await reply.read(1 << 26)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another callback; the test's own limit bounds it."""
    while not condition():
        await asyncio.sleep(0.002)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(TEST_S):
            await test

    uvloop.run(bounded())


async def failure(awaitable: Awaitable[Any]) -> BaseException:
    try:
        await awaitable
    except Exception as error:
        return error
    raise AssertionError("it did not fail")
