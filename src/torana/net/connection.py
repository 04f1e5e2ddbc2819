"""One caller's connection: its bytes are cut into requests, one at a time, and bounded in size and time.

llhttp is fed up to the end of the current request and never beyond it: what is behind is held, unparsed, until
the answer is written, so a refused request is the last thing read of its connection. Meaning is not known here.
"""

import asyncio
import select
import socket
import struct
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from torana.errors import (
    BadFraming,
    BodyTooLarge,
    Error,
    HeadersTooLarge,
    Overloaded,
    RequestTimeout,
    ShuttingDown,
    UriTooLong,
)
from torana.net.exchange import Served, Shared
from torana.net.framing import (
    CHUNKED,
    CONTINUE,
    ChunkScan,
    body_length,
    check_host,
    expects_continue,
    header_block,
    keeps_alive,
    path_of,
    read_fields,
    request_line,
    skip_blank_lines,
    status_line,
)

_HEAD, _IDLE, _BUSY, _LINGER, _CLOSING = range(5)  # what it is doing; below BUSY it may read a head

_NOTHING: frozenset[bytes] = frozenset()
_LINE_REST_BYTES_MAX = 64  # of a request line, what is not the target; the longest method has 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s
_PROBES_S = (0.05, 0.15, 0.25)  # after a caller's end its reset is looked for at 50, 200 and 450 ms


