"""Where a request ends, decided once and strictly; and how a head is written so that nothing can be slipped in.

llhttp judges every byte of a request. This module adds what llhttp lets through (versions other than 1.0 and
1.1, RTSP, absolute targets, lists of transfer codings, bodies of HTTP/1.0 in chunks, any Host) and finds the
last byte of a message, so that the bytes behind it stay unread until their turn. Two readers have to agree on
each message. It knows nothing of sockets, time or callers.
"""

import re
from http import HTTPStatus

from torana.errors import BadFraming, BodyTooLarge, ExpectationFailed, InternalError, UriTooLong
from torana.net import Headers
from torana.net.limits import ServerLimits

CHUNKED = -1  # the length of a body that says where it ends as it goes

_REQUEST_LINE = re.compile(rb'([A-Z-]+) (/[!"$-~]*) HTTP/1\.([01])\r\n')
_PATH = re.compile(rb'[\r\n]*[A-Z-]+ (/[!"$->@-~]*)')
# uri-host [":" port]: https://www.rfc-editor.org/rfc/rfc3986#section-3.2.2, and not empty for http
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){1,255})(?::[0-9]{0,5})?"
)
_LENGTH_DIGITS_MAX = 18  # what a signed 64-bit integer holds
_SINGLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,32}(?=[;\r])")


def skip_blank_lines(head: bytes) -> bytes:
    """What stands behind empty lines; b"\\r" if that may be half of one more.

    https://www.rfc-editor.org/rfc/rfc9112#section-2.2
    """
    rest = head.lstrip(b"\r\n")
    lines, half = divmod(len(head) - len(rest), 2)
    if not head.startswith(b"\r\n" * lines) or (half and (rest or not head.endswith(b"\r"))):
        raise BadFraming("a line does not end in CRLF")
    return b"\r" if half else rest


def request_line(head: bytes, limits: ServerLimits) -> tuple[bytes, bytes, bool]:
    """Method, target and whether it is HTTP/1.1, of a head whose characters llhttp accepted.

    Origin form only, without a fragment: https://www.rfc-editor.org/rfc/rfc9112#section-3.2.1
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise BadFraming("the request line is not METHOD /path HTTP/1.1")
    method, target, minor = line.groups()
    if len(target) > limits.target_bytes_max:
        raise UriTooLong(f"the request target is longer than {limits.target_bytes_max} bytes")
    if method == b"CONNECT":
        raise BadFraming("tunnels are not opened here")
    return method, target, minor == b"1"


def path_of(head: bytes) -> str:
    """The path of a head that is refused, as far as one can be seen: who asks there knows an error's shape."""
    found = _PATH.match(head)
    return found[1].decode() if found else ""


def read_fields(head: bytes) -> tuple[dict[bytes, bytes], frozenset[bytes]]:
    """Header lines of a head that llhttp accepted, and the names that stand twice: the slow way."""
    values: dict[bytes, list[bytes]] = {}
    for line in head[: -len(b"\r\n\r\n")].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        values.setdefault(name.lower(), []).append(value.strip(b" \t"))
    repeated = frozenset(name for name, each in values.items() if len(each) > 1)
    return {name: b", ".join(each) for name, each in values.items()}, repeated


def check_host(host: bytes | None, *, http11: bool) -> None:
    """https://www.rfc-editor.org/rfc/rfc9112#section-3.2"""
    if (host is None and http11) or (host is not None and _HOST.fullmatch(host) is None):
        raise BadFraming("a request needs one Host header that names a host")


