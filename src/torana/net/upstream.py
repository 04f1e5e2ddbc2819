"""One connection to an upstream: HTTP/1.1 framing by llhttp, one exchange at a time. Knows no pool and no retry.

The connection decides three things: where an answer ends (and that nothing follows it), whether it may carry
another exchange, and, when it breaks, whether the peer can have seen any of the request.
"""

import asyncio
import select
import socket
import sys
from typing import Protocol, cast

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser
from msgspec import Struct

from torana.errors import Error, UpstreamDisconnected, UpstreamInvalid, UpstreamTimeout, UpstreamTooLarge
from torana.net import Headers
from torana.net.answer import Answer
from torana.net.inflate import Inflate
from torana.net.origin import Origin
from torana.records import Timeouts

HEAD_BYTES_MAX = 64 * 1024  # of a response, 1xx included: the fault matrix (U19); providers send about 2 KB
HEADERS_MAX = 128  # same
HELD_BYTES_MAX = 256 * 1024  # of a body before anyone reads it: about one read of the event loop


class ClientLimits(Struct, frozen=True):
    """What an upstream may cost us."""

    idle_s: float = 55.0  # common servers and balancers close idle connections after 60 s: be first
    idle_max: int = 256  # idle connections kept per origin; one holds about 10 KB, with TLS 60 KB
    open_max: int = 2_000  # connections per origin, so that one slow provider cannot take every descriptor
    sweep_s: float = 0.1  # how late a timeout may be noticed


