"""A server under test and callers that speak raw bytes to it. h11 reads the answers: a second opinion on ours."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import h11
import uvloop

from torana.errors import Error
from torana.net import Exchange, Headers
from torana.net.server import Server, ServerLimits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
App = Callable[[Exchange], Awaitable[None]]


def run(main: Coroutine[Any, Any, None], timeout_s: float = 20) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(timeout_s):
            await main

    uvloop.run(bounded())


def refuse(error: Error, path: str) -> tuple[Headers, bytes]:
    return [(b"content-type", b"text/plain")], f"{error.code} {path} {error}".encode()


def post(body: bytes, *lines: bytes, path: bytes = b"/") -> bytes:
    head = [b"POST %b HTTP/1.1" % path, b"Host: a", b"Content-Length: %d" % len(body), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


@dataclass
class Seen:
    """What an application was called with."""

    calls: list[tuple[str, str, bytes]] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    async def echo(self, exchange: Exchange) -> None:
        """Answers with the body it read."""
        self.exchanges.append(exchange)
        target = exchange.path + ("?" + exchange.query if exchange.query else "")
        call = (exchange.method, target)
        try:
            body = await exchange.read(1 << 26)
        except Error:
            self.calls.append((*call, b"unreadable"))
            raise
        self.calls.append((*call, body))
        exchange.answer(200, [(b"content-type", b"application/octet-stream")], body or b"ok")

    async def hang(self, exchange: Exchange) -> None:
        """Never answers; `ended` tells how it ended."""
        self.exchanges.append(exchange)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.ended.append("left" if exchange.left else "cancelled")
            raise


class Recorder:
    """A Source that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")


@contextlib.asynccontextmanager
async def serving(app: App, *, ssl: Any = None, **limits: Any) -> AsyncIterator[Server]:
    server = Server(app, ServerLimits(**limits), refuse)
    await server.start("127.0.0.1", 0, ssl=ssl)
    try:
        yield server
    finally:
        await server.close()


@dataclass
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes
    whole: bool
    interim: list[int]


class Caller:
    """One connection. Bytes go out as given; answers come back read by h11."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.rest = b""

    @classmethod
    async def connect(cls, server: Server, **options: Any) -> "Caller":
        return cls(*await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20, **options))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, data: bytes, method: str = "GET") -> Answer:
        await self.send(data)
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> Answer:
        """The next final answer; `whole` is False if the connection ended inside it."""
        h = h11.Connection(h11.CLIENT)
        h.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        h.send(h11.EndOfMessage())
        answer = Answer(0, {}, b"", False, [])
        data = self.rest
        self.rest = b""
        h.receive_data(data) if data else None
        while not answer.whole:
            try:
                event = h.next_event()
            except h11.RemoteProtocolError:
                return answer
            match event:
                case h11.NEED_DATA:
                    h.receive_data(await self.some())
                case h11.InformationalResponse():
                    answer.interim.append(event.status_code)
                case h11.Response():
                    answer.status = event.status_code
                    answer.headers = dict(event.headers.raw_items())
                case h11.Data():
                    answer.body += event.data
                case h11.EndOfMessage():
                    answer.whole = True
                case _:
                    return answer
        self.rest = h.trailing_data[0]
        return answer

    async def some(self) -> bytes:
        try:
            return await self.reader.read(1 << 20)
        except ConnectionError:
            return b""

    async def closed(self) -> bytes:
        """Everything up to the end of the connection."""
        data, self.rest = self.rest, b""
        while more := await self.some():
            data += more
        return data

    def half_close(self) -> None:
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def until(condition: Callable[[], bool], timeout_s: float = 5) -> None:
    """Waits for something that happens on its own; TimeoutError if it does not."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)
