"""Events of any dialect, told to Anthropic's clients as a stream.

https://platform.claude.com/docs/en/build-with-claude/streaming. Blocks are numbered from 0 and never overlap, so a
part that begins while another is open waits for it. A block is announced when it has something to say: an empty one
would come back in the next request and be refused.
"""

from msgspec import Raw
from msgspec.json import format as format_json
from msgspec.structs import replace

from torana.dialects.anthropic.blocks import carry_seal
from torana.dialects.anthropic.citations import render_citation
from torana.dialects.anthropic.failures import render_error
from torana.dialects.anthropic.finishes import stop_reason
from torana.dialects.anthropic.retelling import message_id, retell, retold_block
from torana.dialects.anthropic.spelling import Block
from torana.dialects.anthropic.usage import render_usage
from torana.dialects.anthropic.wire import DIALECT
from torana.dialects.interface import Context
from torana.errors import Error, UpstreamError
from torana.ir import (
    Attach,
    Close,
    Delta,
    End,
    Event,
    Finished,
    Note,
    Open,
    Part,
    Progress,
    Refusal,
    Spent,
    Start,
    Text,
    Thinking,
    ToolCall,
    Usage,
    fold,
)
from torana.wire.json import encode
from torana.wire.sse import frame

Growing = Text | Thinking | Refusal | ToolCall
PING = frame(b'{"type":"ping"}', b"ping")
STOP = frame(b'{"type":"message_stop"}', b"message_stop")
TAIL = b"}}\n\n"
STOP_FIELDS = ("stop_details", "container")  # they stand beside the stop reason, other notes beside the delta


