"""An upstream's answer as the gateway holds it: the Reply of torana.net. Knows no socket and no framing.

Body bytes come in by feed(), a plain call from the connection's own callback, and leave by the sink's. What comes
before anyone reads is held; the connection stops reading when that is too much. One future waits for the head and,
where the body is not there yet, one for its end.
"""

import asyncio
from typing import Protocol

from torana.errors import Error, InternalError, UpstreamInvalid, UpstreamTooLarge
from torana.net import Headers, Sink
from torana.net.inflate import Inflate


class Line(Protocol):
    """The connection an answer comes by."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abandon(self) -> None: ...
    def fail(self, error: Exception) -> None: ...


class Answer:
    """Begun, fed, then finished or failed by its connection; read once by the gateway."""

    __slots__ = (
        "_done",
        "_error",
        "_held",
        "_inflate",
        "_length",
        "_line",
        "_sink",
        "_taken",
        "headers",
        "held_bytes",
        "status",
        "waiter",
    )

    def __init__(self, line: Line, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.headers: Headers = []
        self.held_bytes = 0
        self._line: Line | None = line
        self._held: list[bytes] = []
        self._length: int | None = None
        self._inflate: Inflate | None = None
        self._sink: Sink | None = None
        self._taken = False
        self._done = False
        self._error: Exception | None = None
        self.waiter: asyncio.Future[None] = loop.create_future()  # of the head first, then of the end

    # ------------------------------------------------------------ the gateway's side

    async def read(self, bytes_max: int) -> bytes:
        if self._done and self._inflate is None and not self._taken:
            self._taken = True
            if self.held_bytes > bytes_max:
                raise _too_long(bytes_max)
            return self._unhold()
        if self._length is not None and self._length > bytes_max and self._inflate is None:
            self.close()
            raise _too_long(bytes_max)
        parts: list[bytes] = []
        room = bytes_max

        def collect(data: bytes) -> None:
            nonlocal room
            room -= len(data)
            if room < 0:
                raise _too_long(bytes_max)
            parts.append(data)

        await self.relay(collect)
        return b"".join(parts)

    async def relay(self, sink: Sink) -> None:
        if self._taken:
            raise InternalError("the body of an upstream's answer was read twice, or after it was closed")
        self._taken = True
        self._sink = sink
        self.resume()  # before the sink has a say: it may want a pause at once
        try:
            if self._held:
                self._give(self._unhold())
            await self._ended()
        except BaseException:
            self.close()
            raise

    def pause(self) -> None:
        if self._line is not None:
            self._line.pause()

    def resume(self) -> None:
        if self._line is not None:
            self._line.resume()

    def close(self) -> None:
        self._taken = True
        self._held = []
        if self._line is not None:
            self._line.abandon()

    # ------------------------------------------------------------ the connection's side

    def begin(self, status: int, headers: Headers, length: int | None, inflate: Inflate | None) -> None:
        self.status = status
        self.headers = headers
        self._length = length
        self._inflate = inflate
        if not self.waiter.done():
            self.waiter.set_result(None)

    def feed(self, data: bytes) -> None:
        """Body bytes. An error of the sink or of the coding ends the answer with that error."""
        if self._sink is None:
            self._held.append(data)
            self.held_bytes += len(data)
            return
        try:
            if self._inflate is None:
                self._sink(data)
            else:
                self._give(data)
        except Exception as error:
            if self._line is not None:
                self._line.fail(error)

    def finish(self) -> None:
        self._line = None
        self._done = True
        if self.waiter.done():
            return
        try:
            self._check_coding()
        except UpstreamInvalid as error:
            self.waiter.set_exception(error)
        else:
            self.waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        self._line = None
        self._error = error
        if not self.waiter.done():
            self.waiter.set_exception(error)

    # ------------------------------------------------------------ between them

    async def _ended(self) -> None:
        if self._error is not None:
            raise self._error
        if self._done:
            self._check_coding()
            return
        self.waiter = self.waiter.get_loop().create_future()
        await self.waiter

    def _unhold(self) -> bytes:
        held, self._held = self._held, []
        self.held_bytes = 0
        return held[0] if len(held) == 1 else b"".join(held)

    def _give(self, data: bytes) -> None:
        assert self._sink is not None
        if self._inflate is None:
            self._sink(data)
            return
        for plain in self._inflate.feed(data):
            if self._error is not None:  # the sink closed the answer it was being given
                return
            self._sink(plain)

    def _check_coding(self) -> None:
        if self._inflate is not None:
            self._inflate.close()


def _too_long(bytes_max: int) -> Error:
    return UpstreamTooLarge(f"the provider's answer is longer than {bytes_max} bytes")
