"""One request of a caller and its answer, as the application sees it: net.Exchange over a live connection.

It knows how an answer is put on the wire, not how requests are read: that is the Line's affair.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from torana.errors import BodyTooLarge, Error, Fault, InternalError
from torana.net import Exchange, Fields, Headers, Source
from torana.net.framing import CONTINUE, callers_headers, has_body, header_block, status_line
from torana.net.limits import ServerLimits

App = Callable[[Exchange], Awaitable[None]]
Refuse = Callable[[Error, str], tuple[Headers, bytes]]

_log = logging.getLogger("torana.net")

_UNSTARTED, _CHUNKS, _BARE, _MUTE = range(4)  # how the body of an answer is written


class Shared:
    """What all connections of a server share. While draining, `ended` is set when a task or a connection ends."""

    __slots__ = ("app", "date", "draining", "ended", "limits", "live", "refuse", "secure")

    def __init__(self, app: App, limits: ServerLimits, refuse: Refuse) -> None:
        self.app = app
        self.limits = limits
        self.refuse = refuse
        self.secure = False
        self.draining = False
        self.date = b""
        self.live: set[Served] = set()
        self.ended = asyncio.Event()


class Line(Protocol):
    """The connection under an exchange."""

    shared: Shared
    peer: str
    congested: bool

    def send(self, data: bytes) -> None: ...
    def will_close(self, exchange: "Served") -> bytes: ...
    def ask_for_body(self, exchange: "Served") -> "asyncio.Future[None]": ...
    def answered(self) -> None: ...
    def cut(self, *, reset: bool) -> None: ...


class Served:
    __slots__ = (
        "_line",
        "_mode",
        "_source",
        "_spoiled",
        "_task",
        "body",
        "bytes_max",
        "complete",
        "expects",
        "got",
        "headers",
        "http11",
        "keep",
        "left",
        "length",
        "method",
        "over",
        "path",
        "peer",
        "query",
        "repeated",
        "secure",
        "started",
        "waiter",
    )

    def __init__(
        self,
        line: Line,
        method: str,
        target: str,
        headers: dict[bytes, bytes],
        repeated: frozenset[bytes],
        length: int,
        *,
        http11: bool,
        keep: bool,
    ) -> None:
        self._line = line
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.repeated = repeated
        self.length = length
        self.http11 = http11
        self.keep = keep  # the connection stays open after the answer
        self.peer = line.peer
        self.secure = line.shared.secure
        self.started = self.left = self.over = self.expects = False
        self.complete = length == 0
        self.got = 0
        self.bytes_max = line.shared.limits.body_bytes_max
        self.waiter: asyncio.Future[None] | None = None
        self._source: Source | None = None
        self._spoiled: Error | None = None
        self.body: list[bytes] = []
        self._mode = _UNSTARTED

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """The line owns the task: it cancels it when the caller leaves, and Server.close() when we do."""
        self._line.shared.live.add(self)
        # loop.create_task() does the same after formatting a name for each request
        self._task = asyncio.Task(_run(self, self._line.shared), loop=loop, name="exchange")

    @property
    def source(self) -> Source | None:
        return self._source

    @source.setter
    def source(self, source: Source | None) -> None:
        self._source = source
        if source is not None and self._line.congested:
            source.pause()

    # ------------------------------------------------------------ the request's body

    async def read(self, bytes_max: int) -> bytes:
        """The whole body. Raises BodyTooLarge (before a byte is read, if the length was declared),
        RequestTimeout for a body slower than the limits allow, BadFraming for one without a proper end."""
        if bytes_max < self.bytes_max:  # noqa: PLR1730 - min() costs a call on every request
            self.bytes_max = bytes_max
        if self.length > self.bytes_max or self.got > self.bytes_max:
            raise BodyTooLarge(f"the body is larger than {self.bytes_max} bytes")
        if not self.complete:
            if self._spoiled is not None:
                raise self._spoiled
            self.waiter = self._line.ask_for_body(self)
            try:
                await self.waiter
            finally:
                self.waiter = None
        if len(self.body) != 1:
            self.body = [b"".join(self.body)]
        return self.body[0]

    def arrived(self) -> None:
        """The body is complete."""
        self.complete = True
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def spoil(self, error: Error) -> None:
        """The body will never be complete: whoever asks for it is told why."""
        self.keep = False
        self._spoiled = error
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(error)

    # ------------------------------------------------------------ the answer

    def answer(self, status: int, headers: Fields, body: bytes) -> None:
        assert not self.started, "an answer was already started"
        block = headers if isinstance(headers, bytes) else header_block(callers_headers(headers))
        self.started = self.over = True
        if self.left:
            return
        line = self._line
        close = line.will_close(self)
        if not has_body(status):
            line.send(b"%b%b%b%b\r\n" % (status_line(status), line.shared.date, block, close))
        else:
            size = b"content-length: %d\r\n\r\n" % len(body)
            text = b"" if self.method == "HEAD" else body
            line.send(b"".join((status_line(status), line.shared.date, block, close, size, text)))
        line.answered()

    def start(self, status: int, headers: Fields) -> None:
        assert not self.started, "an answer was already started"
        block = headers if isinstance(headers, bytes) else header_block(callers_headers(headers))
        self.started = True
        if self.left:
            return
        framing = b""
        if self.method == "HEAD" or not has_body(status):
            self._mode = _MUTE
        elif self.http11:
            self._mode = _CHUNKS
            framing = b"transfer-encoding: chunked\r\n"
        else:
            self._mode = _BARE  # ends with the connection: https://www.rfc-editor.org/rfc/rfc9112#section-6.3
            self.keep = False
        line = self._line
        close = line.will_close(self)
        line.send(b"%b%b%b%b%b\r\n" % (status_line(status), line.shared.date, block, close, framing))

    def write(self, data: bytes) -> None:
        if self.left or self.over or not data:  # an empty chunk would be the end
            return
        if self._mode == _CHUNKS:
            self._line.send(b"%x\r\n%b\r\n" % (len(data), data))
        elif self._mode == _BARE:
            self._line.send(data)

    def probe(self) -> bytes:
        """What may be written at any time to find out whether a caller that closed its half still reads: whoever is
        gone answers with a reset, whoever is there skips it. Before an answer that is an interim one
        (https://www.rfc-editor.org/rfc/rfc9110#section-15.2); between two chunks it is a leading zero of the next
        one's size (https://www.rfc-editor.org/rfc/rfc9112#section-7.1: 1*HEXDIG)."""
        if not self.started:
            return CONTINUE if self.http11 else b""
        return b"0" if self._mode == _CHUNKS and not self.over else b""

    def finish(self) -> None:
        assert self.started, "nothing was started that could be finished"
        if self.over:
            return
        self.over = True
        if self.left:
            return
        if self._mode == _CHUNKS:
            self._line.send(b"0\r\n\r\n")
        self._line.answered()

    def abort(self) -> None:
        """End the connection so that what was written cannot be taken for a whole answer."""
        if self.over:
            return
        self.over = True
        if not self.left:
            self._line.cut(reset=self._mode == _BARE)

    def fail(self, error: Error) -> None:
        """Answer with the error if nothing was said yet, else abort."""
        if self.started:
            self.abort()
            return
        headers, body = self._line.shared.refuse(error, self.path)
        self.answer(error.status, headers, body)

    # ------------------------------------------------------------ its task

    def leave(self) -> None:
        """The caller is gone."""
        self.left = True
        self._task.cancel()

    def cancel(self) -> None:
        """We are going, the caller is still there."""
        self._task.cancel()


async def _run(exchange: Served, shared: Shared) -> None:
    try:
        await shared.app(exchange)
        if not exchange.over:
            _log.error(
                "%s %s: the application returned before its answer ended", exchange.method, exchange.path
            )
            exchange.fail(InternalError("no answer was given; this is a bug here, not in the request"))
    except Error as error:
        if error.fault is Fault.GATEWAY:
            _log.exception("%s %s failed", exchange.method, exchange.path)
        exchange.fail(error)
    except Exception:
        _log.exception("%s %s failed", exchange.method, exchange.path)
        exchange.fail(InternalError("something went wrong here; the log has the details"))
    finally:
        if not exchange.over:
            exchange.abort()
        shared.live.discard(exchange)
        if shared.draining:
            shared.ended.set()
