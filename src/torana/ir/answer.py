"""Answers: events as they arrive, and the response they fold into.

A response is a stream that arrived all at once. fold() collapses events into a Response; unfold() spells a
Response out as events that fold back to it. Shape: Start first and once; Open before its index's Delta, Attach
and Close, none after Close; End last and at most once. A fold without End has `ended=False` and is neither
cached nor rendered as complete.
"""

from collections.abc import Iterable
from typing import Literal, cast

from msgspec import Raw, Struct
from msgspec.structs import replace

from torana.errors import Error, UpstreamInvalid
from torana.ir.parts import (
    Citation,
    Extra,
    Logprob,
    Media,
    Part,
    Refusal,
    Seal,
    Text,
    Thinking,
    ToolCall,
)
from torana.ir.usage import Usage

Finish = Literal[
    "", "stop", "stop_sequence", "length", "tool_calls", "filtered", "refused", "paused", "failed"
]


class Choice(Struct):
    """`finish` is what happened, `native` the provider's word, `matched` the stop sequence it met."""

    index: int
    parts: list[Part] = []
    finish: Finish = ""
    native: str = ""
    matched: str = ""
    extra: Extra = None


class Response(Struct, kw_only=True):
    dialect: str = ""
    id: str = ""
    model: str = ""
    created: int = 0  # seconds since 1970; 0 where the dialect has none
    tier: str = ""
    fingerprint: str = ""
    choices: list[Choice] = []
    usage: Usage | None = None
    error: Error | None = None
    ended: bool = False
    extra: Extra = None


class Start(Struct, frozen=True, gc=False, tag=True):
    dialect: str = ""
    id: str = ""
    model: str = ""
    created: int = 0
    tier: str = ""
    fingerprint: str = ""


class Open(Struct, frozen=True, gc=False, tag=True):
    """A part begins, as known so far. `index` is ours: unique in the answer, in order of first sight."""

    index: int
    part: Part
    choice: int = 0


class Delta(Struct, frozen=True, gc=False, tag=True):
    index: int
    text: str