class Keeper(Protocol):
    """Who owns the connection."""

    def release(self, connection: "Connection") -> None: ...
    def forget(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """Idle, or carrying one exchange. Dead after close(); `unread` then says whether the request is proven unread."""

    __slots__ = (
        "_acked",
        "_acked_first",
        "_answer",
        "_asked",
        "_body",
        "_complete",
        "_ends",
        "_first_ends",
        "_framing",
        "_head_bytes",
        "_headers",
        "_heard",
        "_idle_s",
        "_keep",
        "_keeper",
        "_loop",
        "_parser",
        "_paused",
        "_poll",
        "_secure",
        "_sock",
        "_stream",
        "_timeouts",
        "_transport",
        "_written",
        "idle_until",
        "on_body",
        "origin",
        "unread",
    )

    def __init__(self, origin: Origin, idle_s: float, keeper: Keeper) -> None:
        self.origin = origin
        self.idle_until = 0.0
        self.unread = False
        self._idle_s = idle_s
        self._keeper = keeper
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._sock: socket.socket | None = None
        self._secure = origin.scheme == "https"
        self._poll = select.poll()
        self._answer: Answer | None = None
        self._asked = 0
        self._acked = 0
        self._acked_first = 0
        self._written = 0
        self._paused = False
        self._heard = 0.0
        self._headers: Headers = []
        self._framing = _NO_FRAMING
        self._keep = False
        self._complete = False
        self._head_bytes = 0
        self._body: list[bytes] = []
        self.on_body = self._body.append  # the parser's callback, without a Python frame
        self._parser = HttpResponseParser(self)

    # ------------------------------------------------------------ the owner's side

    def attach(self, sock: socket.socket) -> None:
        """Ready for the first exchange. `sock` is the one under the transport: asked about, never read."""
        self._sock = sock
        self._acked_first = bytes_acked(sock)
        self._poll.register(sock.fileno(), select.POLLIN | select.POLLRDHUP)

    def usable(self, now: float) -> bool:
        """Whether an idle connection is alive and silent: asked of the kernel, as the loop may be behind."""
        transport = self._transport
        if transport is None or transport.is_closing() or now >= self.idle_until:
            return False
        return not self._poll.poll(0)

    @property
    def closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    @property
    def busy(self) -> bool:
        return self._answer is not None

    def ask(self, request: bytes, timeouts: Timeouts, stream: bool, started: float, now: float) -> Answer:
        """Send a whole request in one write. The answer begins, or fails, later."""
        transport = self._transport
        assert transport is not None
        answer = self._answer = Answer(self, self._loop)
        self._heard = now
        self._timeouts = timeouts
        self._stream = stream
        self._ends = started + timeouts.total_s
        self._first_ends = now + timeouts.first_byte_s
        self._head_bytes = 0
        self._framing = _NO_FRAMING
        self._complete = False
        self._expect_acked(len(request))
        transport.write(request)
        # The loop tries the system call at once. When that fails the kernel took no byte of the request.
        self.unread = transport.is_closing()
        return answer

    def check(self, now: float) -> None:
        """Fail the exchange if one of its deadlines has passed."""
        if self._answer is None:
            return
        name, timeouts = self.origin.name, self._timeouts
        if now >= self._ends:
            what = f"did not finish its answer within {timeouts.total_s:g} s (total_s)"
        elif not self._stream or self._paused:  # a paused stream waits for the caller, not for the provider
            return
        elif self._framing is _NO_FRAMING:
            if now < self._first_ends:
                return
            what = f"did not begin its answer within {timeouts.first_byte_s:g} s (first_byte_s)"
        elif now - self._heard >= timeouts.between_s:
            what = f"sent nothing for {timeouts.between_s:g} s in the middle of its answer (between_s)"
        else:
            return
        self.fail(UpstreamTimeout(f"{name} {what}"))

    def close(self) -> None:
        """Drop the connection at once, whatever it carries."""
        if self._transport is not None:
            self._transport.abort()
        self._keeper.forget(self)

    # ------------------------------------------------------------ the answer's side (answer.Line)

    def pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._heard = self._loop.time()
            self._transport.resume_reading()

    def abandon(self) -> None:
        self.fail(UpstreamDisconnected(f"the gateway left the answer of {self.origin.name} before its end"))

    def fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        self.close()
        if answer is not None:
            answer.fail(error)

    # ------------------------------------------------------------ the loop's side (asyncio.Protocol)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are one by shape only

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:  # bytes nobody asked for must never meet the next exchange
            self.close()
            return
        self._heard = self._loop.time()
        if self._framing is _NO_FRAMING:
            self._head_bytes += len(data)
        error: Error | None = None
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as refusal:
            error = self._explain(refusal)
        body = self._body
        if body:
            data = body[0] if len(body) == 1 else b"".join(body)
            body.clear()
            answer.feed(data)
            if self._answer is not answer:  # its sink or its limits ended it
                return
        if self._complete:
            self._finish(answer, clean=error is None)
        elif error is not None:
            self.fail(error)
        elif self._framing is _NO_FRAMING and self._head_bytes > HEAD_BYTES_MAX:
            self.fail(self._head_too_large())
        elif answer.held_bytes > HELD_BYTES_MAX:
            self.pause()

    def eof_received(self) -> None:
        """The peer ended its side in good order: FIN, and with TLS close_notify, without which this is not called.

        That makes it the end of a body that nothing else delimits, and the only end such a body may have. (Under
        asyncio's own loop it is called without close_notify too; we run on uvloop.)
        """
        answer = self._answer
        if answer is None:
            self.close()
        elif self._framing.until_eof:
            self._finish(answer, clean=False)
        else:
            self.unread = self.unread or self._left_before_request()
            self.fail(self._disconnected())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.fail(self._disconnected())

    # ------------------------------------------------------------ the parser's side (on_body is list.append)

    def on_message_begin(self) -> None:
        if self._complete:
            raise UpstreamInvalid("bytes follow the end of an answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if len(headers) < HEADERS_MAX:
            headers.append((name.lower(), value))
        elif self._framing is _NO_FRAMING:  # otherwise they are trailers, which nobody reads
            raise UpstreamTooLarge(f"{self.origin.name} answers with more than {HEADERS_MAX} headers")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # https://www.rfc-editor.org/rfc/rfc9110#section-15.2: may be ignored
            if status == 101:
                raise UpstreamInvalid(f"{self.origin.name} switches protocols, which nobody asked for")
            return
        headers, self._headers = self._headers, []  # what comes now are trailers
        size = self._head_bytes
        if size > HEAD_BYTES_MAX and sum(len(name) + len(value) for name, value in headers) > HEAD_BYTES_MAX:
            raise self._head_too_large()
        framing = self._framing = parse_framing(status, headers)
        inflate = None
        if framing.coding:
            inflate = Inflate(framing.coding)
            headers = [pair for pair in headers if pair[0] not in (b"content-encoding", b"content-length")]
        assert self._answer is not None
        self._answer.begin(status, headers, framing.length, inflate)

    def on_message_complete(self) -> None:
        if self._framing is _NO_FRAMING:  # a 1xx
            self._headers = []
            return
        self._complete = True
        self._keep = self._parser.should_keep_alive()

    # ------------------------------------------------------------ decisions

    def _finish(self, answer: Answer, *, clean: bool) -> None:
        """The whole answer is here. Keep the connection if nothing is in doubt."""
        self._answer = None
        if self._paused:
            self.resume()
        if self._headers:  # trailers
            self._headers = []
        idle_s = min(self._idle_s, self._framing.idle_s)
        transport = self._transport
        # A request still being written when its answer ended leaves bytes that would lead the next one.
        if (
            clean
            and self._keep
            and idle_s > 0
            and transport is not None
            and not transport.get_write_buffer_size()
        ):
            self.idle_until = self._heard + idle_s
            self._keeper.release(self)
        else:
            self.close()
        answer.finish()

    def _expect_acked(self, written: int) -> None:
        """Note what is acknowledged before `written` bytes go out: all that went before, as it was answered."""
        if self._asked:
            # TLS adds bytes of its own to what we write, so there the kernel has to say.
            self._acked = bytes_acked(self._sock) if self._secure else self._acked_first + self._written
        self._asked += 1
        self._written += written

    def _left_before_request(self) -> bool:
        """Whether the peer had closed before any byte of the request reached it.

        Every TCP segment carries the sender's acknowledgement of all it has received, and our kernel takes note
        of it before it reports the FIN of the same segment. So if no byte sent since this exchange began is
        acknowledged when the FIN is seen, the peer sent that FIN before a byte came: the connection was ended
        while idle, and what arrives afterwards meets a closed socket or a lingering close, which reads only to
        discard (https://www.rfc-editor.org/rfc/rfc9112#section-9.6). A reset proves nothing of the kind: the
        acknowledgement of bytes that were read may still have been due. Nor does silence. Those stay unknown.
        """
        if self._asked < 2 or self._head_bytes:
            return False
        acked = bytes_acked(self._sock)
        return acked >= 0 and acked == self._acked

    def _disconnected(self) -> Error:
        name = self.origin.name
        if self._framing is not _NO_FRAMING:
            return UpstreamDisconnected(f"{name} closed the connection before its answer was complete")
        when = "in the middle of its headers" if self._head_bytes else "before it answered"
        return UpstreamDisconnected(
            f"{name} closed the connection {when}; whether it did the work is unknown"
        )

    def _head_too_large(self) -> Error:
        return UpstreamTooLarge(f"{self.origin.name} answers with a head of more than {HEAD_BYTES_MAX} bytes")

    def _explain(self, refusal: Exception) -> Error:
        """What the parser's refusal means: an error of our own callbacks, or HTTP that is not."""
        cause = refusal.__context__
        if isinstance(cause, Error):
            return cause
        if isinstance(refusal, HttpParserCallbackError) and cause is not None:
            raise cause
        return UpstreamInvalid(f"{self.origin.name} does not answer as HTTP/1.1 does: {refusal}")


_FOREVER = float("inf")


class Framing(Struct, frozen=True, gc=False):
    """What a response's head says about its body and its connection. `length` None: not declared."""

    length: int | None = None
    until_eof: bool = False
    coding: str = ""
    idle_s: float = _FOREVER


_NO_FRAMING = Framing()
_FRAMING_FIELDS = frozenset((b"content-length", b"transfer-encoding", b"content-encoding", b"keep-alive"))


def parse_framing(status: int, headers: Headers) -> Framing:
    """https://www.rfc-editor.org/rfc/rfc9112#section-6.3, with ambiguity refused. Raises UpstreamInvalid.

    llhttp has already refused repeated or malformed lengths and obsolete line folding.
    """
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _FRAMING_FIELDS:
            # https://www.rfc-editor.org/rfc/rfc9110#section-5.3: repeated fields are one list
            fields[name] = fields[name] + b", " + value if name in fields else value
    digits, transfer = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if transfer is not None:
        if transfer.strip().lower() != b"chunked":
            raise UpstreamInvalid(
                f"the provider answers with transfer-encoding {transfer.decode('latin-1')!r}"
            )
        if digits is not None:
            raise UpstreamInvalid("the provider's answer has both content-length and transfer-encoding")
    length = None if digits is None else int(digits)
    until_eof = length is None and transfer is None
    if len(fields) == 1 and not until_eof and status not in (204, 304):
        return Framing(length)
    idle_s = _idle_s(fields.get(b"keep-alive", b""))
    if status in (204, 304):
        return Framing(0, False, "", idle_s)
    return Framing(length, until_eof, _coding(fields.get(b"content-encoding", b"")), idle_s)


def _coding(value: bytes) -> str:
    words = [word.strip() for word in value.decode("latin-1").lower().split(",")]
    return ", ".join(word for word in words if word not in ("", "identity"))


def _idle_s(value: bytes) -> float:
    """The timeout of a Keep-Alive header less a second, which a request needs to get there."""
    for word in value.decode("latin-1").split(","):
        name, _, number = word.strip().partition("=")
        if name.strip().lower() == "timeout" and number.strip().isascii() and number.strip().isdigit():
            return float(int(number.strip()[:9]) - 1)
    return _FOREVER


_TCP_INFO_BYTES_ACKED = slice(120, 128)  # struct tcp_info of linux/tcp.h: tcpi_bytes_acked, since Linux 4.1


def bytes_acked(sock: socket.socket | None) -> int:
    """How many bytes of ours the peer's kernel has acknowledged on this connection; -1 where that is unknown."""
    if sock is None:
        return -1
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES_ACKED.stop)
    except (OSError, AttributeError):  # closed, or not Linux
        return -1
    number = info[_TCP_INFO_BYTES_ACKED]
    return int.from_bytes(number, sys.byteorder) if len(number) == 8 else -1