class Renderer:
    __slots__ = (
        "_begun", "_block", "_context", "_elsewhere", "_finished", "_head", "_held", "_id", "_live", "_notes", "_own",
        "_part", "_start", "_told", "_usage", "_waiting",
    )  # fmt: skip

    def __init__(self, context: Context = Context()) -> None:
        self._context = context
        self._start = Start()
        self._told = False  # message_start is out
        self._own = True
        self._id = ""
        self._usage: Usage | None = None
        self._finished = Finished(0, "")
        self._notes: dict[str, Raw] = {}
        self._block = 0  # the number of the next block
        self._live = -1  # the part being told
        self._part: Part = Text()
        self._begun = False  # its block is announced
        self._head = b""  # of each of its deltas, while it may be told without a thought
        self._held: list[Event] = []  # its events, when it is told only as a whole
        self._waiting: dict[int, list[Event]] = {}
        self._elsewhere: set[int] = set()  # parts of choices that Anthropic has no place for

    def render(self, events: list[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if type(event) is Delta and event.index == self._live and self._head:
                out.append(b"%b%b%b" % (self._head, encode(event.text), TAIL))
            else:
                self._render(event, out)
        if not self._told and self._start.dialect:
            self._begin(out)
        return b"".join(out)

    def fail(self, error: Error) -> bytes:
        return frame(render_error(error), b"error")

    def _render(self, event: Event, out: list[bytes]) -> None:
        match event:
            case Open(index, _, choice):
                if choice:
                    self._elsewhere.add(index)
                elif self._live < 0:
                    self._tell(event, out)
                else:
                    self._waiting[index] = [event]
            case Delta(index) | Attach(index) | Close(index):
                if index == self._live:
                    self._tell(event, out)
                    self._next(out)
                elif index not in self._elsewhere:
                    self._waiting[index].append(event)
            case Start():
                self._start = event
                self._own = event.dialect == DIALECT
                self._id = message_id(self._context, event.id)
            case Spent(usage):
                self._usage = usage
            case Finished(choice):
                self._finished = self._finished if choice else event
            case Note(extra, choice):
                if self._own and choice <= 0:
                    self._notes |= extra or {}
            case Progress():
                self._begin(out)
                out.append(PING)
            case End(error):
                self._end(error, out)

    def _next(self, out: list[bytes]) -> None:
        """Once a part is closed, those that waited have their turn, in order of first sight."""
        while self._live < 0 and self._waiting:
            for event in self._waiting.pop(next(iter(self._waiting))):
                self._tell(event, out)

    # ---------------------------------------------------------------- the message

    def _begin(self, out: list[bytes]) -> None:
        if self._told:
            return
        self._told = True
        message: dict[str, object] = {
            "id": self._id or message_id(self._context, ""),
            "type": "message",
            "role": "assistant",
            "model": self._context.model or self._start.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": render_usage(self._usage, self._start.tier),
        }
        out.append(_event(b"message_start", {"type": "message_start", "message": message}))

    def _end(self, error: Error | None, out: list[bytes]) -> None:
        if error is None and self._finished.finish == "failed":
            error = UpstreamError(
                f"the provider's model failed: {self._finished.native or 'no reason given'}"
            )
        if error is not None:
            self._told = True  # nothing may follow
            out.append(self.fail(error))
            return
        self._begin(out)
        while self._live >= 0:  # a part that nobody closed
            self._tell(Close(self._live), out)
            self._next(out)
        finished, notes = self._finished, self._notes
        delta: dict[str, object] = {
            "stop_reason": stop_reason(self._start.dialect, finished.finish, finished.native),
            "stop_sequence": finished.matched or None,
        }
        delta |= {name: notes[name] for name in STOP_FIELDS if name in notes}
        usage = render_usage(self._usage, cost=self._context.cost)
        more = {name: value for name, value in notes.items() if name not in STOP_FIELDS}
        out.append(
            _event(b"message_delta", {"type": "message_delta", "delta": delta, "usage": usage, **more})
        )
        out.append(STOP)

    # ---------------------------------------------------------------- the part being told

    def _tell(self, event: Event, out: list[bytes]) -> None:
        match event:
            case Open(index, part):
                self._open(index, part, out)
            case Delta(_, text):
                self._grow(text, event, out)
            case Attach():
                self._attach(event, out)
            case Close():
                self._close(out)

    def _open(self, index: int, part: Part, out: list[bytes]) -> None:
        self._live, self._begun, self._head, self._held = index, False, b"", [Open(0, part)]
        self._part = part
        if not isinstance(part, Growing):
            return
        if isinstance(part, ToolCall):
            told = retell(replace(part, text=""), self._own, self._id, index, [])
            self._part = part if told is None else told
            self._announce(out)
        if part.text:
            self._grow(part.text, Delta(index, part.text), out)
        if isinstance(part, Text) and part.citations:
            self._attach(Attach(index, citations=part.citations), out)

    def _grow(self, text: str, event: Event, out: list[bytes]) -> None:
        if not isinstance(self._part, Growing):
            self._held.append(event)
            return
        if not self._begun:
            self._announce(out)
        if isinstance(self._part, ToolCall) and self._part.kind == "custom":
            text = encode(text)[1:-1].decode()
        out.append(b"%b%b%b" % (self._delta_head(), encode(text), TAIL))

    def _attach(self, event: Attach, out: list[bytes]) -> None:
        part = self._part
        if isinstance(part, Text | Refusal):
            if event.citations and not self._begun:
                self._announce(out)
            told = [render_citation(citation) for citation in event.citations]
            out += [self._delta({"type": "citations_delta", "citation": citation}) for citation in told]
        elif isinstance(part, Thinking):
            if event.seal is None:
                return
            if self._begun or event.seal.holds == "proof":
                self._announce(out)
                out.append(self._delta({"type": "signature_delta", "signature": carry_seal(event.seal)}))
            else:
                self._part = replace(part, seal=event.seal)
        elif not isinstance(part, ToolCall):
            self._held.append(replace(event, index=0))

    def _close(self, out: list[bytes]) -> None:
        part = self._part
        if self._begun:
            if isinstance(part, ToolCall) and part.kind == "custom":
                out.append(b"%b%b%b" % (self._delta_head(), encode('"}'), TAIL))
            out.append(self._stop())
        elif (whole := self._whole(part)) is not None:
            self._start_block(retold_block(whole), out)
            out.append(self._stop())
        self._live = -1

    def _whole(self, part: Part) -> Part | None:
        if not isinstance(part, Growing):
            part = fold(self._held).choices[0].parts[0]
        return retell(part, self._own, self._id, self._live, [])

    # ---------------------------------------------------------------- its block

    def _announce(self, out: list[bytes]) -> None:
        if self._begun:
            return
        self._begun = True
        match self._part:
            case ToolCall() as part:
                block = retold_block(replace(part, text=""))
                self._start_block({**block, "input": {}} if isinstance(block, dict) else block, out)
                if part.kind == "custom":
                    out.append(b"%b%b%b" % (self._delta_head(), encode('{"input":"'), TAIL))
                    return
            case Thinking() as part:
                self._start_block({"type": "thinking", "thinking": "", "signature": ""}, out)
            case _:
                self._start_block({"type": "text", "text": ""}, out)
        self._head = self._delta_head()

    def _start_block(self, block: Block, out: list[bytes]) -> None:
        self._begin(out)
        fields = {"type": "content_block_start", "index": self._block, "content_block": block}
        out.append(_event(b"content_block_start", fields))
        self._block += 1

    def _delta_head(self) -> bytes:
        kind: bytes = b'text_delta","text"'
        if isinstance(self._part, Thinking):
            kind = b'thinking_delta","thinking"'
        elif isinstance(self._part, ToolCall):
            kind = b'input_json_delta","partial_json"'
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b:'
            % (
                self._block - 1,
                kind,
            )
        )

    def _delta(self, delta: dict[str, object]) -> bytes:
        fields = {"type": "content_block_delta", "index": self._block - 1, "delta": delta}
        return _event(b"content_block_delta", fields)

    def _stop(self) -> bytes:
        return _event(b"content_block_stop", {"type": "content_block_stop", "index": self._block - 1})


def _event(name: bytes, fields: dict[str, object]) -> bytes:
    """One line of JSON: a value that another provider spread over lines is drawn together."""
    body = encode(fields)
    return frame(format_json(body, indent=-1) if b"\n" in body else body, name)
