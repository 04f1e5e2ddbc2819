"""Two bridges to ASGI (https://asgi.readthedocs.io/en/latest/specs/www.html), one in each direction.

AsgiHost runs somebody's ASGI application on our server: that is how the control plane is served. as_asgi() makes
an ASGI application of ours, to be mounted under another server, which then owns framing, limits and deadlines.
Neither knows what the bytes say, and neither is on the hot path of our own server.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, unquote

from torana.errors import BodyTooLarge, Error
from torana.net import Exchange, Fields, Headers, Source
from torana.net.exchange import App
from torana.net.framing import callers_headers, has_body, header_block

Scope = dict[str, Any]  # of JSON-like values: {"type": "http", "method": str, "path": str, ...}
Message = dict[str, Any]  # {"type": "http.request" | "http.response.start" | ..., ...}
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_BYTES_MAX = 1024 * 1024
# Of a request to a hosted application. The admin API takes forms and small JSON; raise it where more is needed.

HELD_BYTES_MAX = 64 * 1024
WRITE_HIGH_BYTES = 256 * 1024
WRITE_LOW_BYTES = 64 * 1024
# As in ServerLimits: the other server's own buffer comes on top.


class AsgiHost:
    """An application for Server that runs an ASGI 3 application. HTTP only: no lifespan, no websockets (an
    Upgrade is an ordinary request here).

    A body that cannot be read (too large, too slow, cut off) looks like a disconnect to the ASGI application;
    whatever it answers to that, the caller is told the real reason by the server.
    """

    def __init__(self, app: AsgiApp, *, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        self._app = app
        self._body_bytes_max = body_bytes_max

    async def __call__(self, exchange: Exchange) -> None:
        call = _HostedCall(exchange, self._body_bytes_max)
        try:
            await self._app(_scope(exchange), call.receive, call.send)
        except Exception:
            if call.refusal is None:
                raise
        if call.refusal is not None:
            raise call.refusal


def _scope(exchange: Exchange) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": exchange.method,
        "scheme": "https" if exchange.secure else "http",
        "path": unquote(exchange.path),
        "raw_path": exchange.path.encode(),
        "query_string": exchange.query.encode(),
        "root_path": "",
        "headers": list(exchange.headers.items()),
        "client": (exchange.peer, 0) if exchange.peer else None,
        "server": None,
    }


class _HostedCall:
    """receive() and send() of one call. A start is held until its first body tells whether it is the last."""

    def __init__(self, exchange: Exchange, body_bytes_max: int) -> None:
        self.refusal: Error | None = None
        self._exchange = exchange
        self._body_bytes_max = body_bytes_max
        self._asked = False
        self._ended = asyncio.Event()
        self._start: tuple[int, Headers] | None = None
        self._flow = _Flow()
        exchange.source = self._flow

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            try:
                body = await self._exchange.read(self._body_bytes_max)
            except Error as error:
                self.refusal = error
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": body, "more_body": False}
        if self.refusal is None:
            await self._ended.wait()  # a caller that leaves cancels the whole task
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.refusal is not None:
            return
        match message["type"]:
            case "http.response.start":
                if self._start is not None or self._exchange.started:
                    raise RuntimeError("http.response.start was sent twice")
                headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
                self._start = message["status"], headers
            case "http.response.body":
                self._send_body(bytes(message.get("body", b"")), more=message.get("more_body", False))
                await self._flow.open.wait()
            case other:
                raise RuntimeError(f"{other} is not a message of an HTTP answer")

    def _send_body(self, body: bytes, *, more: bool) -> None:
        exchange, start = self._exchange, self._start
        self._start = None
        if start is None and (not exchange.started or self._ended.is_set()):
            raise RuntimeError("http.response.body was sent before the start or after the end")
        if start is not None and not more and (body or exchange.method != "HEAD"):
            exchange.answer(*start, body)
            self._ended.set()
            return
        if start is not None:  # also for HEAD without a body: its length would be a guess
            exchange.start(*start)
        exchange.write(body)
        if not more:
            exchange.finish()
            self._ended.set()


class _Flow:
    """The Source of a hosted answer: send() waits while it is paused."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    def pause(self) -> None:
        self.open.clear()

    def resume(self) -> None:
        self.open.set()


# ---------------------------------------------------------------- the other direction


