"""Server-sent events, cut out of a byte stream wherever the network split it.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
Lines end in LF, CRLF or CR; a blank line ends an event; an event without its blank line never happened.
"""

from torana.errors import UpstreamTooLarge

FRAME_BYTES_MAX = 8 * 1024 * 1024
# The largest frame recorded is an inline image of about 2 MiB; the fault matrix (U15) sets 8 MB.
BOM = b"\xef\xbb\xbf"


class Frames:
    """Feed it whatever arrived; it returns (event, data) of each finished event that has data or a name.

    `event` is b"" where the wire names none. `rest` is the number of bytes held back for an unfinished event.
    """

    __slots__ = ("_rest", "_started")

    def __init__(self) -> None:
        self._rest = b""
        self._started = False

    @property
    def rest(self) -> int:
        return len(self._rest)

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        buffer = self._rest + data if self._rest else data
        if not self._started:
            if len(buffer) < 3 and BOM.startswith(buffer):
                self._rest = buffer
                return []
            self._started = True
            buffer = buffer.removeprefix(BOM)
        if b"\r" in buffer:
            buffer = _unify(buffer)
        *blocks, self._rest = buffer.split(b"\n\n")
        if len(self._rest) > FRAME_BYTES_MAX:
            raise UpstreamTooLarge(f"an event is longer than {FRAME_BYTES_MAX} bytes")
        return [found for block in blocks if (found := _frame(block)) is not None]


def _unify(buffer: bytes) -> bytes:
    """LF for every line ending. A CR at the very end may be half of a CRLF: it waits for what follows."""
    held = buffer.endswith(b"\r")
    body = buffer[:-1] if held else buffer
    return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + (b"\r" if held else b"")


def _frame(block: bytes) -> tuple[bytes, bytes] | None:
    if block[:6] == b"data: " and b"\n" not in block:  # the common case
        return b"", block[6:]
    event, lines = b"", []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            lines.append(value)
        elif name == b"event":
            event = value
    if not lines:
        return None
    return event, b"\n".join(lines)


def frame(data: bytes, event: bytes = b"") -> bytes:
    """One event, ready to write. `data` must be a single line."""
    if event:
        return b"event: %b\ndata: %b\n\n" % (event, data)
    return b"data: %b\n\n" % data
