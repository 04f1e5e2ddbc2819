"""How bytes move: our own HTTP/1.1 ends, on httptools and uvloop. Nothing here knows what the bytes say.

Upstream (net.client) and downstream (net.server) meet the gateway in two small interfaces. Bytes of an answer
reach the gateway by a plain call from the socket's own callback: no queue, no task and no wakeup per chunk.
"""

from collections.abc import Callable
from typing import Protocol

Headers = list[tuple[bytes, bytes]]  # names in lower case, in the order they came
Sink = Callable[[bytes], None]
Fields = Headers | bytes
# Headers of an answer; or their lines, each ended by CRLF, prepared by someone who let no line break in


class Source(Protocol):
    """Something that can be told to stop reading while a slow caller catches up."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Reply(Source, Protocol):
    """An upstream's answer: its head is here, its body is read once, whole or as it arrives.

    read() and relay() return at the end of the body and raise UpstreamDisconnected, UpstreamTimeout,
    UpstreamInvalid or UpstreamTooLarge. The sink is called from the socket's callback with all body bytes of one
    read joined; if it raises, the reply is closed and relay() raises that error. close() is idempotent: an answer
    not read to its end takes its connection with it.
    """

    status: int
    headers: Headers

    async def read(self, bytes_max: int) -> bytes: ...
    async def relay(self, sink: Sink) -> None: ...
    def close(self) -> None: ...


class Exchange(Protocol):
    """One request of a caller, and the way to answer it.

    Repeated headers are joined with ", " in `headers` and named in `repeated`. The task that runs the application
    is cancelled when the caller leaves; `left` is then True. answer() writes a whole answer; start(), write() and
    finish() a streamed one. All of them are plain calls: bytes go to the socket or its buffer, and `source` is
    paused while that buffer is above its mark.
    """

    method: str
    path: str  # the path as sent, percent-escapes untouched, without the query
    query: str
    headers: dict[bytes, bytes]
    repeated: frozenset[bytes]
    peer: str  # address of the caller, "" if unknown
    secure: bool
    started: bool  # the status line is gone
    left: bool
    source: Source | None

    async def read(self, bytes_max: int) -> bytes: ...
    def answer(self, status: int, headers: Fields, body: bytes) -> None: ...
    def start(self, status: int, headers: Fields) -> None: ...
    def write(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...


Application = Callable[[Exchange], "object"]  # an async function; typed where it is awaited
