"""Answers that are passed on as they are: what the ledger needs of them, read as cheaply as can be."""

import re

from msgspec import Raw, Struct, ValidationError
from msgspec.json import Decoder

from torana.dialects.interface import Glance
from torana.dialects.openai_chat.failures import parse_inband, render_error
from torana.dialects.openai_chat.finishes import finish_of
from torana.dialects.openai_chat.read_answer import BROKEN, DONE, refuse_cut, tail_of
from torana.dialects.openai_chat.usage import Stated, classes
from torana.dialects.openai_chat.wire import NOTHING, AudioRef, CalledFunction, present
from torana.errors import Error, StreamIncomplete, UpstreamInvalid, UpstreamTooLarge
from torana.ir import Finish
from torana.wire import sse
from torana.wire.sse import FRAME_BYTES_MAX

_event_end = re.compile(rb"\r\n\r\n|\n\n|\r\r(?!\n)|\n\r\n")
_has_choice = re.compile(rb'"choices"\s*:\s*\[\s*\{')


class Words(Struct):
    content: str | list[Raw] | dict[str, Raw] | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Raw] | None = None
    tool_calls: list[Raw] | None = None
    function_call: CalledFunction | None = None
    audio: AudioRef | None = None


class Seen(Struct):
    index: int = 0
    delta: Words | None = None
    message: Words | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    matched_stop: int | str | None = None


class Hidden(Struct):
    usage: Stated | None = None


class Look(Struct):
    id: str | None = None
    model: str | None = None
    choices: list[Seen] | None = None
    usage: Stated | None = None
    x_groq: Hidden | None = None
    error: Raw = NOTHING
    status_code: int | None = None


_look = Decoder(Look)


class _Choice:
    """What is known of one choice."""

    __slots__ = ("called", "matched", "native", "refused")

    def __init__(self) -> None:
        self.called = False
        self.refused = False
        self.matched = False
        self.native = ""

    def see(self, seen: Seen, words: Words | None) -> None:
        if words is not None:
            if words.tool_calls or (words.function_call is not None and words.function_call.name):
                self.called = True
            if words.refusal:
                self.refused = True
        if seen.finish_reason:
            self.native = seen.finish_reason
            self.matched = isinstance(seen.stop_reason, str) or isinstance(seen.matched_stop, str)

    @property
    def finish(self) -> Finish:
        return finish_of(self.native, called=self.called, refused=self.refused, matched=self.matched)


def is_visible(words: Words) -> bool:
    """A person would see something of it."""
    sound = words.audio
    return bool(
        words.content
        or words.reasoning
        or words.reasoning_content
        or words.reasoning_details
        or words.refusal
        or (sound is not None and (sound.data or sound.transcript))
    )


def glance(body: bytes) -> Glance:
    """A whole answer. What cannot be read is not the ledger's to judge: it is passed on, and nothing is known."""
    try:
        look = _look.decode(body)
    except BROKEN:
        return Glance()
    choice = _Choice()
    if look.choices:
        first = look.choices[0]
        choice.see(first, first.message or first.delta)
    usage = look.usage or (look.x_groq.usage if look.x_groq else None)
    return Glance(
        look.id or "",
        look.model or "",
        choice.finish,
        classes(usage) if usage is not None else None,
        parse_inband(look.error, look.status_code or 0) if look.error and present(look.error) else None,
    )


