"""What an answer says, chunk by chunk, as events. A whole answer is one chunk whose message is one long delta.

The wire never says where a part ends: another kind of delta, another detail or the end of the choice does. Wire
indexes are only looked up here; the indexes of events are ours, in order of first sight. Nothing is read here:
bytes and frames are `read_answer`'s.
"""

from msgspec import Raw
from msgspec.structs import replace

from torana.dialects.openai_chat.contents import DIALECT, parse_content
from torana.dialects.openai_chat.failures import parse_inband
from torana.dialects.openai_chat.finishes import finish_of
from torana.dialects.openai_chat.logprobs import parse_logprobs
from torana.dialects.openai_chat.parts import AUDIO, parse_citation, render_citation
from torana.dialects.openai_chat.thoughts import (
    GEMINI,
    call_seal,
    details_extra,
    form_of,
    seal_of,
    words,
)
from torana.dialects.openai_chat.tools import arguments_text, parse_call
from torana.dialects.openai_chat.wire import (
    AudioRef,
    Call,
    CalledFunction,
    Chunk,
    Detail,
    Said,
    Turn,
    content_decoder,
    names,
    nested,
    object_decoder,
    objects_decoder,
    present,
    raws_decoder,
    unknown,
)
from torana.errors import Error, UpstreamError
from torana.ir import (
    Attach,
    Citation,
    Close,
    Data,
    Delta,
    End,
    Event,
    Finished,
    Logprob,
    Media,
    Note,
    Open,
    Part,
    Refusal,
    Start,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from torana.wire import json

CHUNK, SAID, TURN = names(Chunk), names(Said), names(Turn)
Fields = dict[str, Raw]
NO_FIELDS: Fields = {}
TEXT, PLAIN, REFUSAL, SOUND = "text", "plain", "refusal", "audio"
LEGACY = Raw(b"true")  # on a ToolCall: it was a function_call, and is one again when it goes home


class _Calling:
    """A tool call on its way: opened once its name is known."""

    __slots__ = ("at", "head")

    def __init__(self, head: ToolCall) -> None:
        self.head = head
        self.at = -1


class _Telling:
    """One choice."""

    __slots__ = (
        "at", "called", "calls", "cited", "extra", "index", "kind", "last", "matched", "native",
        "refused", "scores", "seals", "turn_extra",
    )  # fmt: skip

    def __init__(self, index: int) -> None:
        self.index = index
        self.kind: object = None  # of the open text-like part: TEXT, PLAIN, (type, index) of a detail, ...
        self.at = -1  # its index, while it is open
        self.calls: dict[object, _Calling] = {}
        self.last: object = None  # slot of the last call
        self.called = False
        self.refused = False
        self.native = ""
        self.matched = ""
        self.cited: tuple[Citation, ...] = ()  # before there was a text
        self.scores: dict[object, tuple[Logprob, ...]] = {}  # before there was their part
        self.seals: dict[str, tuple[Detail, Fields]] = {}  # for calls that were not yet named
        self.extra: Fields = {}
        self.turn_extra: Fields = {}


class Teller:
    """tell() each chunk, then end(). `events` is what happened since it was last taken."""

    __slots__ = (
        "_choices", "_extra", "_id", "_next", "_whole_answer", "ended", "error", "events", "started", "usage",
    )  # fmt: skip

    def __init__(self, *, whole: bool = False) -> None:
        self._whole_answer = whole  # the message counts, whatever delta stands beside it; else the delta
        self.events: list[Event] = []
        self.started = False
        self.ended = False
        self.error: Error | None = None
        self.usage: Usage | None = None
        self._id = ""
        self._choices: dict[int, _Telling] = {}
        self._next = 0
        self._extra: Fields = {}

    @property
    def finished(self) -> bool:
        """Every choice has said why it ended."""
        return bool(self._choices) and all(choice.native for choice in self._choices.values())

    def take(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    # ------------------------------------------------------------ a chunk

    def tell(self, chunk: Chunk, fields: Fields | None) -> None:
        """`fields` is the chunk again, undecoded, where it holds something its type does not name."""
        if not self.started and (chunk.id or chunk.choices):
            self._start(chunk)
        if fields is not None and (extra := unknown(fields, CHUNK)):
            self._extra.update(extra)
        if not chunk.choices:
            return
        raws = objects_decoder.decode(fields["choices"]) if fields is not None else None
        for place, said in enumerate(chunk.choices):
            choice = self._choices.get(said.index)
            if choice is None:
                choice = self._choices[said.index] = _Telling(said.index)
            self._said(choice, said, raws[place] if raws is not None else None)

    def _start(self, chunk: Chunk) -> None:
        self.started = True
        self._id = chunk.id or ""
        self.events.append(
            Start(
                DIALECT,
                self._id,
                chunk.model or "",
                int(chunk.created or 0),
                chunk.service_tier or "",
                chunk.system_fingerprint or "",
            )
        )

    def _said(self, choice: _Telling, said: Said, raw: Fields | None) -> None:
        whole = self._whole_answer or said.delta is None
        turn = said.message if whole else said.delta
        fields = None
        if raw is not None:
            if extra := unknown(raw, SAID):
                choice.extra.update(extra)
            if turn is not None:
                fields = object_decoder.decode(raw["message" if whole else "delta"])
                if extra := unknown(fields, TURN):
                    choice.turn_extra.update(extra)
        if turn is not None:
            self._turn(choice, turn, fields, whole=whole)
        if present(said.error):
            self.error = parse_inband(said.error)
        if said.logprobs:
            self._logprobs(choice, said.logprobs)
        if said.finish_reason:
            choice.native = said.finish_reason
        if said.native_finish_reason or said.stop_reason is not None or said.matched_stop is not None:
            _stopped(choice, said)

    def _turn(self, choice: _Telling, turn: Turn, fields: Fields | None, *, whole: bool) -> None:
        if turn.reasoning_content or turn.reasoning or turn.reasoning_details:
            self._thoughts(choice, turn, fields, whole=whole)
        content = turn.content
        if content:
            if isinstance(content, str):
                self._grow(choice, TEXT, Text(), content)
            else:
                self._contents(choice, content)
        if turn.refusal:
            choice.refused = True
            self._grow(choice, REFUSAL, Refusal(), turn.refusal)
        if (audio := turn.audio) is not None and (
            audio.id or audio.data or audio.transcript or audio.expires_at
        ):
            self._sound(choice, audio, fields)
        if turn.images:
            self._images(choice, turn, fields)
        if turn.annotations:
            self._cite(choice, tuple(map(parse_citation, turn.annotations)))
        if turn.tool_calls or turn.function_call is not None:
            self._calls(choice, turn, fields, whole=whole)

    # ------------------------------------------------------------ parts that follow each other

    def _open(self, choice: _Telling, kind: object, part: Part) -> None:
        self._shut(choice)
        choice.kind, choice.at = kind, self._next
        self._next += 1
        self.events.append(Open(choice.at, part, choice.index))
        if scores := choice.scores.pop(kind, None):
            self.events.append(Attach(choice.at, logprobs=scores))
        if kind == TEXT and choice.cited:
            self.events.append(Attach(choice.at, citations=choice.cited))
            choice.cited = ()

    def _shut(self, choice: _Telling) -> None:
        if choice.at >= 0:
            self.events.append(Close(choice.at))
            choice.kind, choice.at = None, -1

    def _grow(self, choice: _Telling, kind: object, head: Part, text: str) -> None:
        if choice.kind != kind:
            self._open(choice, kind, head)
        self.events.append(Delta(choice.at, text))

    def _whole(self, choice: _Telling, part: Part) -> None:
        self._shut(choice)
        self.events += (Open(self._next, part, choice.index), Close(self._next))
        self._next += 1

    def _contents(self, choice: _Telling, content: list[Raw] | Fields) -> None:
        """A list of typed elements (Mistral, Databricks), or an object where structured output was asked for."""
        if isinstance(content, dict):
            self._whole(choice, Data(Raw(json.encode(content))))
            return
        for raw in content:
            part = parse_content(content_decoder.decode(raw), raw)
            match part:
                case Text(text):
                    if text:
                        self._grow(choice, TEXT, Text(), text)
                case Thinking(text, form):
                    if text:
                        self._grow(choice, form, Thinking(form=form), text)
                    if part.extra and choice.kind == form:
                        self.events.append(Attach(choice.at, extra=part.extra))
                case _:
                    self._whole(choice, part)

    def _images(self, choice: _Telling, turn: Turn, fields: Fields | None) -> None:
        raws = raws_decoder.decode(fields["images"]) if fields is not None else []
        for image, raw in zip(turn.images or (), raws, strict=False):
            self._whole(choice, parse_content(image, raw))

    def _sound(self, choice: _Telling, audio: AudioRef, fields: Fields | None) -> None:
        raw = object_decoder.decode(fields["audio"]) if fields is not None else NO_FIELDS
        if choice.kind != SOUND:
            self._open(choice, SOUND, Media("audio", item=audio.id or ""))
        if audio.transcript:
            self.events.append(Delta(choice.at, audio.transcript))
        extra = unknown(raw, AUDIO)
        if audio.expires_at is not None:
            extra = {**(extra or {}), "expires_at": Raw(json.encode(audio.expires_at))}
        if audio.data or extra:
            self.events.append(Attach(choice.at, data=audio.data or "", extra=extra))

    def _cite(self, choice: _Telling, citations: tuple[Citation, ...]) -> None:
        if choice.kind == TEXT:
            self.events.append(Attach(choice.at, citations=citations))
        else:
            choice.cited += citations

    # ------------------------------------------------------------ thoughts

    def _thoughts(self, choice: _Telling, turn: Turn, fields: Fields | None, *, whole: bool) -> None:
        """Details say it with seals; the plain field beside them repeats their words."""
        details = turn.reasoning_details or ()
        plain = turn.reasoning_content or turn.reasoning
        if plain and not any(words(detail) for detail in details):
            self._grow(choice, PLAIN, Thinking(), plain)
        if not details:
            return
        raws = objects_decoder.decode(fields["reasoning_details"]) if fields is not None else None
        ids = {call.id for call in turn.tool_calls or ()}
        for place, detail in enumerate(details):
            raw = raws[place] if raws is not None else NO_FIELDS
            if detail.data and detail.id and (detail.id in ids or detail.format == GEMINI):
                self._seal_call(choice, detail.id, detail, raw)
            else:
                self._detail(choice, detail, raw, whole=whole)

    def _seal_call(self, choice: _Telling, id: str, detail: Detail, raw: Fields) -> None:
        """Signs the call of that id, which may still come."""
        for calling in choice.calls.values():
            if calling.head.id == id and calling.at >= 0:
                self.events.append(Attach(calling.at, call_seal(detail)))
                return
        choice.seals[id] = (detail, raw)

    def _detail(self, choice: _Telling, detail: Detail, raw: Fields, *, whole: bool) -> None:
        seal, said = seal_of(detail), words(detail)
        if detail.data:
            part = Thinking(seal=seal, item=detail.id or "", extra=details_extra(detail, raw))
            self._whole(choice, part)
            return
        kind = (detail.type, detail.index)
        if not said and not seal:
            return
        if choice.kind != kind and (said or choice.kind != PLAIN):
            extra = details_extra(detail, raw)
            self._open(choice, kind, Thinking(form=form_of(detail), item=detail.id or "", extra=extra))
        if said:
            self.events.append(Delta(choice.at, said))
        if seal is not None:
            self.events.append(Attach(choice.at, seal))
        if whole:
            self._shut(choice)

    # ------------------------------------------------------------ calls

    def _calls(self, choice: _Telling, turn: Turn, fields: Fields | None, *, whole: bool) -> None:
        if turn.tool_calls:
            raws = objects_decoder.decode(fields["tool_calls"]) if fields is not None else None
            for place, call in enumerate(turn.tool_calls):
                slot = place if whole else self._slot(choice, call)
                self._call(choice, slot, call, raws[place] if raws is not None else NO_FIELDS)
        if (called := turn.function_call) is not None and (called.name or called.arguments):
            self._legacy(choice, called)

    def _slot(self, choice: _Telling, call: Call) -> object:
        """One index with a second id is a second call; without an index, an id begins a call."""
        if call.index is not None:
            slot: object = call.index
            known = choice.calls.get(slot)
            if known is not None and call.id and known.head.id and call.id != known.head.id:
                slot = (call.index, call.id)
            elif known is not None and isinstance(choice.last, tuple) and choice.last[0] == call.index:
                slot = choice.last if not call.id or choice.last[1] == call.id else slot
            return slot
        if call.id or choice.last is None:
            return call.id or len(choice.calls)
        return choice.last

    def _call(self, choice: _Telling, slot: object, call: Call, raw: Fields) -> None:
        text = _call_text(call)
        calling = choice.calls.get(slot)
        if calling is None:
            head = parse_call(call, raw)
            if text:
                head = replace(head, text="")
            calling = choice.calls[slot] = _Calling(head)
        elif calling.at < 0:
            head = calling.head
            name = head.name or (call.function.name if call.function else "") or ""
            calling.head = replace(head, id=head.id or call.id or "", name=name)
        choice.last = slot
        if calling.at < 0 and (calling.head.name or text):
            self._begin(choice, calling)
        if text:
            self.events.append(Delta(calling.at, text))

    def _begin(self, choice: _Telling, calling: _Calling) -> None:
        self._shut(choice)
        choice.called = True
        calling.at = self._next
        self._next += 1
        head = calling.head
        if head.id in choice.seals:
            detail, _ = choice.seals.pop(head.id)
            head = replace(head, seal=call_seal(detail))
        self.events.append(Open(calling.at, head, choice.index))

    def _legacy(self, choice: _Telling, called: CalledFunction) -> None:
        """A function_call has no id: it is given the answer's."""
        calling = choice.calls.get("function_call")
        if calling is None:
            suffix = f"_{choice.index}" if choice.index else ""
            head = ToolCall(f"call_{self._id}{suffix}", called.name or "", extra={"function_call": LEGACY})
            calling = choice.calls["function_call"] = _Calling(head)
            self._begin(choice, calling)
        if text := arguments_text(called.arguments):
            self.events.append(Delta(calling.at, text))

    # ------------------------------------------------------------ logprobs

    def _logprobs(self, choice: _Telling, raw: Raw) -> None:
        if not present(raw):
            return
        scores = parse_logprobs(raw)
        if scores is None:  # a bare number, as Together streams it
            choice.extra["logprobs"] = raw
            return
        self._score(choice, TEXT, scores.content)
        self._score(choice, REFUSAL, scores.refusal)
        self._score(choice, PLAIN, scores.reasoning)

    def _score(self, choice: _Telling, kind: str, scores: tuple[Logprob, ...]) -> None:
        if not scores:
            return
        if choice.kind == kind or (kind == PLAIN and isinstance(choice.kind, tuple)):
            self.events.append(Attach(choice.at, logprobs=scores))
            return
        for event in reversed(self.events):  # a whole answer: the part is there, and may be closed again
            if isinstance(event, Open) and event.choice == choice.index and _takes(event.part, kind):
                self._attach_late(event.index, scores)
                return
        choice.scores[kind] = choice.scores.get(kind, ()) + scores

    def _attach_late(self, index: int, scores: tuple[Logprob, ...]) -> None:
        attach = Attach(index, logprobs=scores)
        for at, event in enumerate(self.events):
            if isinstance(event, Close) and event.index == index:
                self.events.insert(at, attach)
                return
        self.events.append(attach)

    # ------------------------------------------------------------ the end

    def end(self) -> None:
        if not self.started:
            self.started = True
            self.events.append(Start(DIALECT))
        for index in sorted(self._choices):
            self._finish(self._choices[index])
        if self._extra:
            self.events.append(Note(self._extra))
        self.ended = True
        self.events.append(End(self.error))

    def _finish(self, choice: _Telling) -> None:
        for calling in choice.calls.values():
            if calling.at < 0:
                self._begin(choice, calling)
        for detail, raw in choice.seals.values():
            part = Thinking(seal=seal_of(detail), item=detail.id or "", extra=details_extra(detail, raw))
            self._whole(choice, part)
        self._shut(choice)
        self.events += [Close(calling.at) for calling in choice.calls.values()]
        extra = nested(choice.extra or None, "message", choice.turn_extra)
        if choice.cited:
            cited = [render_citation(citation, home=True) for citation in choice.cited]
            extra = nested(extra, "message", {"annotations": Raw(json.encode(cited))})
        if extra:
            self.events.append(Note(extra, choice.index))
        finish = finish_of(
            choice.native, called=choice.called, refused=choice.refused, matched=bool(choice.matched)
        )
        if finish == "failed" and self.error is None:
            self.error = UpstreamError(f"the provider ended the answer with {choice.native!r}")
        self.events.append(Finished(choice.index, finish, choice.native, choice.matched))


def _stopped(choice: _Telling, said: Said) -> None:
    if said.native_finish_reason:
        choice.extra["native_finish_reason"] = Raw(json.encode(said.native_finish_reason))
    for name in ("stop_reason", "matched_stop"):
        value: int | str | None = getattr(said, name)
        if isinstance(value, str) and said.finish_reason:
            choice.matched = value
        elif value is not None:
            choice.extra[name] = Raw(json.encode(value))


def _call_text(call: Call) -> str:
    if call.function is not None:
        return arguments_text(call.function.arguments)
    return (call.custom.input if call.custom else "") or ""


def _takes(part: Part, kind: str) -> bool:
    return isinstance(part, {TEXT: Text, REFUSAL: Refusal, PLAIN: Thinking}[kind])