class Connection(asyncio.Protocol):
    __slots__ = (
        "_eof",
        "_exchange",
        "_fields",
        "_flushed",
        "_head",
        "_held",
        "_host",
        "_loop",
        "_members",
        "_need",
        "_parser",
        "_paused",
        "_phase",
        "_probes",
        "_repeats",
        "_scan",
        "_sent",
        "_since",
        "_stalled",
        "_transport",
        "_watch",
        "_whole",
        "_window_got",
        "congested",
        "on_header",
        "peer",
        "shared",
    )

    def __init__(self, shared: Shared, members: "set[Connection]", loop: asyncio.AbstractEventLoop) -> None:
        self.shared = shared
        self._members = members
        self._loop = loop
        self._fields: dict[bytes, bytes] = {}
        self.on_header = (
            self._fields.setdefault
        )  # no call of Python per header; a name that returns is counted
        self._parser = HttpRequestParser(self)
        self._phase = _HEAD
        self._exchange: Served | None = None  # in flight: its answer is not written yet
        self._head = b""  # of an unfinished head: what came
        self._host: bytes | None = None  # the last one that was in order
        self._held = b""  # what came behind the current request
        self._need = 0  # of its body, still to come; CHUNKED while the end is not in sight
        self._scan: ChunkScan | None = None
        self._whole = False  # llhttp, too, has seen the end of the message
        self._eof = self._paused = self.congested = False
        self._sent = self._flushed = self._window_got = 0
        self._since = self._stalled = loop.time()
        self._probes = 0
        self._watch: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------ called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if isinstance(address, tuple) else ""
        limits, members = self.shared.limits, self._members
        members.add(self)
        if len(members) > limits.connections_max + limits.refused_connections_max:
            self.drop()
        elif len(members) > limits.connections_max:
            self._refuse(Overloaded(f"more than {limits.connections_max} connections"))
        else:
            self._transport.set_write_buffer_limits(limits.write_high_bytes, limits.write_low_bytes)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended, it ended
        self._phase = _CLOSING
        self._members.discard(self)
        if self._watch is not None:
            self._watch.cancel()
        if self._exchange is not None:
            self._exchange.leave()
            self._exchange = None
        if self.shared.draining:
            self.shared.ended.set()

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase < _BUSY:
            self._guard(self._read_head, data)
        elif phase == _BUSY:
            if self._need:
                self._guard(self._read_body, data)
            else:
                self._hold(data)

    def eof_received(self) -> bool:
        self._eof = True
        exchange = self._exchange
        if exchange is None or self.shared.secure:  # a TLS transport cannot stay half open
            return False
        self._end_of_requests()
        if probe := exchange.probe():
            self._transport.write(probe)
        self._look_in(_PROBES_S[0])
        return True

    def pause_writing(self) -> None:
        self.congested = True
        if self._exchange is not None and self._exchange.source is not None:
            self._exchange.source.pause()

    def resume_writing(self) -> None:
        self.congested = False
        if self._exchange is not None and self._exchange.source is not None:
            self._exchange.source.resume()

    # ------------------------------------------------------------ called by llhttp, on_header aside

    def on_body(self, piece: bytes) -> None:
        exchange = self._exchange
        assert exchange is not None
        exchange.body.append(piece)
        exchange.got += len(piece)

    def on_message_complete(self) -> None:
        self._whole = True

    # ------------------------------------------------------------ reading

    def _guard(self, read: Callable[[bytes], None], data: bytes) -> None:
        """After an error nothing more of this connection is read."""
        try:
            read(data)
        except HttpParserError as exc:
            self._give_up(BadFraming(f"this is not HTTP/1.1: {exc}"), data)
        except Error as error:
            self._give_up(error, data)

    def _give_up(self, error: Error, data: bytes) -> None:
        if self._exchange is None:
            self._refuse(error, self._head + data)
        else:
            self._need = 0
            self._exchange.spoil(error)

    def _read_head(self, data: bytes) -> None:
        fed = len(self._head)
        head = self._head + data if fed else data
        if head[0] in b"\r\n":
            fed = 0
            head = skip_blank_lines(head)
        end = head.find(b"\r\n\r\n", max(fed - 3, 0)) + 4
        if end == 3:
            self._wait_for_head(head, fed)
            return
        limits = self.shared.limits
        if end > limits.header_bytes_max:
            raise self._too_large(head)
        upgrade = False
        piece = head[fed:end]
        try:
            self._parser.feed_data(piece)
        except HttpParserUpgrade:
            upgrade = True
        self._open(head[:end] if fed else piece, head[end:], upgrade=upgrade)
        self._head = b""

    def _wait_for_head(self, head: bytes, fed: int) -> None:
        limits = self.shared.limits
        if len(head) > limits.header_bytes_max or self._line_too_long(head):
            raise self._too_large(head)
        if self._phase == _IDLE:
            self._phase = _HEAD
            self._since = self._loop.time()
        self._head = head
        if head != b"\r":
            self._parser.feed_data(head[fed:])

    def _too_large(self, head: bytes) -> Error:
        limits = self.shared.limits
        if self._line_too_long(head):
            return UriTooLong(f"the request target is longer than {limits.target_bytes_max} bytes")
        return HeadersTooLarge(f"the headers are longer than {limits.header_bytes_max} bytes")

    def _line_too_long(self, head: bytes) -> bool:
        size_max = self.shared.limits.target_bytes_max + _LINE_REST_BYTES_MAX
        return len(head) > size_max and head.find(b"\r\n", 0, size_max) < 0

    def _open(self, head: bytes, rest: bytes, *, upgrade: bool) -> None:
        """A head is complete: judge it and begin its exchange."""
        limits = self.shared.limits
        count = head.count(b"\n") - 2
        if count > limits.headers_max:
            raise HeadersTooLarge(f"more than {limits.headers_max} headers")
        method, target, http11 = request_line(head, limits)
        fields = {name.lower(): value for name, value in self._fields.items()}
        self._fields.clear()
        repeated = _NOTHING
        if len(fields) != count or head.find(b" \r") >= 0 or head.find(b"\t") >= 0:
            fields, repeated = read_fields(head)  # a name stands twice, or white space at an end
        host = fields.get(b"host")
        if host is None or host != self._host:
            check_host(host, http11=http11)
            self._host = host
        length = body_length(fields, repeated, limits, http11=http11)
        keep = keeps_alive(fields.get(b"connection"), http11=http11)
        exchange = Served(
            self, method.decode(), target.decode(), fields, repeated, length, http11=http11, keep=keep
        )
        if b"expect" in fields:
            exchange.expects = expects_continue(fields[b"expect"]) and http11
        if self.shared.draining:
            raise ShuttingDown("this server is shutting down; another one will answer")
        if upgrade:
            self._stay_with_http(length)
        elif self._whole != (length == 0):
            raise BadFraming("it is not clear where this request ends")
        self._accept(exchange, rest)

    def _accept(self, exchange: Served, rest: bytes) -> None:
        self._exchange = exchange
        self._phase = _BUSY
        self._whole = False
        exchange.begin(self._loop)
        if exchange.length:
            self._need = exchange.length
            self._scan = ChunkScan(self.shared.limits) if self._need == CHUNKED else None
            if rest:
                self._read_body(rest)
        elif rest:
            self._hold(rest)

    def _stay_with_http(self, length: int) -> None:
        """llhttp has stopped for an upgrade that we do not make: a fresh parser goes on with the body."""
        self._parser = HttpRequestParser(self)
        if length:
            framing = b"transfer-encoding: chunked" if length == CHUNKED else b"content-length: %d" % length
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            self._fields.clear()

    def _read_body(self, data: bytes) -> None:
        exchange = self._exchange
        assert exchange is not None
        if self._scan is not None:
            end = self._scan.feed(data)
        else:
            end = self._need if self._need <= len(data) else -1
        if end < 0:
            if self._scan is None:
                self._need -= len(data)
            self._parser.feed_data(data)
            if exchange.got > exchange.bytes_max:
                raise BodyTooLarge(f"the body is larger than {exchange.bytes_max} bytes")
            if exchange.waiter is None and exchange.got > self.shared.limits.held_bytes_max:
                self._pause()
            return
        self._need = 0
        self._parser.feed_data(data[:end])
        if not self._whole:
            raise BadFraming("it is not clear where this request ends")
        self._whole = False
        self._fields.clear()  # of trailers: nobody here wants them, https://www.rfc-editor.org/rfc/rfc9110#section-6.5
        exchange.arrived()
        if end < len(data):
            self._hold(data[end:])

    def _hold(self, data: bytes) -> None:
        """Bytes of a later request wait for this one's answer."""
        self._held += data
        if len(self._held) > self.shared.limits.held_bytes_max:
            self._pause()

    def _pause(self) -> None:
        if not self._paused and not self._eof:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def ask_for_body(self, exchange: Served) -> "asyncio.Future[None]":
        """The application waits for the rest of the body: from here on its pace counts."""
        if exchange.expects and not exchange.got and not exchange.started:
            exchange.expects = False
            self._transport.write(CONTINUE)
        self._since = self._loop.time()
        self._window_got = exchange.got
        self._resume()
        return self._loop.create_future()

    # ------------------------------------------------------------ writing

    def send(self, data: bytes) -> None:
        self._sent += len(data)
        self._transport.write(data)
        if self._eof:
            self._look_in(_PROBES_S[0])

    def will_close(self, exchange: Served) -> bytes:
        """The connection header of an answer, and the decision it announces."""
        if not exchange.complete or self.shared.draining:
            exchange.keep = False
        if not exchange.keep:
            return b"connection: close\r\n"
        return b"" if exchange.http11 else b"connection: keep-alive\r\n"

    def answered(self) -> None:
        """The last byte of an answer is written: what comes next?"""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        if not exchange.keep or self.shared.draining:
            self._part(unread=not exchange.complete or bool(self._held))
            return
        self._phase = _IDLE
        self._since = self._loop.time()
        if self._held:
            held, self._held = self._held, b""
            self._guard(self._read_head, held)
        if self._paused and len(self._held) <= self.shared.limits.held_bytes_max:
            self._resume()
        if self._eof:
            self._end_of_requests()

    def _end_of_requests(self) -> None:
        """The caller has closed its half: what is not here by now will not come."""
        if self._exchange is None:
            self.part()
        elif not self._exchange.complete:
            self._exchange.spoil(BadFraming("the connection ended before the body did"))

    def _refuse(self, error: Error, head: bytes = b"") -> None:
        """The last answer of this connection, to bytes that are not a request we serve."""
        headers, body = self.shared.refuse(error, path_of(head))
        size = b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.send(b"".join((status_line(error.status), self.shared.date, header_block(headers), size, body)))
        self._part(unread=True)

    # ------------------------------------------------------------ ending

    def _part(self, *, unread: bool) -> None:
        """Close when all is written. Bytes left unread would turn the close into a reset that overtakes the
        answer, so then only our half is closed and what comes is thrown away for a while."""
        self._held = self._head = b""
        if not unread or self._eof or not self._transport.can_write_eof():
            self.part()
            return
        self._phase = _LINGER
        self._since = self._loop.time()
        self._transport.write_eof()
        self._resume()

    def part(self) -> None:
        """Close when all is written."""
        self._phase = _CLOSING
        self._transport.close()

    def drop(self) -> None:
        self._phase = _CLOSING
        self._transport.abort()

    def cut(self, *, reset: bool) -> None:
        """End in the middle of an answer. Without chunks only a reset tells that something is missing."""
        self._exchange = None
        if reset and self.shared.secure:
            self.drop()  # without the close_notify of a whole answer
            return
        if reset:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.part()

    def close_if_idle(self) -> None:
        if self._phase == _IDLE:
            self.part()

    def _look_in(self, delay_s: float) -> None:
        if self._watch is None and self._exchange is not None:
            self._watch = self._loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        """A caller that closed its half may be gone altogether: then its reset has come by now."""
        self._watch = None
        if self._phase != _BUSY:
            return
        if self._reset_came():
            self.drop()
            return
        self._probes += 1
        if self._probes < len(_PROBES_S):
            self._look_in(_PROBES_S[self._probes])

    def _reset_came(self) -> bool:
        """uvloop does not read after the caller's end, so it does not see what follows."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)
        return bool(poll.poll(0))  # with no events asked for, only POLLERR, POLLHUP and POLLNVAL are told

    # ------------------------------------------------------------ deadlines

    def check(self, now: float) -> None:
        """Every deadline, looked at once per sweep."""
        limits, since = self.shared.limits, now - self._since
        if self._write_stalled(now) or (self._eof and self._phase == _BUSY and self._reset_came()):
            self.drop()
        elif self._phase == _BUSY:
            self._check_body(now)
        elif self._phase == _HEAD and since >= limits.headers_s:
            if self._head:
                self._refuse(
                    RequestTimeout(f"the headers took longer than {limits.headers_s:g} s"), self._head
                )
            else:
                self.part()
        elif self._phase == _IDLE and since >= limits.idle_s:
            self.part()
        elif (
            self._phase == _LINGER
            and since >= limits.linger_s
            and not self._transport.get_write_buffer_size()
        ):
            self.drop()

    def _write_stalled(self, now: float) -> bool:
        """Of what we wrote, nothing was taken for too long."""
        waiting = self._transport.get_write_buffer_size()
        if not waiting or self._sent - waiting > self._flushed:
            self._flushed = self._sent - waiting
            self._stalled = now
        return now - self._stalled >= self.shared.limits.write_stall_s

    def _check_body(self, now: float) -> None:
        """Each grace period has to bring its share of bytes."""
        exchange, limits = self._exchange, self.shared.limits
        if exchange is None or exchange.waiter is None or now - self._since < limits.body_grace_s:
            return
        if exchange.got - self._window_got < limits.body_bytes_per_s_min * limits.body_grace_s:
            exchange.spoil(RequestTimeout("the body came too slowly"))
        self._since, self._window_got = now, exchange.got
