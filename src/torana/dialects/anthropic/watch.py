"""A stream that is relayed as it stands, watched for the ledger.

Every byte is passed on at once: Anthropic's streams hold nothing that a caller did not ask for. What most frames
are, text on its way, is told by the event's name and not read.
"""

from msgspec import Raw

from torana.dialects.anthropic import wire
from torana.dialects.anthropic.failures import parse_failure, render_error
from torana.dialects.anthropic.finishes import finish_of
from torana.dialects.anthropic.usage import overlay, parse_usage
from torana.dialects.anthropic.wire import ABSENT, StreamFields, said
from torana.dialects.interface import Glance
from torana.errors import Error, StreamIncomplete, UpstreamInvalid
from torana.wire.json import read
from torana.wire.sse import Frames, frame

GROWING = b"content_block_delta"
NAMED_DELTA = b"event: content_block_delta\n"
QUIET = frozenset((b"ping", b"content_block_stop"))
SILENT_AT_FIRST = frozenset(("text", "thinking"))  # blocks that begin with nothing to see


class Watch:
    __slots__ = ("_ended", "_frames", "_started", "_usage", "glance", "visible")

    def __init__(self, *, hide_usage: bool = False) -> None:  # noqa: ARG002  the interface's: there is nothing to hide
        self.glance = Glance()
        self.visible = False
        self._frames = Frames()
        self._started = False
        self._ended = False
        self._usage: Raw = ABSENT

    def feed(self, data: bytes) -> bytes:
        if self.visible and not self._frames.rest and _is_one_delta(data):
            return data
        for event, content in self._frames.feed(data):
            if event == GROWING:
                self.visible = True
            elif event not in QUIET:
                self._notice(content)
        return data

    def close(self) -> bytes:
        if not self._ended:
            raise StreamIncomplete("the provider's stream ended before message_stop")
        return b""

    def fail(self, error: Error) -> bytes:
        return frame(render_error(error), b"error")

    def _notice(self, content: bytes) -> None:
        if content == b"[DONE]":
            return
        event = read(wire.STREAM_EVENT, content, UpstreamInvalid)
        match event.type:
            case "message_start":
                self._start(event)
            case "message_delta" if not self._ended:
                self._settle(event)
            case "message_stop":
                self._ended = True
            case "error" if not self._ended:
                self._ended = True
                self.glance.error = parse_failure(event.error or b"{}")
            case "content_block_delta":
                self.visible = True
            case "content_block_start":
                kind = read(wire.BLOCK_TYPE, event.content_block or b"{}", UpstreamInvalid).type
                self.visible = self.visible or kind not in SILENT_AT_FIRST

    def _start(self, event: StreamFields) -> None:
        if self._ended:
            raise UpstreamInvalid("a second answer followed in the same stream")
        fields, _ = wire.ANSWER.read(event.message or b"{}", UpstreamInvalid)
        if not self._started:
            self._started = True
            self.glance.id, self.glance.model = fields.id or "", fields.model or ""
        self.visible = self.visible or bool(fields.content)
        if fields.stop_reason:
            self.glance.finish = finish_of(fields.stop_reason)
        self._spend(fields.usage)

    def _settle(self, event: StreamFields) -> None:
        stop, _ = wire.STOP.read(event.delta or b"{}", UpstreamInvalid)
        if stop.stop_reason:
            self.glance.finish = finish_of(stop.stop_reason)
        self._spend(event.usage)

    def _spend(self, usage: Raw) -> None:
        if said(usage):
            self._usage = overlay(self._usage, usage)
            self.glance.usage, _ = parse_usage(self._usage)


def _is_one_delta(data: bytes) -> bool:
    """Exactly one whole event, and its name says it is a delta of content."""
    return data.startswith(NAMED_DELTA) and data.find(b"\n\n") == len(data) - 2 and b"\r" not in data
