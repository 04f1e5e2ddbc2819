"""What goes into a dialect and comes out of it, beside the canonical model itself."""

from typing import Any, Protocol

from msgspec import Raw, Struct

from torana.errors import Error
from torana.ir import Event, Finish, Loss, Usage
from torana.records import Accent, Traits
from torana.wire.json import Object


class Head(Struct, frozen=True):
    """What of the HTTP head means something to a dialect. Header names are lower case."""

    path: str = ""
    query: str = ""
    headers: dict[str, str] = {}


class Undo(Struct, frozen=True):
    """What rendering a request changed that the answer has to change back."""

    names: dict[str, str] = {}  # tool name as sent -> as the caller wrote it
    customs: frozenset[str] = frozenset()  # tools as sent that stand for custom tools: {"input": text}
    answer_tool: str = ""  # the forced tool, as sent, whose arguments are the answer's text


class Rendered(Struct):
    body: bytes
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    losses: tuple[Loss, ...] = ()
    undo: Undo | None = None
    type: str = "application/json"


class Envelope(Struct, frozen=True):
    """What the gateway needs of a request it does not read: its top level, checked for types and duplicates."""

    object: Object
    model: str
    stream: bool = False
    want_usage: bool = False
    user: str = ""
    metadata: Raw = Raw(b"")
    n: int = 1
    max_tokens: int | None = None
    said: Any = None  # one of the dialect's own structs: what the dialect had to read for this, so that parse_request need not read it again


class Edits(Struct, frozen=True):
    """The fields of a same-dialect request that are ours to change."""

    model: str = ""
    want_usage: bool = False  # ask for usage in the stream
    drop: tuple[str, ...] = ()
    rename: dict[str, str] = {}


class Context(Struct, frozen=True):
    """What an answer is rendered with: "" and 0 leave what the provider said."""

    id: str = ""
    created: int = 0
    model: str = ""
    want_usage: bool = True  # a stream ends with a usage chunk, where the dialect leaves the choice
    cost: str = ""  # decimal USD, put into usage.cost when not ""


class Glance(Struct):
    """What the ledger needs of an answer that is relayed untouched."""

    id: str = ""
    model: str = ""
    finish: Finish = ""
    usage: Usage | None = None
    error: Error | None = None


class StreamParser(Protocol):
    """feed() whatever arrived; close() when the bytes end. Both raise UpstreamInvalid for bytes that the dialect
    does not allow; close() raises StreamIncomplete if the story has no end, else returns the last events."""

    def feed(self, data: bytes) -> list[Event]: ...
    def close(self) -> list[Event]: ...


class StreamRenderer(Protocol):
    """fail() ends the stream in band; nothing may follow it."""

    def render(self, events: list[Event]) -> bytes: ...
    def fail(self, error: Error) -> bytes: ...


class StreamWatch(Protocol):
    """Reads a stream that is relayed verbatim, for the ledger: feed() returns the bytes to send on, which are
    those fed but for a usage chunk the caller did not ask for. Bytes of an unfinished event are passed on at once
    unless it may be such a chunk (the gateway holds them until it ends). close() returns bytes still held and raises StreamIncomplete like a parser's."""

    glance: Glance
    visible: bool  # something a person would see has passed

    def feed(self, data: bytes) -> bytes: ...
    def close(self) -> bytes: ...
    def fail(self, error: Error) -> bytes: ...


__all__ = [
    "Accent",
    "Context",
    "Edits",
    "Envelope",
    "Glance",
    "Head",
    "Rendered",
    "StreamParser",
    "StreamRenderer",
    "StreamWatch",
    "Traits",
    "Undo",
]
