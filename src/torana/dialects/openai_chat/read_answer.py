"""Answers in: whole bodies, streams, and the cheap look at both for those who pass them on.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from msgspec import MsgspecError, Raw, ValidationError

from torana.dialects.openai_chat.failures import parse_inband
from torana.dialects.openai_chat.teller import Fields, Teller
from torana.dialects.openai_chat.usage import parse_usage
from torana.dialects.openai_chat.wire import (
    NOTHING,
    Chunk,
    chunk_decoder,
    object_decoder,
    plain_decoder,
    present,
)
from torana.errors import StreamIncomplete, UpstreamInvalid
from torana.ir import Event, Response, Spent, fold
from torana.wire import json
from torana.wire.sse import Frames

DONE = b"[DONE]"
TAIL_BYTES = 32  # longer than the terminator in any spelling
ENDS = (b"", b"data: [DONE]", b"data:[DONE]")
BROKEN = (MsgspecError, UnicodeDecodeError, RecursionError)
# What a chunk that is JSON may still hold: lone surrogates, or an object where a list was typed.


def parse_response(body: bytes) -> list[Event]:
    """A whole answer. An error object in it ends the story as it would end a stream."""
    chunk = json.read(chunk_decoder, body, UpstreamInvalid)
    if not chunk.choices and not present(chunk.error):
        raise UpstreamInvalid("the answer holds no choices")
    if chunk.choices and all(said.message is None for said in chunk.choices) and not _filtered(chunk):
        raise UpstreamInvalid("the answer is a chunk of a stream, not a whole completion")
    teller = Teller(whole=True)
    try:
        _tell(teller, chunk, object_decoder.decode(body))
    except BROKEN as broken:
        raise UpstreamInvalid(f"the answer cannot be read: {broken}") from None
    teller.end()
    return teller.take()


def read_response(body: bytes) -> Response:
    """What parse_response spells out, as the answer it is."""
    return fold(parse_response(body))


def _filtered(chunk: Chunk) -> bool:
    """Azure leaves the message out of a choice it filtered."""
    return any(said.finish_reason for said in chunk.choices or ())


def _tell(teller: Teller, chunk: Chunk, fields: Fields | None) -> None:
    if present(chunk.error):
        status = _said_status(fields) if fields is not None else 0
        teller.error = parse_inband(chunk.error, status)
    teller.tell(chunk, fields)
    usage = hidden_usage(fields) if not present(chunk.usage) and fields is not None else chunk.usage
    if present(usage):
        spent = parse_usage(usage)
        if spent != teller.usage:
            teller.usage = spent
            teller.events.append(Spent(spent))


def _said_status(fields: Fields) -> int:
    """Cerebras says the status beside the error."""
    raw = bytes(fields.get("status_code", NOTHING))
    return int(raw) if raw.isdigit() and 400 <= int(raw) <= 599 else 0


def hidden_usage(fields: Fields) -> Raw:
    """Groq streams its usage inside x_groq."""
    raw = fields.get("x_groq", NOTHING)
    if bytes(memoryview(raw)[:1]) != b"{":
        return NOTHING
    return object_decoder.decode(raw).get("usage", NOTHING)


def tail_of(tail: bytes, data: bytes) -> bytes:
    return data if len(data) >= TAIL_BYTES else (tail + data)[-TAIL_BYTES:]


def refuse_cut(tail: bytes, rest: int) -> None:
    """An event without its blank line was cut off, but for a terminator whose last line end was not sent."""
    if rest and (rest > TAIL_BYTES or tail[-rest:].strip() not in ENDS):
        raise StreamIncomplete("the stream ended inside an event")


class Parser:
    """Chunks in, events out. A provider's finish reason is kept back until [DONE] or the end of the bytes: usage,
    a second reason and even content may follow it."""

    __slots__ = ("_careful", "_frames", "_tail", "_teller")

    def __init__(self) -> None:
        self._frames = Frames()
        self._teller = Teller()
        self._careful = False
        self._tail = b""

    def feed(self, data: bytes) -> list[Event]:
        teller = self._teller
        self._tail = tail_of(self._tail, data)
        for _, frame in self._frames.feed(data):
            if teller.ended:
                break
            if frame[:1] == b"{" or frame.strip()[:1] == b"{":
                self._chunk(frame)
            elif frame.strip() == DONE:
                self._done()
            elif frame.strip():
                raise UpstreamInvalid("the stream holds an event that is no JSON object")
        return teller.take()

    def _chunk(self, frame: bytes) -> None:
        chunk: Chunk
        fields = None
        try:
            if self._careful:
                chunk, fields = chunk_decoder.decode(frame), object_decoder.decode(frame)
            else:
                try:
                    chunk = plain_decoder.decode(frame)
                except ValidationError:  # once unknown fields come, they come on every chunk
                    self._careful = True
                    chunk, fields = chunk_decoder.decode(frame), object_decoder.decode(frame)
            _tell(self._teller, chunk, fields)
        except BROKEN as broken:
            raise UpstreamInvalid(f"the stream holds a chunk that cannot be read: {broken}") from None

    def _done(self) -> None:
        if not self._teller.started and self._teller.error is None:
            raise UpstreamInvalid("the stream ended without an answer")
        self._teller.end()

    def close(self) -> list[Event]:
        teller = self._teller
        if not teller.ended:
            refuse_cut(self._tail, self._frames.rest)
            if teller.error is None and not teller.finished:
                raise StreamIncomplete("the stream ended before the answer did")
            teller.end()
        return teller.take()
