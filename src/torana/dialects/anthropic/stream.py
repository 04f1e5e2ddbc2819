"""A stream of Anthropic's, read into events.

https://platform.claude.com/docs/en/build-with-claude/streaming. Blocks are announced, grow and stop; usage comes at
both ends; an event of a type nobody knew may come at any time. Indexes on the wire are the provider's, so they are
mapped to our own.
"""

from msgspec import Raw

from torana.dialects.anthropic import wire
from torana.dialects.anthropic.blocks import parse_block, parse_blocks, parse_seal
from torana.dialects.anthropic.citations import parse_citation
from torana.dialects.anthropic.failures import parse_failure
from torana.dialects.anthropic.finishes import finish_of
from torana.dialects.anthropic.usage import overlay, parse_usage
from torana.dialects.anthropic.wire import ABSENT, DIALECT, DeltaFields, StreamFields, said
from torana.errors import StreamIncomplete, UpstreamInvalid
from torana.ir import (
    Attach,
    Close,
    Delta,
    End,
    Event,
    Finished,
    Note,
    Opaque,
    Open,
    Part,
    Progress,
    Spent,
    Start,
    ToolCall,
)
from torana.wire.json import encode, read
from torana.wire.sse import Frames

DONE = b"[DONE]"  # some gateways end every stream with it; it means nothing here


class _Block:
    """A block that is open on the wire. `held` is what it was announced with and may still be replaced: the input of
    a call until arguments come, the whole of a block that is not ours to read until it stops."""

    __slots__ = ("grown", "held", "index", "part")

    def __init__(self, index: int, part: Part) -> None:
        self.index = index
        self.part = part
        self.grown = False
        self.held: dict[str, Raw] = {}