def body_length(
    headers: dict[bytes, bytes], repeated: frozenset[bytes], limits: ServerLimits, *, http11: bool
) -> int:
    """Bytes of the body, 0 for none, or CHUNKED. Raises for a head that leaves room for two answers.

    https://www.rfc-editor.org/rfc/rfc9112#section-6.3
    """
    if repeated and not repeated.isdisjoint(_SINGLE):
        raise BadFraming(f"{min(repeated & _SINGLE).decode()} stands twice")
    declared = headers.get(b"content-length")
    if b"transfer-encoding" in headers:
        if declared is not None or not http11 or headers[b"transfer-encoding"].lower() != b"chunked":
            raise BadFraming("transfer-encoding may only be `chunked`, in HTTP/1.1, without content-length")
        return CHUNKED
    if declared is None:
        return 0
    if not declared.isdigit() or len(declared) > _LENGTH_DIGITS_MAX:
        raise BadFraming("content-length is not a number")
    length = int(declared)
    if length > limits.body_bytes_max:
        raise BodyTooLarge(f"the body is larger than {limits.body_bytes_max} bytes")
    return length


def expects_continue(value: bytes) -> bool:
    """https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1"""
    if value.lower() != b"100-continue":
        raise ExpectationFailed("the only expectation known here is 100-continue")
    return True


def keeps_alive(connection: bytes | None, *, http11: bool) -> bool:
    """https://www.rfc-editor.org/rfc/rfc9112#section-9.3"""
    if connection is None:
        return http11
    if connection == b"keep-alive":
        return True
    tokens = {token.strip() for token in connection.lower().split(b",")}
    return b"close" not in tokens and (http11 or b"keep-alive" in tokens)


class ChunkScan:
    """Finds the last byte of a chunked body: the only thing llhttp does not tell."""

    __slots__ = (
        "_body_bytes",
        "_factor",
        "_framing_bytes",
        "_framing_bytes_max",
        "_line",
        "_skip",
        "_trailer",
    )

    def __init__(self, limits: ServerLimits) -> None:
        self._line = b""
        self._skip = 0  # chunk data, and the CRLF behind it, still to pass over
        self._trailer = False
        self._body_bytes = 0
        self._framing_bytes = 0
        self._framing_bytes_max = limits.header_bytes_max
        self._factor = limits.chunk_overhead_factor

    def feed(self, data: bytes) -> int:
        """Where the message ends in `data` (the index behind its last byte), or -1."""
        at, size = 0, len(data)
        while at < size:
            if self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                at += step
                continue
            end = data.find(b"\n", at)
            self._count((end + 1 or size) - at)
            if end < 0:
                self._line += data[at:]
                return -1
            line, self._line, at = self._line + data[at:end], b"", end + 1
            if self._ends(line):
                return at
        return -1

    def _ends(self, line: bytes) -> bool:
        if self._trailer:
            return line == b"\r"
        digits = _CHUNK.match(line)
        if digits is None:
            raise BadFraming("a chunk does not begin with its size")
        size = int(digits.group(), 16)
        self._body_bytes += size
        self._skip = size + 2 if size else 0
        if not size:  # trailers follow, and have the bounds of a head
            self._trailer = True
            self._framing_bytes = self._body_bytes = 0
        return False

    def _count(self, framing_bytes: int) -> None:
        self._framing_bytes += framing_bytes
        if self._framing_bytes > self._framing_bytes_max + self._factor * self._body_bytes:
            raise BadFraming("the chunks of the body are more framing than body")


# ---------------------------------------------------------------- what we write

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
_OURS = frozenset(
    (b"connection", b"content-length", b"date", b"keep-alive", b"trailer", b"transfer-encoding", b"upgrade")
)


def status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status


def callers_headers(headers: Headers) -> Headers:
    """Without those about the connection, which are the server's to write."""
    if _OURS.isdisjoint(dict(headers)):
        return headers
    return [pair for pair in headers if pair[0] not in _OURS]


def header_block(headers: Headers) -> bytes:
    """Header lines. A line break or a NUL in one would let whoever wrote it write our next: InternalError."""
    if not headers:
        return b""
    block = b"\r\n".join(map(b": ".join, headers)) + b"\r\n"
    if len(block.translate(None, b"\r\n\0")) != len(block) - 2 * len(headers):
        raise InternalError("a header of the answer holds a line break or a NUL")
    return block


def has_body(status: int) -> bool:
    """https://www.rfc-editor.org/rfc/rfc9110#section-6.4.1"""
    return status not in (204, 304)