def as_asgi(application: App) -> AsgiApp:
    """An ASGI 3 application that runs ours. Lifespan events are answered and mean nothing; websockets are
    closed. A disconnect cancels the task of the request with `left` True."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await _Guest(scope, receive, send).run(application)
            case "lifespan":
                await _lifespan(receive, send)
            case "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            case other:
                raise RuntimeError(f"{other} is not a protocol of ours")

    return app


async def _lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


class _Aborted(Exception):
    """Ends the ASGI call: after the start, an exception is how a server learns to cut the connection."""


class _Guest:
    """An Exchange over receive() and send(). One task owns receive(): it gathers the body and then waits for the
    disconnect. Another owns send(): the plain calls of an Exchange queue what it sends in order, so that a slow
    caller pauses the source and not the application."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path = _path_as_sent(scope)
        self.query: str = scope.get("query_string", b"").decode("latin-1")
        self.headers, self.repeated = _joined(scope["headers"])
        self.peer: str = (scope.get("client") or ("",))[0]
        self.secure = scope.get("scheme") == "https"
        self.started = self.left = False
        self._receive, self._send = receive, send
        self._source: Source | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._complete = False
        self._wanted, self._arrived, self._queued = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._wanted.set()
        self._queue: deque[Message] = deque()
        self._queued_bytes = 0
        self._paused = self._over = self._bare = False

    @property
    def source(self) -> Source | None:
        return self._source

    @source.setter
    def source(self, source: Source | None) -> None:
        self._source = source
        if source is not None and self._paused:
            source.pause()

    # ------------------------------------------------------------ the request's body

    async def read(self, bytes_max: int) -> bytes:
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > bytes_max:
            raise BodyTooLarge(f"the body is larger than {bytes_max} bytes")
        while not self._complete and self._body_bytes <= bytes_max:
            self._arrived.clear()
            self._wanted.set()
            await self._arrived.wait()
        if self._body_bytes > bytes_max:
            raise BodyTooLarge(f"the body is larger than {bytes_max} bytes")
        self._body = [b"".join(self._body)]
        return self._body[0]

    async def _pump(self) -> None:
        """Returns when the caller is gone."""
        while (message := await self._receive())["type"] != "http.disconnect":
            piece = message.get("body", b"")
            self._body.append(piece)
            self._body_bytes += len(piece)
            self._complete = not message.get("more_body", False)
            self._arrived.set()
            if not self._complete and self._body_bytes > HELD_BYTES_MAX:
                self._wanted.clear()  # until somebody reads
                await self._wanted.wait()

    # ------------------------------------------------------------ the answer

    def answer(self, status: int, headers: Fields, body: bytes) -> None:
        length = [(b"content-length", b"%d" % len(body))] if has_body(status) else []
        self._begin(status, [*_pairs(headers), *length])
        self._over = True
        self._put({"type": "http.response.body", "body": b"" if self._bare else body})

    def start(self, status: int, headers: Fields) -> None:
        self._begin(status, _pairs(headers))

    def _begin(self, status: int, headers: Headers) -> None:
        assert not self.started, "an answer was already started"
        header_block(headers)  # raises for a header that holds another one
        self.started = True
        self._bare = self.method == "HEAD" or not has_body(status)
        self._put({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, data: bytes) -> None:
        if data and not self._over and not self._bare:
            self._put({"type": "http.response.body", "body": data, "more_body": True})

    def finish(self) -> None:
        if not self._over:
            self._over = True
            self._put({"type": "http.response.body", "body": b""})

    def abort(self) -> None:
        if not self._over:
            self._over = True
            self._put({"type": "abort"})

    def _put(self, message: Message) -> None:
        if self.left:
            return
        self._queue.append(message)
        self._queued_bytes += len(message.get("body", b""))
        self._queued.set()
        if self._queued_bytes > WRITE_HIGH_BYTES and not self._paused:
            self._paused = True
            if self._source is not None:
                self._source.pause()

    async def _write_out(self) -> None:
        """Returns when the answer is sent."""
        while True:
            while self._queue:
                message = self._queue.popleft()
                if message["type"] == "abort":
                    raise _Aborted("the answer ended before it was complete")
                await self._send(message)
                if message["type"] == "http.response.body" and not message.get("more_body", False):
                    return
                self._sent(len(message.get("body", b"")))
            self._queued.clear()
            await self._queued.wait()

    def _sent(self, size: int) -> None:
        self._queued_bytes -= size
        if self._paused and self._queued_bytes < WRITE_LOW_BYTES:
            self._paused = False
            if self._source is not None:
                self._source.resume()

    # ------------------------------------------------------------ its tasks

    async def run(self, application: App) -> None:
        work = asyncio.ensure_future(application(self))
        writer = asyncio.create_task(self._write_out())
        pump = asyncio.create_task(self._pump())
        try:
            await asyncio.wait((work, writer, pump), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await self._outlast(work, writer)
            elif not self.left:
                work.result()
                if not self._over:
                    raise RuntimeError("the application returned before its answer ended")
                await asyncio.wait((writer, pump), return_when=asyncio.FIRST_COMPLETED)
            if writer.done() and isinstance(aborted := writer.exception(), _Aborted):
                raise aborted
        except asyncio.CancelledError:
            self.left = True  # whoever cancels an ASGI call no longer listens to it
            raise
        finally:
            for task in (work, writer, pump):
                task.cancel()
            await asyncio.gather(work, writer, pump, return_exceptions=True)

    async def _outlast(self, work: "asyncio.Future[None]", writer: "asyncio.Task[None]") -> None:
        """The answer is sent, or was aborted, or its caller is gone; the application still runs."""
        failure = writer.exception() if writer.done() else None
        if not writer.done() or not (failure is None or isinstance(failure, _Aborted)):
            self.left = True
            work.cancel()
        await asyncio.wait((work,))
        if not self.left:
            work.result()


def _path_as_sent(scope: Scope) -> str:
    """`raw_path` is optional in ASGI; `path` has its escapes undone."""
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else raw.partition(b"?")[0].decode("latin-1")


def _joined(pairs: Headers) -> tuple[dict[bytes, bytes], frozenset[bytes]]:
    headers: dict[bytes, bytes] = {}
    repeated = set()
    for sent, value in pairs:
        name = bytes(sent).lower()
        if name in headers:
            repeated.add(name)
            headers[name] += b", " + value
        else:
            headers[name] = bytes(value)
    return headers, frozenset(repeated)


def _pairs(headers: Fields) -> Headers:
    if isinstance(headers, bytes):
        lines = headers.split(b"\r\n")[:-1]
        return [(name, value) for name, _, value in [line.partition(b": ") for line in lines]]
    return callers_headers(headers)