class Parser:
    __slots__ = ("_blocks", "_ended", "_frames", "_next", "_started", "_usage")

    def __init__(self) -> None:
        self._frames = Frames()
        self._blocks: dict[int, _Block] = {}
        self._next = 0
        self._started = False
        self._ended = False
        self._usage: Raw = ABSENT

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for _, frame in self._frames.feed(data):
            if frame != DONE:
                wire.check_utf8(frame, UpstreamInvalid)
                self._parse(frame, events)
        return events

    def close(self) -> list[Event]:
        if not self._ended:
            raise StreamIncomplete("the provider's stream ended before message_stop")
        return []

    def _parse(self, frame: bytes, events: list[Event]) -> None:
        if b'"content_block_delta"' in frame[:64]:
            event = read(wire.BLOCK_DELTA, frame, UpstreamInvalid)
            if event.type == "content_block_delta" and not self._ended:
                self._grow(event.index, event.delta, frame, events)
                return
        self._turn(read(wire.STREAM_EVENT, frame, UpstreamInvalid), frame, events)

    def _turn(self, event: StreamFields, frame: bytes, events: list[Event]) -> None:
        match event.type:
            case "message_start":
                self._start(event.message, events)
            case _ if self._ended:
                return  # an error or a stop was the last word
            case "error":
                self._fail(event.error, events)
            case _ if not self._started:
                if event.type != "ping":
                    raise UpstreamInvalid(f"{event.type} came before message_start")
            case "content_block_start":
                self._open(event.index, event.content_block, events)
            case "content_block_delta":
                self._grow(
                    event.index, read(wire.DELTA, event.delta or b"{}", UpstreamInvalid), frame, events
                )
            case "content_block_stop":
                self._stop(event.index, events)
            case "message_delta":
                self._settle(event, frame, events)
            case "message_stop":
                for index in list(self._blocks):
                    self._stop(index, events)
                self._ended = True
                events.append(End())
            case "ping":
                events.append(Progress())
            case unknown:
                events.append(Progress(-1, unknown, Raw(frame)))

    def _start(self, message: Raw, events: list[Event]) -> None:
        """A message that starts again before its end goes on with fresh blocks; after it, it is another answer."""
        if self._ended:
            raise UpstreamInvalid("a second answer followed in the same stream")
        fields, extra = wire.ANSWER.read(message or b"{}", UpstreamInvalid)
        self._usage = overlay(self._usage, fields.usage)
        usage, tier = parse_usage(self._usage)
        if self._started:
            for index in list(self._blocks):
                self._stop(index, events)
        else:
            self._started = True
            events.append(Start(DIALECT, fields.id or "", fields.model or "", tier=tier))
        if usage is not None:
            events.append(Spent(usage))
        if extra:
            events.append(Note(extra))
        for part in parse_blocks(fields.content or [], UpstreamInvalid, "message.content"):
            self._whole(part, events)
        self._finish(fields.stop_reason, fields.stop_sequence, events)

    def _whole(self, part: Part, events: list[Event]) -> None:
        events += [Open(self._next, part), Close(self._next)]
        self._next += 1

    def _fail(self, error: Raw, events: list[Event]) -> None:
        if not self._started:
            events.append(Start(DIALECT))
        self._ended = True
        events.append(End(parse_failure(error or b"{}")))

    # ---------------------------------------------------------------- blocks

    def _open(self, at: int, raw: Raw, events: list[Event]) -> None:
        if at in self._blocks:
            raise UpstreamInvalid(f"content block {at} was started twice")
        part = parse_block(raw or Raw(b"{}"), UpstreamInvalid)
        block = self._blocks[at] = _Block(self._next, part)
        self._next += 1
        if isinstance(part, Opaque):
            block.held = read(wire.OBJECT, raw, UpstreamInvalid)
            return
        if isinstance(part, ToolCall):
            block.part = ToolCall(part.id, part.name, "", part.kind, part.namespace, extra=part.extra)
        events.append(Open(block.index, block.part))
        if isinstance(part, ToolCall):
            block.held = {"input": Raw(part.text.encode())}

    def _grow(self, at: int, delta: DeltaFields | None, frame: bytes, events: list[Event]) -> None:
        block = self._blocks.get(at)
        if block is None:
            raise UpstreamInvalid(f"content block {at} grew before it was started")
        if delta is None:
            return
        index = block.index
        if isinstance(block.part, Opaque):
            self._grow_opaque(block, frame)
            return
        match delta.type:
            case "text_delta":
                text = delta.text
            case "input_json_delta":
                text = delta.partial_json
            case "thinking_delta":
                text = delta.thinking
            case "signature_delta":
                if seal := parse_seal(delta.signature or ""):
                    events.append(Attach(index, seal))
                return
            case "citations_delta":
                if said(delta.citation):
                    events.append(Attach(index, citations=(parse_citation(delta.citation, UpstreamInvalid),)))
                return
            case unknown:
                events.append(
                    Attach(index, extra={unknown: read(wire.STREAM_EVENT, frame, UpstreamInvalid).delta})
                )
                return
        if text:
            block.grown = True
            events.append(Delta(index, text))

    def _grow_opaque(self, block: _Block, frame: bytes) -> None:
        """A block we do not know grows in a way we do not know: strings are joined, other values replaced."""
        delta = read(wire.STREAM_EVENT, frame, UpstreamInvalid).delta
        for name, value in read(wire.OBJECT, delta or b"{}", UpstreamInvalid).items():
            if name == "type":
                continue
            before = block.held.get(name, ABSENT)
            if wire.first_byte(before) == wire.first_byte(value) == wire.QUOTE:
                joined = read(wire.STRING, before, UpstreamInvalid) + read(
                    wire.STRING, value, UpstreamInvalid
                )
                value = Raw(encode(joined))  # noqa: PLW2901  the joined one stands for both
            block.held[name] = value

    def _stop(self, at: int, events: list[Event]) -> None:
        block = self._blocks.pop(at, None)
        if block is None:
            raise UpstreamInvalid(f"content block {at} stopped before it was started")
        if isinstance(block.part, Opaque):
            events.append(Open(block.index, Opaque(DIALECT, Raw(encode(block.held)))))
        elif isinstance(block.part, ToolCall) and not block.grown:
            events.append(Delta(block.index, wire.text_of(block.held["input"])))
        events.append(Close(block.index))

    # ---------------------------------------------------------------- the end

    def _settle(self, event: StreamFields, frame: bytes, events: list[Event]) -> None:
        """message_delta: why it ended, and usage laid over what message_start said."""
        stop, extra = wire.STOP.read(event.delta or b"{}", UpstreamInvalid)
        more = {
            name: value
            for name, value in read(wire.OBJECT, frame, UpstreamInvalid).items()
            if name not in ("type", "delta", "usage") and said(value)
        }
        if extra or more:
            events.append(Note({**(extra or {}), **more}))
        if said(stop.stop_details):
            events.append(Note({"stop_details": stop.stop_details}, 0))
        if said(event.usage):
            self._usage = overlay(self._usage, event.usage)
            usage, _ = parse_usage(self._usage)
            if usage is not None:
                events.append(Spent(usage))
        self._finish(stop.stop_reason, stop.stop_sequence, events)

    def _finish(self, native: str | None, matched: str | None, events: list[Event]) -> None:
        if native:
            events.append(Finished(0, finish_of(native), native, matched or ""))