class Attach(Struct, frozen=True, gc=False, tag=True):
    """What reaches an open part and is not its text. `data` is appended base64, the other sequences are appended."""

    index: int
    seal: Seal | None = None
    citations: tuple[Citation, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    data: str = ""
    parts: tuple[Part, ...] = ()
    extra: Extra = None


class Close(Struct, frozen=True, gc=False, tag=True):
    index: int


class Finished(Struct, frozen=True, gc=False, tag=True):
    choice: int
    finish: Finish
    native: str = ""
    matched: str = ""


class Spent(Struct, frozen=True, gc=False, tag=True):
    """Cumulative; the last one holds."""

    usage: Usage


class Note(Struct, frozen=True, gc=False, tag=True):
    """Fields of the answer (choice -1) or of a choice that only the dialect understands."""

    extra: Extra
    choice: int = -1


class Progress(Struct, frozen=True, gc=False, tag=True):
    """A heartbeat, a hosted tool's state, a partial image. Folds to nothing."""

    index: int = -1
    state: str = "ping"
    data: Raw = Raw(b"")


class End(Struct, frozen=True, tag=True):  # tracked by gc: an error may hold a traceback
    error: Error | None = None


Event = Start | Open | Delta | Attach | Close | Finished | Spent | Note | Progress | End


_BARE = Text()


class _Growing:
    """A part on its way: its head, and lists that are joined once."""

    __slots__ = ("attached", "choice", "closed", "part", "text")

    def __init__(self, part: Part, choice: int) -> None:
        self.part = part
        self.choice = choice
        self.text: list[str] = []
        self.attached: list[Attach] = []
        self.closed = False

    def whole(self) -> Part:
        part = self.part
        if type(part) is Text and len(self.text) == 1 and not self.attached and part == _BARE:
            return Text(self.text[0])
        if self.text:
            if not isinstance(part, Text | Thinking | Refusal | ToolCall | Media):
                raise UpstreamInvalid(f"a {type(part).__name__} part cannot grow")
            part = replace(part, text=part.text + "".join(self.text))
        for attach in self.attached:
            part = _attach(part, attach)
        return part


def _attach(part: Part, attach: Attach) -> Part:
    changes: dict[str, object] = {}
    if attach.seal is not None:
        changes["seal"] = attach.seal
    for field in ("citations", "logprobs", "parts"):
        if more := getattr(attach, field):
            changes[field] = getattr(part, field, ()) + more
    if attach.data and isinstance(part, Media):
        changes["data"] = part.data + attach.data
    if attach.extra:
        changes["extra"] = {**(getattr(part, "extra", None) or {}), **attach.extra}
    fields = set(part.__struct_fields__)
    if not fields.issuperset(changes):
        raise UpstreamInvalid(f"a {type(part).__name__} part has no {sorted(set(changes) - fields)}")
    return replace(part, **changes)


def fold(events: Iterable[Event]) -> Response:
    """Collapse a stream into the response it spells out.

    Raises UpstreamInvalid for events that break the shape: nothing is guessed."""
    response = Response()
    growing: dict[int, _Growing] = {}
    choices: dict[int, Choice] = {}
    for event in events:
        if response.ended:
            raise UpstreamInvalid(f"{type(event).__name__} after the end")
        # Most frequent first, and no match statement: that would cost as much as all the rest.
        if isinstance(event, Delta):
            _open_at(growing, event.index).text.append(event.text)
        elif isinstance(event, Open):
            if event.index in growing:
                raise UpstreamInvalid(f"part {event.index} opened twice")
            growing[event.index] = _Growing(event.part, event.choice)
            if event.choice not in choices:
                choices[event.choice] = Choice(event.choice)
        elif isinstance(event, Close):
            _open_at(growing, event.index).closed = True
        elif isinstance(event, Attach):
            _open_at(growing, event.index).attached.append(event)
        elif not isinstance(event, Progress):
            _fold_answer(response, choices, event)
    for index in sorted(growing):
        choices[growing[index].choice].parts.append(growing[index].whole())
    response.choices = [choices[index] for index in sorted(choices)]
    return response


def _fold_answer(response: Response, choices: dict[int, Choice], event: Event) -> None:
    """What is said of the answer, or of a choice, and not of a part."""
    match event:
        case Finished(index, finish, native, matched):
            done = choices.setdefault(index, Choice(index))
            done.finish, done.native, done.matched = finish, native, matched
        case Spent(usage):
            response.usage = usage
        case Start(dialect, id, model, created, tier, fingerprint):
            response.dialect, response.id, response.model = dialect, id, model
            response.created, response.tier, response.fingerprint = created, tier, fingerprint
        case End(error):
            response.error, response.ended = error, True
        case Note(extra, index):
            holder = response if index < 0 else choices.setdefault(index, Choice(index))
            holder.extra = {**(holder.extra or {}), **(extra or {})} or None
        case _:
            raise UpstreamInvalid(f"{type(event).__name__} is no event of an answer")


def _open_at(growing: dict[int, _Growing], index: int) -> _Growing:
    part = growing.get(index)
    if part is None or part.closed:
        raise UpstreamInvalid(f"part {index} is not open")
    return part


def unfold(response: Response) -> list[Event]:
    """Spell a whole response out as a stream that folds back to it."""
    events: list[Event] = [
        Start(
            response.dialect,
            response.id,
            response.model,
            response.created,
            response.tier,
            response.fingerprint,
        )
    ]
    index = 0
    for choice in response.choices:
        for part in choice.parts:
            events += _unfold_part(index, part, choice.index)
            index += 1
    for choice in response.choices:
        if choice.extra:
            events.append(Note(choice.extra, choice.index))
        events.append(Finished(choice.index, choice.finish, choice.native, choice.matched))
    if response.extra:
        events.append(Note(response.extra))
    if response.usage is not None:
        events.append(Spent(response.usage))
    if response.ended:
        events.append(End(response.error))
    return events


def _unfold_part(index: int, part: Part, choice: int) -> list[Event]:
    """What streams, streams: text as a Delta, then what signs or cites it. Everything else is in the Open."""
    if not isinstance(part, Text | Thinking | Refusal | ToolCall):
        return [Open(index, part, choice), Close(index)]
    seal = None if isinstance(part, Refusal) else part.seal
    citations = part.citations if isinstance(part, Text) else ()
    logprobs = () if isinstance(part, ToolCall) else part.logprobs
    head: dict[str, object] = {"text": ""}
    if seal is not None:
        head["seal"] = None
    if citations:
        head["citations"] = ()
    if logprobs:
        head["logprobs"] = ()
    events: list[Event] = [Open(index, cast("Part", replace(part, **head)), choice)]
    if part.text:
        events.append(Delta(index, part.text))
    if seal is not None or citations or logprobs:
        events.append(Attach(index, seal, citations, logprobs))
    events.append(Close(index))
    return events