class Watch:
    """Bytes go on as they came, but for a usage chunk the caller did not ask for."""

    __slots__ = ("_choices", "_done", "_frames", "_held", "_hide", "_sent", "_tail", "glance", "visible")

    def __init__(self, *, hide_usage: bool = False) -> None:
        self.glance = Glance()
        self.visible = False
        self._hide = hide_usage
        self._frames = sse.Frames()
        self._choices: dict[int, _Choice] = {}
        self._done = False
        self._held = b""  # an unfinished event
        self._tail = b""
        self._sent = 0  # how much of it is already on its way

    def feed(self, data: bytes) -> bytes:
        self._tail = tail_of(self._tail, data)
        if self._hide:
            return self._sift(data)
        if self._is_one_event(data):
            self._see(data[6:-2])
            return data
        for _, frame in self._frames.feed(data):
            self._see(frame)
        return data

    def _is_one_event(self, data: bytes) -> bool:
        """One read is one event most of the time, and needs no cutting."""
        if self._frames.rest or data[:6] != b"data: " or data[-2:] != b"\n\n":
            return False
        return data.find(b"\n") == len(data) - 2 and b"\r" not in data

    def close(self) -> bytes:
        held, self._held = self._held[self._sent :], b""
        self._settle()
        if self._done or self.glance.error is not None:
            return held
        refuse_cut(self._tail, len(held) or self._frames.rest)
        if not self._choices or not all(choice.native for choice in self._choices.values()):
            raise StreamIncomplete("the stream ended before the answer did")
        return held

    def fail(self, error: Error) -> bytes:
        """No [DONE] follows: clients take it for success."""
        return sse.frame(render_error(error))

    def _settle(self) -> None:
        """A call may come after the finish reason, so the last word is said at the end."""
        if self._choices:
            self.glance.finish = self._choices[min(self._choices)].finish

    # ------------------------------------------------------------ reading

    def _see(self, frame: bytes) -> bool:
        """Whether the event is nothing but usage."""
        if self._done:
            return False
        if frame[:1] != b"{":
            return self._see_odd(frame)
        try:
            look = _look.decode(frame)
        except (
            ValidationError
        ):  # JSON of a shape nobody knows: it is passed on, and says nothing to the ledger
            return False
        except BROKEN as broken:
            raise UpstreamInvalid(f"the stream holds a chunk that cannot be read: {broken}") from None
        if look.choices:
            for seen in look.choices:
                self._said(seen)
        if not self.glance.id:
            self.glance.id = look.id or ""
        if not self.glance.model:
            self.glance.model = look.model or ""
        if look.error and present(look.error):
            self.glance.error = parse_inband(look.error, look.status_code or 0)
        usage = look.usage
        if usage is None and look.x_groq is not None:
            usage = look.x_groq.usage
        if usage is None:
            return False
        self.glance.usage = classes(usage)
        return not look.choices and not look.error

    def _see_odd(self, frame: bytes) -> bool:
        word = frame.strip()
        if word == DONE:
            if not self._choices and self.glance.error is None:
                raise UpstreamInvalid("the stream ended without an answer")
            self._done = True
            self._settle()
        elif word[:1] == b"{":
            return self._see(word)
        elif word:
            raise UpstreamInvalid("the stream holds an event that is no JSON object")
        return False

    def _said(self, seen: Seen) -> None:
        choice = self._choices.get(seen.index)
        if choice is None:
            choice = self._choices[seen.index] = _Choice()
        words = seen.delta or seen.message
        choice.see(seen, words)
        if seen.finish_reason:
            self._settle()
        if not self.visible and words is not None:
            self.visible = choice.called or is_visible(words)

    # ------------------------------------------------------------ hiding

    def _sift(self, data: bytes) -> bytes:
        """Event by event: a whole one is judged, an unfinished one waits while it may be usage alone."""
        if not self._held and self._is_one_event(data):
            return b"" if self._see(data[6:-2]) else data
        buffer = self._held + data if self._held else data
        passed: list[bytes] = []
        start = 0
        for match in _event_end.finditer(buffer, max(len(self._held) - 3, 0)):
            end = match.end()
            event = buffer[start:end]
            usage_only = self._is_usage_only(event)
            if not usage_only or self._sent:
                passed.append(event[self._sent :])
            self._sent, start = 0, end
        self._held = rest = buffer[start:]
        if len(rest) > FRAME_BYTES_MAX:
            raise UpstreamTooLarge(f"an event is longer than {FRAME_BYTES_MAX} bytes")
        if rest and (self._sent or _has_choice.search(rest)):
            passed.append(rest[self._sent :])
            self._sent = len(rest)
        return b"".join(passed)

    def _is_usage_only(self, event: bytes) -> bool:
        if self._is_one_event(event):
            return self._see(event[6:-2])
        whole = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # Frames waits for what follows a CR
        return any(self._see(frame) for _, frame in self._frames.feed(whole))
